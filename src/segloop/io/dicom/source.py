"""Folders, files and zip archives as lists of files."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from segloop.errors import InputError, ServiceError
from segloop.io.dicom.media import is_directory, referenced

_MAX_UNPACKED_BYTES = 64 * 1024**3
_MAX_MEMBERS = 200_000


@dataclass(frozen=True, slots=True)
class Files:
    """Files to be scanned.

    Attributes:
        root: The folder they lie under; for an archive the folder it was unpacked to.
        paths: The files, sorted.
        name: What the user called the source, for messages.
    """

    root: Path
    paths: tuple[Path, ...]
    name: str


@contextmanager
def opened(source: Path, only: Sequence[str] = ()) -> Iterator[Files]:
    """The files of a folder (recursively), a single file, or a zip, which is unpacked for as long as the block runs.

    Hidden files and macOS resource forks are left out; links to folders are not followed.

    Args:
        source: Folder, file or zip.
        only: Names relative to `source`, with `/`; when given, these files and no others.

    Raises:
        InputError: `input.unreadable` when the source or one of `only` does not exist, or when an archive is damaged,
            encrypted, too large, or names files outside itself.
        ServiceError: `disk.full` while unpacking.
    """
    if _is_zip(source):
        with tempfile.TemporaryDirectory(prefix="segloop-") as folder:
            yield _limited(unpacked(source, Path(folder)), only)
    else:
        yield _limited(listed(source), only)


def listed(source: Path) -> Files:
    """The files of a folder, the files that a DICOMDIR names, or the one file.

    Raises:
        InputError: `input.unreadable` when there is no such file or folder, or when files that a DICOMDIR names are
            missing; `input.not_an_image` when all are.
    """
    if source.is_file():
        if is_directory(source):
            return Files(source.parent, referenced(source), source.name)
        return Files(source.parent, (source,), source.name)
    if not source.is_dir():
        raise InputError(f"{source.name} cannot be read: there is no such file or folder.", found=source.name)
    return Files(source, _below(source), source.name)


def unpacked(source: Path, folder: Path) -> Files:
    """The files of a zip, extracted to `folder`.

    Raises:
        InputError: `input.unreadable`.
        ServiceError: `disk.full`.
    """
    try:
        with zipfile.ZipFile(source) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            _refuse_dangerous(source, members)
            for member in members:
                _extract(archive, member, folder)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as fault:
        raise InputError(
            f"{source.name} cannot be read: the archive is damaged, encrypted or packed in an unknown way ({fault}).",
            found=str(fault),
            hint="Copy or create the archive again, without a password.",
        ) from fault
    except OSError as fault:
        if fault.errno == errno.ENOSPC:
            raise ServiceError(f"No space is left to unpack {source.name}.", code="disk.full") from fault
        raise InputError(f"{source.name} cannot be unpacked: {fault.strerror}.") from fault
    return Files(folder, _below(folder), source.name)


def is_zip(source: Path) -> bool:
    """True for a zip archive, whatever its name."""
    return _is_zip(source)


def _is_zip(source: Path) -> bool:
    return source.is_file() and (source.suffix.lower() == ".zip" or zipfile.is_zipfile(source))


def _below(folder: Path) -> tuple[Path, ...]:
    found: list[Path] = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__MACOSX"]
        found += [Path(parent, name) for name in names if not name.startswith(".")]
    return tuple(sorted(path for path in found if path.is_file()))


def _refuse_dangerous(source: Path, members: Sequence[zipfile.ZipInfo]) -> None:
    total = sum(member.file_size for member in members)
    if total > _MAX_UNPACKED_BYTES or len(members) > _MAX_MEMBERS:
        raise InputError(
            f"{source.name} would unpack to {len(members):,} files of {total / 1024**3:,.1f} GiB.",
            found=[len(members), total],
            expected=[_MAX_MEMBERS, _MAX_UNPACKED_BYTES],
            hint="Unpack it yourself and give the folder.",
        )
    names = [member.filename for member in members]
    for name in names:
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in name.split("/")[0]:
            raise InputError(
                f"{source.name} is refused: it names a file outside itself.",
                found=name,
                expected="names inside the archive",
            )
    if len(set(names)) != len(names):
        raise InputError(f"{source.name} holds several files of one name.", hint="Create the archive again.")


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> None:
    target = folder.joinpath(*PurePosixPath(member.filename.replace("\\", "/")).parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    # zipfile itself stops at the size the archive's directory states, so the sum checked before is a bound.
    with archive.open(member) as packed, target.open("xb") as stream:
        shutil.copyfileobj(packed, stream, 1 << 20)


def _limited(files: Files, only: Sequence[str]) -> Files:
    if not only:
        return files
    wanted = tuple(sorted(files.root / name for name in only))
    absent = set(wanted) - set(files.paths)
    if absent:
        name = min(path.name for path in absent)
        raise InputError(
            f"{files.name} lacks {len(absent)} of the {len(wanted)} files asked for, such as {name}.",
            found=len(wanted) - len(absent),
            expected=len(wanted),
        )
    return Files(files.root, wanted, files.name)
