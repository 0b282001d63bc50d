"""`segloop send`: DICOM files to a peer by C-STORE."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from segloop.cli.console import Console
from segloop.cli.values import peer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("files", nargs="+", type=Path, metavar="FILES", help="DICOM files, or folders of them")
    parser.add_argument("--to", type=peer, required=True, metavar="AET@HOST:PORT", help="the peer")
    parser.add_argument("--calling", default="SEGLOOP", metavar="AET", help="our own AE title (default SEGLOOP)")


def run(arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Send everything over one association."""
    from segloop.service import Address, send

    files = [file for source in arguments.files for file in dicom_files(source)]
    aet, host, port = arguments.to
    count = send(files, Address(aet=aet, host=host, port=port), arguments.calling)
    console.say(f"{count} files sent to {aet} at {host}:{port}")
    return {"sent": count}


def dicom_files(source: Path) -> list[Path]:
    """The DICOM files of a folder, or the one file.

    Raises:
        InputError: `input.empty` when a folder holds none, `input.unreadable` when the file or folder does not exist.
    """
    from pydicom.misc import is_dicom

    from segloop.errors import InputError

    if not source.exists():
        raise InputError(f"There is no {source.name}.", found=str(source), expected="a file or folder")
    if source.is_file():
        return [source]
    found = sorted(path for path in source.rglob("*") if path.is_file() and is_dicom(path))
    if not found:
        raise InputError(
            f"{source.name} holds no DICOM file.", code="input.empty", found=0, expected="at least one file"
        )
    return found
