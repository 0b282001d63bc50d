"""A segmentation as it was written, frame by frame, beside the mask it was made from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Integer
from pydicom import Dataset

from segloop.errors import InputError
from segloop.io.dicom.refs import SeriesRef
from segloop.io.rois.frames import SegFrame, frames_of, pixels_of
from segloop.plan import LabelSpec
from segloop.report.checking.headers import Fault, coded, plain, said
from segloop.report.dicom.seg import SEGMENTATION, tracking
from segloop.report.dicom.source import frame_of_reference, on_source, slice_positions
from segloop.report.findings import Findings
from segloop.volume import Geometry, Labels

_SAME_PLACE_MM = 5e-3
_SAME_DIRECTION = 1e-5


def segmentation_faults(dataset: Dataset, labels: Labels, series: SeriesRef, findings: Findings) -> Iterator[Fault]:
    """What in a SEG differs from the mask, its place, and the labels."""
    label_map = said(dataset, "SOPClassUID") == SEGMENTATION["labelmap"]
    if said(dataset, "SegmentationType") != ("LABELMAP" if label_map else "BINARY"):
        yield Fault("SegmentationType")
    if said(dataset, "FrameOfReferenceUID") != (frame_of_reference(series) or ""):
        yield Fault("FrameOfReferenceUID", space=True)
    yield from _segments(dataset, series, findings)
    drawn = on_source(labels, series)
    if (dataset.get("Rows"), dataset.get("Columns")) != drawn.shape[1:]:
        yield Fault("Rows", space=True)
        return
    try:
        frames = frames_of(dataset, Path("segmentation"))
        placed = list(_placed(frames, labels.geometry, series))
        yield from (fault for _, faults in placed for fault in faults)
        yield from _pixels(dataset, frames, [z for z, _ in placed], drawn, findings)
    except InputError:
        yield Fault("PixelData", space=True)


def _segments(dataset: Dataset, series: SeriesRef, findings: Findings) -> Iterator[Fault]:
    described = {item.get("SegmentNumber"): item for item in dataset.get("SegmentSequence") or ()}
    described.pop(0, None)
    if list(described) != list(findings.segment_numbers.values()):
        yield Fault("SegmentNumber")
        return
    specs = {spec.value: spec for spec in findings.labels}
    for value, number in findings.segment_numbers.items():
        yield from _segment(described[number], specs[value], tracking(series, findings, value), findings)


def _segment(item: Dataset, spec: LabelSpec, track: tuple[str, str], findings: Findings) -> Iterator[Fault]:
    model = findings.model
    expected = {
        "SegmentLabel": spec.name[:64].strip(),
        "SegmentAlgorithmType": "AUTOMATIC",
        "SegmentAlgorithmName": model.title.strip(),
        "TrackingID": track[0].strip(),
        "TrackingUID": track[1],
    }
    yield from (Fault(keyword) for keyword, value in expected.items() if said(item, keyword) != value)
    codes = {
        "SegmentedPropertyCategoryCodeSequence": spec.category,
        "SegmentedPropertyTypeCodeSequence": spec.code,
        "AnatomicRegionSequence": spec.site,
    }
    for keyword, code in codes.items():
        if coded(item, keyword) != (None if code is None else plain(code)):
            yield Fault(keyword)
    if model.digest not in said(item, "SegmentDescription"):
        yield Fault("SegmentDescription")
    algorithms = item.get("SegmentationAlgorithmIdentificationSequence") or ()
    named = [(said(a, "AlgorithmName"), said(a, "AlgorithmVersion")) for a in algorithms]
    if named != [(model.title.strip(), model.version[:64].strip())]:
        yield Fault("AlgorithmName")
    if not any(model.digest in said(algorithm, "AlgorithmParameters") for algorithm in algorithms):
        yield Fault("AlgorithmParameters")


def _placed(
    frames: tuple[SegFrame, ...], geometry: Geometry, series: SeriesRef
) -> Iterator[tuple[int, tuple[Fault, ...]]]:
    """For each frame the slice of the source that it lies on, -1 for none, and what is wrong with its place."""
    slices = {(file.sop_instance_uid, frame): z for z, (file, frame) in enumerate(series.images)}
    positions = np.array(slice_positions(series, geometry))
    axes = np.array([*geometry.direction[2], *geometry.direction[1]])
    flat = frame_of_reference(series) is None
    for frame in frames:
        named = slices.get(frame.sources[0], -1) if len(frame.sources) == 1 else -1
        if flat:
            yield named, (() if named >= 0 else (Fault("ReferencedSOPInstanceUID", space=True),))
            continue
        faults = []
        here = -1
        if len(frame.position) == 3:
            away = np.abs(positions - frame.position).max(axis=1)
            nearest = int(away.argmin())
            here = nearest if away[nearest] < _SAME_PLACE_MM else -1
        if here < 0:
            faults.append(Fault("ImagePositionPatient", space=True))
        elif named != here:
            faults.append(Fault("ReferencedSOPInstanceUID", space=True))
        if len(frame.axes) != 6 or np.abs(axes - frame.axes).max() > _SAME_DIRECTION:
            faults.append(Fault("ImageOrientationPatient", space=True))
        if len(frame.spacing) != 2 or not np.allclose(frame.spacing, geometry.spacing_mm[1:], rtol=1e-5, atol=0):
            faults.append(Fault("PixelSpacing", space=True))
        yield here, tuple(faults)


def _pixels(
    dataset: Dataset,
    frames: tuple[SegFrame, ...],
    slices: list[int],
    drawn: Integer[np.ndarray, "n y x"],
    findings: Findings,
) -> Iterator[Fault]:
    """Every pixel of every frame; what is in no frame is found by counting."""
    values = {number: value for value, number in findings.segment_numbers.items()}
    table = np.zeros(max(values.values()) + 1, np.uint16)
    table[list(values.values())] = list(values)
    label_map = said(dataset, "SegmentationType") == "LABELMAP"
    seen, painted = set[tuple[int | None, int]](), 0
    for index, stored in pixels_of(dataset, range(len(frames)), Path("segmentation")):
        z, number = slices[index], None if label_map else frames[index].segment
        if (number, z) in seen:
            yield Fault("PerFrameFunctionalGroupsSequence", space=True)
        seen.add((number, z))
        if z < 0:
            continue
        if not label_map and number not in values:
            yield Fault("ReferencedSegmentNumber")
            continue
        expected: Bool[np.ndarray, "y x"] | Integer[np.ndarray, "y x"]
        expected = table[drawn[z]] if number is None else drawn[z] == values[number]
        if not np.array_equal(stored, expected):
            yield Fault("PixelData", space=True)
        painted += int(np.count_nonzero(stored))
    if painted != int(np.count_nonzero(drawn)):
        yield Fault("NumberOfFrames", space=True)
