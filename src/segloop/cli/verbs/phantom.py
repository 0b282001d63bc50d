"""`segloop phantom`: a CT study with exactly known volumes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from segloop.cli.console import Console
from segloop.errors import InputError

_MOST = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("output", type=Path, metavar="OUT", help="folder for the DICOM files and truth.json")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="another seed is another patient (default 0)")
    parser.add_argument(
        "--lesions", type=int, metavar="0-5", help="number of liver lesions (default: drawn by the seed)"
    )
    parser.add_argument(
        "--later", type=int, metavar="DAYS", help="the same patient so many days after the first examination"
    )
    parser.add_argument(
        "--growth", type=float, metavar="FACTOR", help="with --later: what each lesion's volume is multiplied by"
    )


def run(arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Write the study and show what is true of it."""
    from segloop.phantom import Visit, generate, write_study

    if arguments.lesions is not None and not 0 <= arguments.lesions <= _MOST:
        raise InputError(f"A phantom has 0 to {_MOST} lesions, not {arguments.lesions}.", code="usage")
    if arguments.later is None and arguments.growth is not None:
        raise InputError("Lesions grow from one examination to another: --growth needs --later DAYS.", code="usage")
    if arguments.later is not None and arguments.later < 1:
        raise InputError("A later examination is at least one day later.", code="usage", found=arguments.later)
    growth = 1.0 if arguments.growth is None else arguments.growth
    visit = None if arguments.later is None else Visit(arguments.later, growth)
    phantom = generate(arguments.seed, arguments.lesions, visit=visit)
    write_study(phantom, arguments.output)
    console.table(("name", "part", "ml"), [(t.name, t.component or "all", f"{t.value:.2f}") for t in phantom.truth])
    console.say(f"study in {arguments.output}, truth in {arguments.output / 'truth.json'}")
    return {"study": str(arguments.output), "measurements": [t.model_dump(mode="json") for t in phantom.truth]}
