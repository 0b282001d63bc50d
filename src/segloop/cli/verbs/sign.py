"""`segloop sign`: a name under the result of `segloop run`, or a correction of what was signed."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from segloop.cli.console import Console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("study", type=Path, metavar="STUDY", help="the folder, zip or file that the result is of")
    parser.add_argument("out", type=Path, metavar="OUT", help="the folder that `segloop run` wrote")
    add_observer(parser, required=True)
    parser.add_argument("--note", default="", metavar="TEXT", help="a sentence to add to the report")


def add_observer(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """The options that say who signs."""
    parser.add_argument(
        "--observer", required=required, metavar="NAME", help="who signs, as a DICOM name: Family^Given"
    )
    parser.add_argument("--organisation", required=required, metavar="NAME", help="for which organisation")


def run(arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Write the signed form of every object beside the draft."""
    from segloop.signing import complete, folder_of, sign

    out: Path = arguments.out
    number = sign(arguments.study, out, arguments.observer, arguments.organisation, arguments.note)
    result = complete(arguments.study, out, number)
    signature = result.signature
    corrects = signature is not None and signature.corrects is not None
    folder = folder_of(out, number)
    console.say(f"{'corrected' if corrects else 'signed'}: {', '.join(result.files.values())} in {folder}")
    return {"number": number, "folder": str(folder), **result.model_dump(mode="json", by_alias=True)}
