"""Faults of a DICOM segmentation, one change each, and the attribute that a check should name."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
from pydicom import Dataset

Change = Callable[[Dataset], object]


def setting(keyword: str, value: object) -> Change:
    return lambda d: setattr(d, keyword, value)


def without(keyword: str) -> Change:
    return lambda d: d.pop(keyword)


def shared(d: Dataset) -> Dataset:
    return d.SharedFunctionalGroupsSequence[0]


def frame(d: Dataset, index: int = 2) -> Dataset:
    return d.PerFrameFunctionalGroupsSequence[index]


def frame_source(d: Dataset, index: int = 2) -> Dataset:
    return frame(d, index).DerivationImageSequence[0].SourceImageSequence[0]


def turned(d: Dataset) -> None:
    turn = shared(d).PlaneOrientationSequence[0]
    turn.ImageOrientationPatient = [-float(v) for v in turn.ImageOrientationPatient[:3]] + list(
        turn.ImageOrientationPatient[3:]
    )


def swapped_axes(d: Dataset) -> None:
    turn = shared(d).PlaneOrientationSequence[0]
    turn.ImageOrientationPatient = [*turn.ImageOrientationPatient[3:], *turn.ImageOrientationPatient[:3]]


def shifted(along: int, by_mm: float) -> Change:
    def change(d: Dataset) -> None:
        for group in d.PerFrameFunctionalGroupsSequence:
            place = [float(v) for v in group.PlanePositionSequence[0].ImagePositionPatient]
            place[along] += by_mm
            group.PlanePositionSequence[0].ImagePositionPatient = [f"{v:.6f}" for v in place]

    return change


def turned_over(d: Dataset) -> None:
    """The stack upside down: positions and sources in reverse, pixels as they were."""
    groups = list(d.PerFrameFunctionalGroupsSequence)
    places = [copy.deepcopy((g.PlanePositionSequence, g.DerivationImageSequence)) for g in groups]
    for group, (position, source) in zip(groups, reversed(places), strict=True):
        group.PlanePositionSequence, group.DerivationImageSequence = position, source


def swapped_frames(d: Dataset) -> None:
    pixels = d.pixel_array
    same = [i for i, g in enumerate(d.PerFrameFunctionalGroupsSequence) if number_of(g) == number_of(frame(d))]
    pixels[[same[0], same[1]]] = pixels[[same[1], same[0]]]
    packed(d, pixels)


def number_of(group: Dataset) -> int:
    return int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)


def packed(d: Dataset, pixels: np.ndarray) -> None:
    d.PixelData = np.packbits(pixels.ravel().astype(np.uint8), bitorder="little").tobytes()
    if len(d.PixelData) % 2:
        d.PixelData += b"\0"


def mirrored(axis: int) -> Change:
    return lambda d: packed(d, np.flip(d.pixel_array, axis))


def one_bit(d: Dataset) -> None:
    pixels = d.pixel_array
    pixels[3, 1, 1] ^= 1
    packed(d, pixels)


def without_frame(d: Dataset) -> None:
    pixels = d.pixel_array
    drop = int(np.flatnonzero(pixels.any(axis=(1, 2)))[0])
    packed(d, np.delete(pixels, drop, axis=0))
    del d.PerFrameFunctionalGroupsSequence[drop]
    d.NumberOfFrames = len(pixels) - 1


def frame_of_another_segment(d: Dataset) -> None:
    group = frame(d)
    group.SegmentIdentificationSequence[0].ReferencedSegmentNumber = 3 if number_of(group) != 3 else 2


def swapped_segments(d: Dataset) -> None:
    first, second = d.SegmentSequence[:2]
    first.SegmentNumber, second.SegmentNumber = second.SegmentNumber, first.SegmentNumber


def without_segment(d: Dataset) -> None:
    del d.SegmentSequence[-1]


def swapped_tracking(d: Dataset) -> None:
    first, second = d.SegmentSequence[:2]
    first.TrackingUID, second.TrackingUID = second.TrackingUID, first.TrackingUID


def another_slice(d: Dataset) -> None:
    other = frame_source(d, 3).ReferencedSOPInstanceUID
    assert other != frame_source(d).ReferencedSOPInstanceUID
    frame_source(d).ReferencedSOPInstanceUID = other


def source_series(d: Dataset) -> None:
    d.SeriesInstanceUID = d.ReferencedSeriesSequence[0].SeriesInstanceUID


def algorithm(d: Dataset) -> Dataset:
    return d.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]


SEG: dict[str, tuple[Change, str]] = {
    "another patient": (setting("PatientID", "PID-2"), "PatientID"),
    "another patient's name": (setting("PatientName", "Doe^John"), "PatientName"),
    "another study": (setting("StudyInstanceUID", "1.2.3"), "StudyInstanceUID"),
    "another frame of reference": (setting("FrameOfReferenceUID", "1.2.3"), "FrameOfReferenceUID"),
    "the series of its source": (source_series, "SeriesInstanceUID"),
    "rows turned to the other side": (turned, "ImageOrientationPatient"),
    "rows and columns exchanged": (swapped_axes, "ImageOrientationPatient"),
    "shifted to the left": (shifted(0, 1.1), "ImagePositionPatient"),
    "shifted by a slice": (shifted(2, 2.5), "ImagePositionPatient"),
    "shifted by a hundredth": (shifted(1, 0.02), "ImagePositionPatient"),
    "stack upside down": (turned_over, "PixelData"),
    "pixels of two frames exchanged": (swapped_frames, "PixelData"),
    "pixels mirrored": (mirrored(2), "PixelData"),
    "pixels upside down": (mirrored(1), "PixelData"),
    "one pixel more": (one_bit, "PixelData"),
    "a frame left out": (without_frame, "NumberOfFrames"),
    "another pixel spacing": (
        lambda d: setattr(shared(d).PixelMeasuresSequence[0], "PixelSpacing", [1.1, 0.8]),
        "PixelSpacing",
    ),
    "fewer rows": (setting("Rows", 23), "Rows"),
    "a frame of another segment": (frame_of_another_segment, "PixelData"),
    "a segment left out": (without_segment, "SegmentNumber"),
    "numbers of two segments exchanged": (swapped_segments, "SegmentNumber"),
    "name of another label": (lambda d: setattr(d.SegmentSequence[0], "SegmentLabel", "Posterior"), "SegmentLabel"),
    "code of another label": (
        lambda d: setattr(d.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0], "CodeValue", "279223008"),
        "SegmentedPropertyTypeCodeSequence",
    ),
    "code of another scheme": (
        lambda d: setattr(
            d.SegmentSequence[0].SegmentedPropertyCategoryCodeSequence[0], "CodingSchemeDesignator", "99X"
        ),
        "SegmentedPropertyCategoryCodeSequence",
    ),
    "site left out": (lambda d: d.SegmentSequence[2].pop("AnatomicRegionSequence"), "AnatomicRegionSequence"),
    "tracking of two labels exchanged": (swapped_tracking, "TrackingUID"),
    "no tracking": (lambda d: d.SegmentSequence[0].pop("TrackingUID"), "TrackingUID"),
    "drawn by hand": (
        lambda d: setattr(d.SegmentSequence[0], "SegmentAlgorithmType", "MANUAL"),
        "SegmentAlgorithmType",
    ),
    "another model": (lambda d: setattr(algorithm(d), "AlgorithmVersion", "2.0"), "AlgorithmName"),
    "digest lost from the parameters": (
        lambda d: setattr(algorithm(d), "AlgorithmParameters", "x"),
        "AlgorithmParameters",
    ),
    "digest lost from the equipment": (without("DeviceSerialNumber"), "DeviceSerialNumber"),
    "no contributing equipment": (without("ContributingEquipmentSequence"), "ContributionDescription"),
    "image of another slice": (another_slice, "ReferencedSOPInstanceUID"),
    "image of another series": (
        lambda d: setattr(frame_source(d), "ReferencedSOPInstanceUID", "1.2.3"),
        "ReferencedSOPInstanceUID",
    ),
    "no source image": (lambda d: frame(d).pop("DerivationImageSequence"), "ReferencedSOPInstanceUID"),
    "no content date": (without("ContentDate"), "ContentDate"),
    "another content time": (setting("ContentTime", "000000"), "ContentTime"),
    "fractional": (setting("SegmentationType", "FRACTIONAL"), "SegmentationType"),
}
