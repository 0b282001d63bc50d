"""A folder of DICOM series with SEG or RTSTRUCT as cases: each segmentation and the series it was drawn on are one.

Nothing of a patient goes into a case: its id is a hash of the series UID, and who has several cases is told by the
first of them.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom

from segloop.data.layouts import Case
from segloop.errors import InputError
from segloop.io import dicom, rois
from segloop.io.dicom.header import quiet, text
from segloop.io.dicom.source import listed
from segloop.volume import Labels, Volume

_TAGS = ["SOPInstanceUID", "SeriesInstanceUID", "PatientID", "IssuerOfPatientID", "FrameOfReferenceUID"]
_ID_DIGITS = 12
_NOBODY = ("", "")


@dataclass(frozen=True, slots=True)
class Cases:
    """The cases of a folder of DICOM.

    Attributes:
        cases: Sorted by id.
        labels: Number and name of each label, by rising number.
        modality: DICOM modality of all series, empty when mixed.
    """

    cases: tuple[Case, ...]
    labels: Mapping[int, str]
    modality: str


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    instance: str
    series: str
    space: str
    patient: tuple[str, str]


def has_segmentations(root: Path) -> bool:
    """Whether a SEG or RTSTRUCT lies somewhere below a folder."""
    return any(rois.look(path) is not None for path in listed(root).paths)


def find_cases(root: Path, stated: Mapping[int, str]) -> Cases:
    """The cases below a folder; series without a segmentation are left aside.

    Args:
        root: The folder.
        stated: Number and name of the labels to read, where the dataset states them; else every name that occurs is a
            label and keeps its number where all files agree on it, or they are numbered in alphabetical order.

    Raises:
        InputError: `labels.ambiguous` when several segmentations refer to one series, listing them all;
            `labels.no_series`; `input.two_patients` when a segmentation and its series are of different patients;
            `dataset.invalid` when a segmentation has none of the stated labels.
    """
    paths = listed(root).paths
    drawn = rois.find_rois(paths)
    outlines = {roi.path for roi in drawn}
    known = [file for file in map(_indexed, paths) if file is not None]
    patient_of = {file.path: file.patient for file in known}
    of_series: dict[str, list[tuple[rois.RoiFile, dicom.SeriesRef]]] = defaultdict(list)
    scanned: dict[str, dicom.SeriesRef] = {}
    for roi in drawn:
        series = roi.series(_candidates(roi, [f for f in known if f.path not in outlines], paths, scanned))
        patient = patient_of.get(roi.path, _NOBODY)
        if patient != patient_of.get(series.files[0].path, _NOBODY):
            raise InputError(
                f"{_name(roi.path, root)} and the series it names are of different patients.",
                code="input.two_patients",
                expected="one patient",
                hint="Find out which of the two is right.",
            )
        of_series[series.series_uid].append((roi, series))
    _refuse_several(of_series, root)
    labels = dict(stated) or _numbered(roi for pairs in of_series.values() for roi, _ in pairs)
    pairs = {case_id(uid): pair for uid, (pair,) in of_series.items()}
    first: dict[tuple[str, str], str] = {}
    cases = []
    for case, (roi, series) in sorted(pairs.items()):
        if not {name for _, name in roi.names} & set(labels.values()):
            raise InputError(
                f"{_name(roi.path, root)} has none of the labels that the dataset names.",
                code="dataset.invalid",
                found=[name for _, name in roi.names],
                expected=list(labels.values()),
                hint="Correct `labels` in dataset.json, or leave the file out.",
            )
        patient = patient_of.get(roi.path, _NOBODY)
        group = first.setdefault(patient, case) if patient[0] else case
        slices = tuple(file.path for file in series.files)
        # What makes a series faulty may be a file beside it; with that file the case shows the same fault when read.
        slices += tuple(sorted(_beside(slices, paths, patient_of))) if series.faults else ()
        cases.append(Case(case, slices[:1], roi.path, group, slices=slices))
    modalities = {series.modality for _, series in pairs.values()}
    return Cases(tuple(cases), labels, modalities.pop() if len(modalities) == 1 else "")


def _numbered(drawn: Iterable[rois.RoiFile]) -> dict[int, str]:
    """Number and name of every label that occurs, by rising number."""
    numbers: defaultdict[str, set[int]] = defaultdict(set)
    for roi in drawn:
        for number, name in roi.names:
            numbers[name].add(number)
    agreed = {next(iter(found)): name for name, found in numbers.items() if len(found) == 1}
    if len(agreed) == len(numbers) and all(number > 0 for number in agreed):
        return dict(sorted(agreed.items()))
    return dict(enumerate(sorted(numbers), 1))


def case_id(series_uid: str) -> str:
    """The id of the case that a series is: the first digits of the SHA-256 of its UID.

    >>> case_id("1.2.3")
    '19ed79f4e8ef'
    """
    return hashlib.sha256(series_uid.encode()).hexdigest()[:_ID_DIGITS]


def read_image(slices: Sequence[Path]) -> Volume:
    """The image of a case.

    Args:
        slices: The files of its series.

    Raises:
        InputError: As `dicom.read_series`.
    """
    return dicom.read_series(_series(slices))


def read_labels(label: Path, slices: Sequence[Path], names: Mapping[int, str]) -> Labels:
    """The labels of a case on the grid of its image, numbered as the dataset numbers them.

    Args:
        label: The SEG or RTSTRUCT file.
        slices: The files of its series.
        names: The dataset's labels; segments and structures of other names are left out.

    Raises:
        InputError: As `rois.read_labels`.
    """
    found = rois.read_labels(label, _series(slices), set(names.values()))
    numbers = {name: number for number, name in names.items()}
    highest = max((*found.names, *names, 1))
    table = np.zeros(highest + 1, np.uint8 if highest <= 255 else np.uint16)
    for number, name in found.names.items():
        table[number] = numbers[name]
    return Labels(table[found.array], found.geometry, names)


def digest(slices: Sequence[Path]) -> str:
    """SHA-256 (hex) of the digests of the slices' files, in sorted order."""
    each = sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in slices)
    return hashlib.sha256("".join(each).encode()).hexdigest()


def _series(slices: Sequence[Path]) -> dicom.SeriesRef:
    root = slices[0].parent
    found = dicom.scan_files(dicom.Files(root, tuple(sorted(slices)), root.name))
    return next(series for series in found if any(file.path == slices[0] for file in series.files))


def _beside(own: Sequence[Path], paths: Sequence[Path], told: Collection[Path]) -> list[Path]:
    """The files in the folders of a series of which nothing is known: each may be a slice of it, cut off."""
    folders = {path.parent for path in own}
    return [path for path in paths if path not in told and path.parent in folders]


def _indexed(path: Path) -> _File | None:
    try:
        with quiet():
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=[*_TAGS], force=True)
            patient = (text(header, "PatientID"), text(header, "IssuerOfPatientID"))
            own = [text(header, tag) for tag in ("SOPInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")]
    # What is no DICOM, or is damaged, makes pydicom raise almost anything; the scan of its folder names it.
    except Exception:
        return None
    return _File(path, own[0], own[1], own[2], patient) if own[1] else None


def _candidates(
    roi: rois.RoiFile, known: Sequence[_File], paths: Sequence[Path], scanned: dict[str, dicom.SeriesRef]
) -> list[dicom.SeriesRef]:
    """The series that a segmentation may have been drawn on, each with the files beside it that nothing is known of."""
    wanted = {f.series for f in known if f.series in roi.series_uids or f.instance in roi.instance_uids}
    wanted = wanted or {f.series for f in known if f.space in roi.frame_of_reference_uids - {""}}
    told = {file.path for file in known}
    found = []
    for uid in sorted(wanted):
        if uid not in scanned:
            own = [f.path for f in known if f.series == uid]
            scanned[uid] = _series([*own, *_beside(own, paths, told)])
        found.append(scanned[uid])
    return found


def _refuse_several(of_series: Mapping[str, Sequence[tuple[rois.RoiFile, dicom.SeriesRef]]], root: Path) -> None:
    several = {
        case_id(uid): [_name(roi.path, root) for roi, _ in pairs] for uid, pairs in of_series.items() if len(pairs) > 1
    }
    if several:
        told = "; ".join(f"{', '.join(names)} (case {case})" for case, names in sorted(several.items()))
        raise InputError(
            f"Several segmentations refer to one series, and nothing says which is meant: {told}.",
            code="labels.ambiguous",
            found=several,
            expected="one SEG or RTSTRUCT for each series",
            hint="Move the others out of the dataset's folder.",
        )


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
