"""`segloop deidentify`: copies of DICOM files that name nobody."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segloop.cli.console import Console, Verdict
from segloop.errors import CODES, InputError, PrivacyError

if TYPE_CHECKING:
    from segloop.io.deid import Refused
    from segloop.io.dicom import Files

_RETAIN = ("dates", "longitudinal", "patient", "device", "institution", "uids", "safe-private")
_CLEAN = ("descriptors", "structured-content", "graphics")
_SHOWN = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("input", type=Path, metavar="IN", help="DICOM file, folder, zip or DICOMDIR")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="folder for the copies")
    parser.add_argument(
        "--key-file", type=Path, required=True, metavar="K", help="secret for pseudonyms, UIDs and date shifts"
    )
    parser.add_argument(
        "--retain",
        nargs="+",
        action="extend",
        choices=_RETAIN,
        default=[],
        metavar="WHAT",
        help="kept: " + ", ".join(_RETAIN),
    )
    parser.add_argument(
        "--clean",
        nargs="+",
        action="extend",
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
    parser.add_argument(
        "--mapping",
        type=Path,
        metavar="FILE",
        help="encrypted table of new to original UIDs and patients, written or added to; `segloop reidentify` needs it",
    )
    parser.add_argument("--uid-root", default="2.25", metavar="ROOT", help="what new UIDs begin with (default 2.25)")


def run(arguments: argparse.Namespace, console: Console) -> dict[str, Any] | Verdict:
    """De-identify; a file that cannot be made safe has no copy, and then the verb fails."""
    from segloop.io import deid, dicom

    key = deid.read_key(arguments.key_file)
    profile = deid.Profile.of(arguments.retain, arguments.clean, arguments.pixels, arguments.uid_root)
    if arguments.output.resolve().is_relative_to(arguments.input.resolve()):
        raise InputError("The copies would lie among the originals; choose a folder outside.", code="usage")
    if arguments.mapping is not None and arguments.mapping.resolve().is_relative_to(arguments.output.resolve()):
        raise InputError("The mapping table would lie among the copies; keep it elsewhere.", code="usage")
    mapping = deid.MappingTable(arguments.mapping, key) if arguments.mapping is not None else None
    started = time.monotonic()

    def progress(done: int, total: int) -> None:
        console.progress(done, total, "files", (time.monotonic() - started) / done * (total - done))

    with dicom.opened(arguments.input) as source:
        files = _to_copy(source, console)
        result = deid.deidentify(files, arguments.output, key, profile, progress, mapping)
    console.say(f"{len(result.written)} of {len(files)} files written to {arguments.output}")
    return told(result.written, result.refused, "have no copy", console)


def _to_copy(source: Files, console: Console) -> list[Path]:
    """The DICOM files of a source, without media directories, whose records name patients and files alike.

    Raises:
        InputError: `input.empty`.
    """
    from segloop.io.dicom.header import is_dicom
    from segloop.io.dicom.media import is_directory

    found = [path for path in source.paths if is_dicom(path) or source.paths == (source.root / source.name,)]
    files = [path for path in found if not is_directory(path)]
    if len(files) < len(found):
        console.say(f"{len(found) - len(files)} DICOMDIR left out; make a new one of the copies")
    if not files:
        raise InputError(
            f"{source.name} holds no DICOM file.", code="input.empty", found=0, expected="at least one file"
        )
    return files


def told(written: Sequence[Path], refused: Sequence[Refused], fate: str, console: Console) -> dict[str, Any] | Verdict:
    """Say which files were refused, and why: a privacy error before any other is what the verb ends with."""
    for each in refused[:_SHOWN]:
        console.say(f"refused {each.source}: {each.code}: {each.message}")
    if len(refused) > _SHOWN:
        console.say(f"and {len(refused) - _SHOWN} more; --json lists all")
    document = {
        "written": [str(path) for path in written],
        "refused": [{"file": str(r.source), "code": r.code, "message": r.message} for r in refused],
    }
    if not refused:
        return document
    codes = [each.code for each in refused]
    private = [code for code in codes if code.startswith(("identity.", "pixels.", "mapping."))]
    code, _ = Counter(private or codes).most_common(1)[0]
    kind = PrivacyError if private else InputError
    total = len(written) + len(refused)
    return Verdict(document, kind(f"{len(codes)} of {total} files {fate}; the first reason: {CODES[code]}", code=code))
