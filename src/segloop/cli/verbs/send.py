"""`segloop send`: DICOM files to a peer by C-STORE, or to a web address by STOW-RS."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segloop.cli.console import Console
from segloop.cli.values import receiver

if TYPE_CHECKING:
    from segloop.settings import Destination

# One request holds its files in memory on both sides.
_REQUEST_BYTES = 64 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("files", nargs="+", type=Path, metavar="FILES", help="DICOM files, or folders of them")
    parser.add_argument(
        "--to",
        type=receiver,
        required=True,
        metavar="AET@HOST:PORT|URL",
        help="the peer: C-STORE, or STOW-RS to an https address of a DICOMweb server (http on loopback only)",
    )
    parser.add_argument("--calling", default="SEGLOOP", metavar="AET", help="our own AE title (default SEGLOOP)")
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="its text is sent as bearer token (URL)")
    parser.add_argument(
        "--ca", type=Path, metavar="FILE", help="PEM file of who may vouch for the server (URL; default: the system's)"
    )


def run(arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Send everything; one association, or as few requests as memory allows."""
    from segloop.service import Address, send

    files = [file for source in arguments.files for file in dicom_files(source)]
    if isinstance(arguments.to, str):
        count, place = _post(files, arguments), arguments.to
    else:
        aet, host, port = arguments.to
        count = send(files, Address(aet=aet, host=host, port=port), arguments.calling)
        place = f"{aet} at {host}:{port}"
    console.say(f"{count} files sent to {place}")
    return {"sent": count}


def _post(files: list[Path], arguments: argparse.Namespace) -> int:
    from segloop.service.outbox import Channel

    channel = Channel(_destination(arguments))
    return sum(channel.store_objects(part) for part in _parts(files))


def _destination(arguments: argparse.Namespace) -> Destination:
    """The receiver under the same rules as one in the settings."""
    from pydantic import ValidationError

    from segloop.errors import InputError
    from segloop.settings import Destination

    try:
        return Destination(name="to", kind="stow", url=arguments.to, ca=arguments.ca, token_file=arguments.token_file)
    except ValidationError as fault:
        raise InputError(
            "What is sent by http can be read by everybody on its way.",
            code="usage",
            found=arguments.to,
            expected="an https address, or http on loopback",
            hint="Use the server's https address.",
        ) from fault


def _parts(files: list[Path]) -> Iterator[list[Path]]:
    part: list[Path] = []
    size = 0
    for file in files:
        more = file.stat().st_size
        if part and size + more > _REQUEST_BYTES:
            yield part
            part, size = [], 0
        part.append(file)
        size += more
    yield part


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
