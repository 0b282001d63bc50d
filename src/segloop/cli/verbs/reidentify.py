"""`segloop reidentify`: results about pseudonymised copies, linked to the original study again."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from segloop.cli.console import Console, Verdict
from segloop.cli.verbs.deidentify import told
from segloop.cli.verbs.send import dicom_files


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument(
        "result",
        type=Path,
        metavar="RESULT",
        help="SEG, SR, RTSTRUCT, PDF in DICOM or the like, or a folder",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="folder to write to")
    parser.add_argument(
        "--key-file", type=Path, required=True, metavar="K", help="secret that the copies were made with"
    )
    parser.add_argument(
        "--mapping", type=Path, required=True, metavar="FILE", help="table that `segloop deidentify --mapping` wrote"
    )


def run(arguments: argparse.Namespace, console: Console) -> dict[str, Any] | Verdict:
    """Link results back; one that the table does not know is refused, and then the verb fails."""
    from segloop.io import deid

    key = deid.read_key(arguments.key_file)
    links = deid.read_links(arguments.mapping, key)
    files = dicom_files(arguments.result)
    started = time.monotonic()

    def progress(done: int, total: int) -> None:
        console.progress(done, total, "files", (time.monotonic() - started) / done * (total - done))

    result = deid.reidentify(files, arguments.output, key, links, progress)
    console.say(f"{len(result.written)} of {len(files)} results written to {arguments.output}")
    return told(result.written, result.refused, "are not linked to anybody", console)
