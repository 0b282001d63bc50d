"""A DICOMDIR: the files of a disc that it names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError

from segloop.errors import InputError
from segloop.io.dicom.header import quiet, text

_MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"


def is_directory(path: Path) -> bool:
    """Whether a file is a DICOMDIR, whatever its name."""
    try:
        with quiet():
            meta = pydicom.filereader.read_file_meta_info(path)
    # A file that has no readable meta information is no directory; what it is the scan finds out.
    except (InvalidDicomError, OSError, ValueError, EOFError):
        return False
    return text(meta, "MediaStorageSOPClassUID") == _MEDIA_DIRECTORY


def referenced(path: Path) -> tuple[Path, ...]:
    """The files that a DICOMDIR names, sorted.

    Names are looked for as they stand and in lower case, as some systems show discs.

    Raises:
        InputError: `input.not_an_image` when none of them is there, `input.unreadable` when some are missing or the
            directory is damaged.

    Source: DICOM PS3.3 F.3, Basic Directory IOD.
    """
    try:
        with quiet():
            names = sorted(set(_names(pydicom.dcmread(path))))
    # A damaged header makes pydicom raise almost anything; the file is at fault each time.
    except Exception as fault:
        raise InputError(f"{path.name} cannot be read: it is a damaged directory ({type(fault).__name__}).") from fault
    found = [_found(path.parent, name) for name in names]
    there = tuple(sorted({file for file in found if file is not None}))
    if not there:
        raise InputError(
            f"{path.name} is a media directory, not an image; it names {len(names)} file(s), and none lies beside it.",
            code="input.not_an_image",
            found=0,
            expected=len(names),
            hint="Give the folder of the whole disc.",
        )
    missing = found.count(None)
    if missing:
        raise InputError(
            f"{path.name} names {len(names)} files, and {missing} of them are missing.",
            found=len(names) - missing,
            expected=len(names),
            hint="Copy the whole disc again, or give its folder to take what is there.",
        )
    return there


def _names(directory: pydicom.Dataset) -> Iterator[tuple[str, ...]]:
    for record in directory.get("DirectoryRecordSequence") or ():
        stated = record.get("ReferencedFileID")
        parts = () if not stated else (stated,) if isinstance(stated, str) else tuple(stated)
        # Eight characters without a path in them are all that the standard allows.
        if parts and all(part not in ("", ".", "..") and not {"/", "\\"} & set(part) for part in parts):
            yield tuple(str(part) for part in parts)


def _found(folder: Path, name: tuple[str, ...]) -> Path | None:
    for spelled in (name, tuple(part.lower() for part in name)):
        path = folder.joinpath(*spelled)
        if path.is_file():
            return path
    return None
