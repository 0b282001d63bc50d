"""`segloop deidentify`: copies of DICOM files that name nobody."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from pathlib import Path
from typing import Any

from segloop.cli.console import Console, Verdict
from segloop.cli.verbs.send import dicom_files
from segloop.errors import CODES, InputError, PrivacyError

_RETAIN = ("dates", "longitudinal", "patient", "device", "institution", "uids", "safe-private")
_CLEAN = ("descriptors", "structured-content", "graphics")
_SHOWN = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("input", type=Path, metavar="IN", help="DICOM file, or a folder of them")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="folder for the copies")
    parser.add_argument(
        "--key-file", type=Path, required=True, metavar="K", help="secret for pseudonyms, UIDs and date shifts"
    )
    parser.add_argument(
        "--retain", nargs="+", choices=_RETAIN, default=[], metavar="WHAT", help="kept: " + ", ".join(_RETAIN)
    )
    parser.add_argument(
        "--clean",
        nargs="+",
        choices=_CLEAN,
        default=[],
        metavar="WHAT",
        help="kept without identities instead of removed: " + ", ".join(_CLEAN),
    )
    parser.add_argument(
        "--pixels",
        choices=("clean", "refuse"),
        default="refuse",
        help="images in which text may be burned: blank the regions known for the device, or write no copy (default)",
    )
    parser.add_argument("--uid-root", default="2.25", metavar="ROOT", help="what new UIDs begin with (default 2.25)")


def run(arguments: argparse.Namespace, console: Console) -> dict[str, Any] | Verdict:
    """De-identify; a file that cannot be made safe has no copy, and then the verb fails."""
    from segloop.io import deid

    key = deid.read_key(arguments.key_file)
    profile = deid.Profile.of(arguments.retain, arguments.clean, arguments.pixels, arguments.uid_root)
    if arguments.output.resolve().is_relative_to(arguments.input.resolve()):
        raise InputError("The copies would lie among the originals; choose a folder outside.", code="usage")
    files = dicom_files(arguments.input)
    started = time.monotonic()

    def progress(done: int, total: int) -> None:
        console.progress(done, total, "files", (time.monotonic() - started) / done * (total - done))

    result = deid.deidentify(files, arguments.output, key, profile, progress)
    console.say(f"{len(result.written)} of {len(files)} files written to {arguments.output}")
    for refused in result.refused[:_SHOWN]:
        console.say(f"refused {refused.source}: {refused.code}: {refused.message}")
    if len(result.refused) > _SHOWN:
        console.say(f"and {len(result.refused) - _SHOWN} more; --json lists all")
    document = {
        "written": [str(path) for path in result.written],
        "refused": [{"file": str(r.source), "code": r.code, "message": r.message} for r in result.refused],
    }
    if not result.refused:
        return document
    return Verdict(document, _verdict([r.code for r in result.refused], len(files)))


def _verdict(codes: list[str], total: int) -> InputError | PrivacyError:
    """What the verb ends with when files were refused: a privacy error before any other."""
    private = [code for code in codes if code.startswith(("identity.", "pixels."))]
    code, _ = Counter(private or codes).most_common(1)[0]
    kind = PrivacyError if private else InputError
    return kind(f"{len(codes)} of {total} files have no copy; the first reason: {CODES[code]}", code=code)
