"""DICOM Segmentation to `Labels`: BINARY, FRACTIONAL and LABELMAP, frames in any order, packed or compressed."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Integer
from pydicom import Dataset

from segloop.errors import GeometryMismatch, InputError
from segloop.io.dicom.header import quiet, text
from segloop.io.dicom.refs import SeriesRef
from segloop.io.rois.frames import SegFrame, frames_of, pixels_of
from segloop.io.rois.placing import Place, own_grid, place
from segloop.io.rois.reference import LABEL_MAP, SEGMENTATION, damaged, describe, read, segment_names
from segloop.io.rois.target import Target
from segloop.volume import Geometry, Labels

_LARGEST_LABEL = 65535


def read_segmentation(
    file: Path, where: SeriesRef | Geometry | None = None, segments: Collection[int] | None = None
) -> Labels:
    """The segments of a DICOM SEG as one label map; a label's number is its segment's number.

    In a FRACTIONAL segmentation a voxel belongs to a segment from half of the maximum on; one that holds 0 and 1 only
    is binary, stored in bytes (as OHIF does to compress it).

    Args:
        file: The SEG.
        where: The series it was drawn on, or its grid; the labels lie on it voxel for voxel. None gives the grid that
            the frames form by themselves, from the first to the last that is there.
        segments: Numbers of the segments to read; None for all.

    Raises:
        GeometryMismatch: Its pixels are not the voxels of `where`; `geometry.frame_of_reference`.
        InputError: `labels.overlap` when two segments share a voxel (read them one by one), `labels.mismatch`,
            `input.unreadable`, `input.not_an_image`, or the series' own fault.

    Source: DICOM PS3.3 C.8.20 (Segmentation), C.8.20.4 (Label Map Segmentation).
    """
    with quiet():
        return _opened(file, where).labels(segments)


def read_segments(file: Path, where: SeriesRef | Geometry | None = None) -> Iterator[Labels]:
    """Each segment of a DICOM SEG by itself, so that overlapping ones can be had; its number and name stay.

    Args:
        file: The SEG.
        where: As in `read_segmentation`.

    Raises:
        GeometryMismatch: As `read_segmentation`.
        InputError: As `read_segmentation`, but for the overlap.
    """
    with quiet():
        opened = _opened(file, where)
    for number in opened.names:
        with quiet():
            labels = opened.labels({number})
        yield Labels(labels.array, labels.geometry, {number: opened.names[number]})


@dataclass(frozen=True, slots=True)
class _Segmentation:
    path: Path
    dataset: Dataset
    frames: tuple[SegFrame, ...]
    names: dict[int, str]
    target: Target

    @property
    def kind(self) -> str:
        return text(self.dataset, "SegmentationType").upper()

    def labels(self, segments: Collection[int] | None) -> Labels:
        wanted = set(self.names if segments is None else segments)
        unknown = sorted(wanted - set(self.names))
        if unknown:
            raise InputError(
                f"{self.path.name} has no segment {unknown[0]}.",
                code="labels.mismatch",
                found=sorted(self.names),
                expected=sorted(wanted),
            )
        kind = np.uint8 if max(self.names, default=0) <= 255 else np.uint16
        array = np.zeros(self.target.shape, kind)
        frames = [f for f in self.frames if f.segment is None or f.segment in wanted]
        size = int(self.dataset.Rows), int(self.dataset.Columns)
        places = {f.index: place(f, size, self.target, self.path) for f in frames}
        self._refuse_repeated(frames, places)
        segment_of = {f.index: f.segment for f in frames}
        threshold = self._threshold([f.index for f in frames])
        for index, stored in pixels_of(self.dataset, [f.index for f in frames], self.path):
            number = segment_of[index]
            if number is not None:
                self._paint(array, places[index], stored >= threshold, number)
                continue
            present = {int(v) for v in np.unique(stored)} - {0}
            if present - set(self.names):
                raise self._mismatch(f"its pixels hold {sorted(present - set(self.names))[:5]}, which no segment is")
            for value in sorted(present & wanted):
                self._paint(array, places[index], stored == value, value)
        return self.target.labels(array, {n: self.names[n] for n in sorted(wanted)})

    def _paint(
        self, array: Integer[np.ndarray, "z y x"], where: Place, mask: Bool[np.ndarray, "rows columns"], number: int
    ) -> None:
        into = where.into(array, mask)
        if into is None:
            raise GeometryMismatch(
                f"Segment {number} of {self.path.name} reaches beyond the images of its series.",
                found=f"slice {where.slice_index}",
                expected=self.target.geometry.describe(),
                hint="Give the whole series it was drawn on.",
            )
        plane, inside = into
        taken = plane[inside]
        if taken.any():
            other = int(taken[taken != 0][0])
            raise InputError(
                f"Segments {other} ({self.names[other]!r}) and {number} ({self.names[number]!r}) of {self.path.name} "
                f"overlap; one label map cannot hold both.",
                code="labels.overlap",
                found=[other, number],
                expected="segments that share no voxel",
                hint="Read the segments one by one (`segloop convert --apart`), or name those that are wanted.",
            )
        plane[inside] = number

    def _threshold(self, indices: list[int]) -> float:
        """The smallest stored value that counts as inside."""
        if self.kind != "FRACTIONAL":
            return 1
        values: set[int] = set()
        for _, stored in pixels_of(self.dataset, indices, self.path):
            values |= {int(v) for v in np.unique(stored)} - {0}
            if values - {1}:
                break
        highest = int(self.dataset.get("MaximumFractionalValue") or 0)
        if highest < 1:
            raise damaged(self.path, "it is fractional and states no maximum")
        return 1 if values == {1} else highest / 2

    def _refuse_repeated(self, frames: list[SegFrame], places: dict[int, Place]) -> None:
        seen = set[tuple[int | None, int, int]]()
        for frame in frames:
            key = (frame.segment, places[frame.index].slice_axis, places[frame.index].slice_index)
            if key in seen:
                raise self._mismatch(f"two frames of segment {frame.segment} lie at one place")
            seen.add(key)

    def _mismatch(self, why: str) -> InputError:
        return InputError(
            f"{self.path.name} contradicts itself: {why}.",
            code="labels.mismatch",
            found=why,
            hint="Export the segmentation again.",
        )


def _opened(file: Path, where: SeriesRef | Geometry | None) -> _Segmentation:
    dataset = read(file)
    if text(dataset, "SOPClassUID") not in (SEGMENTATION, LABEL_MAP):
        raise InputError(
            f"{file.name} is no DICOM segmentation.", code="input.not_an_image", expected="a Segmentation object"
        )
    frames = frames_of(dataset, file)
    names = _names(dataset, file)
    if where is None:
        target = Target(own_grid(frames, (int(dataset.Rows), int(dataset.Columns)), file))
    else:
        target = Target.of(where)
        spaces = {text(dataset, "FrameOfReferenceUID")}
        target.require_same_patient(file.name, text(dataset, "PatientID"), text(dataset, "IssuerOfPatientID"))
        target.require_same_space(file.name, spaces, describe(file, dataset).series_uids)
    label_map = text(dataset, "SegmentationType").upper() == "LABELMAP"
    stray = {f.segment for f in frames if f.segment not in names} if not label_map else set()
    if stray:
        raise damaged(file, f"{len(stray)} of its frames belong to no segment that it describes")
    if label_map:
        frames = tuple(SegFrame(f.index, None, f.position, f.axes, f.spacing, f.between_mm, f.sources) for f in frames)
    return _Segmentation(file, dataset, frames, names, target)


def _names(dataset: Dataset, file: Path) -> dict[int, str]:
    try:
        names = segment_names(dataset)
    except (AttributeError, TypeError, ValueError) as fault:
        raise damaged(file, "a segment has no number") from fault
    described = sum(1 for segment in dataset.get("SegmentSequence") or () if int(segment.SegmentNumber))
    if not names or len(names) != described or max(names) > _LARGEST_LABEL:
        raise damaged(file, "it describes no segment, one twice, or one with a number above 65535")
    return names
