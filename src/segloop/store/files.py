"""Files that are there whole or not at all, and that survive a power cut once the call returns."""

from __future__ import annotations

import errno
import os
import secrets
from pathlib import Path

from segloop.errors import ServiceError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Error numbers that mean: no space is left."""

READABLE = 0o644
"""Mode of files without identity: the folder they lie in decides who may read them."""


def write_whole(content: bytes, path: Path, mode: int = 0o600) -> None:
    """Write a file durably: content first, then its name, then the folder, each on disk before the next.

    Raises:
        ServiceError: `disk.full`; nothing is left behind.
    """
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as fault:
        temporary.unlink(missing_ok=True)
        raise as_service_error(fault) from fault


def make_folder(path: Path) -> None:
    """Make a folder and its parents so that they survive a power cut.

    Raises:
        ServiceError: `disk.full`.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        for folder in reversed(missing):
            folder.mkdir(mode=0o700, exist_ok=True)
            sync_folder(folder.parent)
    except OSError as fault:
        raise as_service_error(fault) from fault


def sync_folder(path: Path) -> None:
    """Put a folder's list of names on disk. Windows has no such call and does it by itself."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def as_service_error(fault: OSError) -> ServiceError:
    """The error of ours for a failed write; its text holds no path, because names of files may be identity."""
    if fault.errno in FULL:
        return ServiceError("No space is left to write.", code="disk.full", hint="Free space on the disk of data_dir.")
    return ServiceError(f"The disk refuses a write ({fault.strerror}).", code="disk.full", found=fault.errno)
