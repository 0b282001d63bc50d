"""Which files are segmentations, and which series each was drawn on. Headers only; nothing of a patient is kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pydicom
from pydicom import Dataset
from pydicom.datadict import dictionary_has_tag, dictionary_VR

from segloop.errors import InputError
from segloop.io.dicom.header import quiet, text
from segloop.io.dicom.refs import SeriesRef

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
AREAS = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
"""Kinds of contours that enclose something."""

_KINDS: dict[str, Literal["SEG", "RTSTRUCT"]] = {
    SEGMENTATION: "SEG",
    LABEL_MAP: "SEG",
    STRUCTURE_SET: "RTSTRUCT",
}
_FIRST_ELEMENTS = ["SOPClassUID"]


@dataclass(frozen=True, slots=True)
class RoiFile:
    """A SEG or RTSTRUCT file and what it refers to.

    Attributes:
        path: The file.
        kind: `SEG` (binary, fractional or label map) or `RTSTRUCT`.
        series_uids: The series it names.
        instance_uids: The images it names.
        frame_of_reference_uids: The patient spaces it uses.
        names: Number and name of each label that reading it gives.
    """

    path: Path
    kind: Literal["SEG", "RTSTRUCT"]
    series_uids: frozenset[str]
    instance_uids: frozenset[str]
    frame_of_reference_uids: frozenset[str]
    names: tuple[tuple[int, str], ...]

    def series(self, found: Sequence[SeriesRef]) -> SeriesRef:
        """The series it was drawn on: the one it names, else that of its images, else the only one in its space.

        Args:
            found: From `dicom.scan`.

        Raises:
            InputError: `labels.no_series` when none fits, or several fit equally well.
        """
        images = [series for series in found if series.is_image]
        for fitting in (
            [s for s in images if s.series_uid and s.series_uid in self.series_uids],
            [s for s in images if any(f.sop_instance_uid in self.instance_uids for f in s.files)],
            [s for s in images if s.frame_of_reference_uid in self.frame_of_reference_uids - {""}],
        ):
            if len(fitting) == 1:
                return fitting[0]
            if fitting:
                raise self._without_series(f"{len(fitting)} series beside it fit equally well", fitting)
        raise self._without_series(f"none of the {len(images)} image series beside it is the one it names", images)

    def _without_series(self, why: str, series: Sequence[SeriesRef]) -> InputError:
        return InputError(
            f"{self.path.name} cannot be matched with its images: {why}.",
            code="labels.no_series",
            found=[s.series_uid for s in series],
            expected=sorted(self.series_uids) or "the series it was drawn on",
            hint="Give the folder of the series it was drawn on, or name the series with --series.",
        )


def look(path: Path) -> RoiFile | None:
    """What a SEG or RTSTRUCT file refers to; None for every other file.

    Raises:
        InputError: `input.unreadable` when the file says it is one and is damaged.
    """
    try:
        with quiet():
            first = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_FIRST_ELEMENTS), force=True)
            kind = _KINDS.get(text(first, "SOPClassUID"))
    # What is no DICOM makes pydicom raise almost anything, and is no segmentation.
    except Exception:
        return None
    return None if kind is None else describe(path, read(path, pixels=False))


def find_rois(paths: Sequence[Path]) -> tuple[RoiFile, ...]:
    """The SEG and RTSTRUCT files among `paths`, in their order.

    Raises:
        InputError: As `look`.
    """
    return tuple(found for found in map(look, paths) if found is not None)


def read(path: Path, *, pixels: bool = True) -> Dataset:
    """The whole data set of a segmentation file.

    Raises:
        InputError: `input.unreadable`.
    """
    try:
        with quiet():
            return pydicom.dcmread(path, stop_before_pixels=not pixels, force=True)
    # A damaged file makes pydicom raise almost anything; the file is at fault each time.
    except Exception as fault:
        raise damaged(path, type(fault).__name__) from fault


def segment_names(dataset: Dataset) -> dict[int, str]:
    """Number and name of each segment of a SEG; a label map may describe its background, which is no label here."""
    found = [(int(s.SegmentNumber), text(s, "SegmentLabel")) for s in dataset.get("SegmentSequence") or ()]
    return {number: name or f"segment {number}" for number, name in found if number}


def structure_names(dataset: Dataset) -> dict[int, str]:
    """Label number (1, 2, … by ROI number) and name of each structure of a structure set that has closed contours."""
    areas = {
        int(item.ReferencedROINumber)
        for item in dataset.get("ROIContourSequence") or ()
        if any(text(c, "ContourGeometricType").upper() in AREAS for c in item.get("ContourSequence") or ())
    }
    rois = {int(roi.ROINumber): text(roi, "ROIName") for roi in dataset.get("StructureSetROISequence") or ()}
    drawn = [number for number in sorted(rois) if number in areas]
    return {i: rois[number] or f"structure {number}" for i, number in enumerate(drawn, 1)}


def damaged(path: Path, why: str) -> InputError:
    """The error of a segmentation file that lacks or garbles what it needs."""
    return InputError(
        f"{path.name} cannot be read as a segmentation: {why}.",
        found=why,
        hint="Export the segmentation again.",
    )


def describe(path: Path, dataset: Dataset) -> RoiFile:
    """What the data set of a SEG or RTSTRUCT refers to.

    Args:
        path: Its file.
        dataset: From `read`.

    Raises:
        InputError: `input.unreadable`.
    """
    try:
        with quiet():
            kind = _KINDS[text(dataset, "SOPClassUID")]
            items = list(_walk(dataset))
            return RoiFile(
                path,
                kind,
                _values(items[1:], "SeriesInstanceUID"),
                _values(items[1:], "ReferencedSOPInstanceUID"),
                _values(items, "FrameOfReferenceUID") | _values(items, "ReferencedFrameOfReferenceUID"),
                tuple(segment_names(dataset).items() if kind == "SEG" else structure_names(dataset).items()),
            )
    # As above: each damaged sequence has an exception of its own.
    except Exception as fault:
        raise damaged(path, type(fault).__name__) from fault


def _walk(dataset: Dataset) -> Iterator[Dataset]:
    """The data set and every item in its sequences; contours' points are not decoded."""
    yield dataset
    for tag in list(dataset.keys()):
        stated = getattr(dataset.get_item(tag), "VR", None)
        if stated == "SQ" or (stated is None and dictionary_has_tag(tag) and dictionary_VR(tag) == "SQ"):
            for item in dataset[tag].value:
                yield from _walk(item)


def _values(items: Sequence[Dataset], keyword: str) -> frozenset[str]:
    return frozenset(text(item, keyword) for item in items) - {""}
