"""A corrected copy of a dataset: what can be mended exactly is, the rest is copied as it is; the original stays."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from segloop.data.checks.corrections import IN_IMAGE, IN_LABEL, corrected_image, corrected_label
from segloop.data.checks.descriptions import corrected_document, corrected_splits, groups_table
from segloop.data.checks.entries import Entry
from segloop.data.checks.faults import Fault, ordered, printable
from segloop.data.checks.planned import without_mirroring
from segloop.data.checks.survey import Survey, survey
from segloop.data.groups import FILE as GROUPS_FILE
from segloop.errors import InputError, ServiceError
from segloop.io import files
from segloop.plan import Frozen, Plan
from segloop.store.files import FULL

_LEFT_OUT = ("missing_image", "missing_label", "duplicate_image")
_DESCRIPTION, _SPLITS, _PLAN = "dataset.json", "splits_final.json", "plan.json"

_Write = Callable[[Path], None]


class Mended(Frozen):
    """What became of the faults in the copy.

    Attributes:
        output: The copy's folder.
        mended: Faults that the copy no longer has.
        left: Faults that it still has.
        left_out: Cases that were not copied.
    """

    output: str
    mended: tuple[Fault, ...]
    left: tuple[Fault, ...]
    left_out: tuple[str, ...]


def require_room(folder: Path, out: Path) -> None:
    """Refuse an output folder before any work is done for it; nothing is written.

    Args:
        folder: The dataset.
        out: Where its copy is to stand.

    Raises:
        InputError: `usage` when the two lie in each other, when `out` holds files, or cannot be written.
        ServiceError: `disk.full` when the copy would not fit.
    """
    source, target = folder.resolve(), out.resolve()
    if source.is_relative_to(target) or target.is_relative_to(source):
        raise InputError(
            f"The corrected copy cannot stand at {out}: it and the dataset would lie in each other.",
            code="usage",
            found=str(out),
            expected="a folder outside the dataset",
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(
            f"The corrected copy needs a folder of its own; {out} holds something already.",
            code="usage",
            found=str(out),
            expected="a folder that is absent or empty",
            hint="Give another folder to --fix.",
        )
    place = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise _unwritable(out, f"{place} is read-only" if place.is_dir() else f"{place} is no folder")
    needed, free = sum(path.stat().st_size for path in _all_files(folder)), shutil.disk_usage(place).free
    if needed > free:
        raise ServiceError(
            f"The corrected copy needs {needed:,} bytes; {free:,} are free at {out}.",
            code="disk.full",
            found=free,
            expected=needed,
            hint="Free some space, or give a folder on another disk.",
        )


def mend(
    folder: Path,
    out: Path,
    faults: Sequence[Fault],
    plan: Plan | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Mended:
    """Write a copy of the dataset in which every fault that says `mendable` is gone; `folder` is only read.

    Images are read one at a time. Should the copy fail, nothing of it is left behind.

    Args:
        folder: The dataset.
        out: A folder that is absent or empty.
        faults: What `check` found.
        plan: The Plan that was checked with it; a corrected one goes to `out/plan.json`.
        progress: Called with files done and their total.

    Raises:
        InputError: As `require_room`; `input.empty` when no case would be left.
        ServiceError: `disk.full`.
    """
    found = survey(folder)
    if any(entry.slices for entry in found.entries):
        raise InputError(
            f"{folder.name} holds DICOM series, of which no corrected copy is written.",
            code="usage",
            found="DICOM series with SEG or RTSTRUCT",
            expected="image files and label maps",
            hint="Convert them with `segloop convert` first, or mend them where they were drawn.",
        )
    mendable = [fault for fault in faults if fault.mendable]
    left_out = {entry.id for entry in found.entries if _of(mendable, entry, _LEFT_OUT)}
    if not any(entry.images and entry.label for entry in found.entries if entry.id not in left_out):
        raise InputError(
            "No case would be left in a corrected copy, so none is written.",
            code="input.empty",
            found=f"{len(left_out)} cases, all without image or label map, or twice",
            expected="at least one case that is complete",
            hint="Add what is missing to the dataset itself.",
        )
    require_room(folder, out)
    work = _changes(found, mendable, left_out)
    failed = set[str]()
    try:
        with _writing(out):
            out.mkdir(parents=True, exist_ok=True)
            paths = list(_all_files(folder))
            for done, path in enumerate(paths, start=1):
                if not _put(work, path, out / path.relative_to(folder)):
                    failed.add(found.relative(path))
                if progress is not None:
                    progress(done, len(paths))
            if any(fault.kind == "patient_in_two_folds" for fault in mendable):
                (out / GROUPS_FILE).write_bytes(groups_table(found))
            if plan is not None and any(fault.kind == "mirroring" for fault in mendable):
                (out / _PLAN).write_bytes(without_mirroring(plan).to_json().encode())
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        raise
    gone = {printable(case) for case in left_out}
    mended = [fault for fault in faults if fault.case in gone or (fault.mendable and fault.file not in failed)]
    left = [fault for fault in faults if fault not in mended]
    return Mended(output=str(out), mended=ordered(mended), left=ordered(left), left_out=tuple(sorted(gone)))


def _of(faults: Sequence[Fault], entry: Entry, kinds: Sequence[str]) -> list[Fault]:
    return [fault for fault in faults if fault.kind in kinds and fault.case == printable(entry.id)]


def _changes(found: Survey, mendable: Sequence[Fault], left_out: set[str]) -> dict[Path, _Write | None]:
    """Files that are not copied as they are: how each is written instead, or None when it is left out."""
    changes: dict[Path, _Write | None] = {}
    for entry in found.entries:
        own = (*entry.images, *([entry.label] if entry.label else []))
        if entry.id in left_out:
            changes |= dict.fromkeys(own)
            continue
        first = entry.images[0] if entry.images else None
        if entry.label and _of(mendable, entry, IN_LABEL):
            changes[entry.label] = _label_writer(entry.label, first)
        wrong = _of(mendable, entry, IN_IMAGE)
        for path in entry.images:
            if here := [fault for fault in wrong if fault.file == printable(found.relative(path))]:
                changes[path] = _image_writer(path, here)
    for fault in mendable:
        if fault.kind == "extra_channel":
            changes[found.root / fault.file] = None
    document = corrected_document(found, left_out) if found.document else None
    if document is not None:
        changes[found.root / _DESCRIPTION] = lambda target: _store(document, target)
    splits = found.root / _SPLITS
    if splits.is_file() and left_out:
        changes[splits] = lambda target: _store(corrected_splits(splits.read_bytes(), left_out), target)
    return changes


def _label_writer(path: Path, image: Path | None) -> _Write:
    def write(target: Path) -> None:
        labels = corrected_label(path, image)
        if labels is None:
            raise InputError(f"{path.name} cannot be corrected.")
        files.write(labels, target)

    return write


def _image_writer(path: Path, faults: Sequence[Fault]) -> _Write:
    def write(target: Path) -> None:
        volume = corrected_image(path, faults)
        if volume is None:
            raise InputError(f"{path.name} cannot be corrected.")
        files.write(volume, target)

    return write


def _store(content: bytes, target: Path) -> None:
    target.write_bytes(content)


def _put(changes: dict[Path, _Write | None], source: Path, target: Path) -> bool:
    """Write one file of the copy; False when a correction failed and the file was copied as it is."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source not in changes:
        return _copy(source, target)
    write = changes[source]
    if write is None:
        return True
    try:
        write(target)
    # What the file became since it was checked, or cannot hold, is no reason to lose it.
    except InputError:
        _copy(source, target)
        return False
    return True


def _copy(source: Path, target: Path) -> bool:
    """Copy a file; False when it may not be read, which is a fault of the dataset and told as one."""
    try:
        shutil.copyfile(source, target)
    except OSError as fault:
        if fault.errno != errno.EACCES or fault.filename != str(source):
            raise
        return False
    return True


def _all_files(folder: Path) -> Iterator[Path]:
    """Every file of a dataset, through linked folders too, hidden ones left out."""
    seen = set[Path]()
    for where, folders, names in os.walk(folder, followlinks=True):
        real = Path(where).resolve()
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        paths = (Path(where) / name for name in sorted(names) if not name.startswith("."))
        yield from (path for path in paths if path.is_file())


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    """Failures to write as errors of ours."""
    try:
        yield
    except OSError as fault:
        if fault.errno in FULL:
            raise ServiceError(
                f"No space is left to write the corrected copy at {out}.",
                code="disk.full",
                hint="Free some space, or give a folder on another disk; nothing was left behind.",
            ) from fault
        raise _unwritable(out, str(fault.strerror)) from fault


def _unwritable(out: Path, reason: str) -> InputError:
    return InputError(
        f"The folder {out} cannot be written: {reason}.",
        code="usage",
        found=reason,
        expected="a folder that can be written",
        hint="Give another folder to --fix, or change its permissions.",
    )
