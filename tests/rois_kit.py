"""Segmentations and structure sets as other programs write them, for the tests of those who read them."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from results import CREATED, MODEL, SPECS
from segloop.io.dicom import SeriesRef
from segloop.report import collect, derive_uid, write_seg
from segloop.volume import Labels

AXES = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
ORIENTATIONS = tuple(
    tuple(tuple(sign * v for v in AXES[axis]) for axis, sign in zip(order, signs, strict=True))
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
)
"""The 48 ways in which slices, rows and columns can run along the patient's axes."""


@dataclass(frozen=True)
class Drawn:
    """One contour: corners in LPS mm, the image it names, its kind."""

    points: np.ndarray
    image: str = ""
    kind: str = "CLOSED_PLANAR"


def drawn(series: SeriesRef, z: int, corners: Sequence[Sequence[float]], *, named: bool = True) -> Drawn:
    """A contour on slice `z` through (row, column) corners."""
    assert series.geometry is not None
    index = np.array([[z, *corner] for corner in corners], float)
    return Drawn(series.geometry.to_lps(index), series.files[z].sop_instance_uid if named else "")


def square(top: float, left: float, size: float) -> list[tuple[float, float]]:
    """Corners of an upright square."""
    return [(top, left), (top, left + size), (top + size, left + size), (top + size, left)]


def structure_set(
    path: Path, series: SeriesRef, structures: Mapping[str, Sequence[Drawn]], frame: str | None = None
) -> Path:
    """An RTSTRUCT as a planning system writes it."""
    own = series.frame_of_reference_uid if frame is None else frame
    d = _plain("1.2.840.10008.5.1.4.1.1.481.3", series, "RTSTRUCT")
    d.StructureSetLabel = "plan"
    study, link, space = Dataset(), Dataset(), Dataset()
    link.SeriesInstanceUID = series.series_uid
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = "1.2.840.10008.3.1.2.3.1", series.study_uid
    study.RTReferencedSeriesSequence = [link]
    space.FrameOfReferenceUID, space.RTReferencedStudySequence = own, [study]
    d.ReferencedFrameOfReferenceSequence = [space]
    rois, contours = [], []
    for number, (name, lines) in enumerate(structures.items(), 1):
        roi, item = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = number, name, own
        item.ReferencedROINumber, item.ContourSequence = number, [_line(line) for line in lines]
        rois.append(roi)
        contours.append(item)
    d.StructureSetROISequence, d.ROIContourSequence = rois, contours
    d.save_as(path, enforce_file_format=True)
    return path


def segmentation(path: Path, labels: Labels, series: SeriesRef) -> Path:
    """A SEG by this software's own writer."""
    return write_seg(labels, series, collect(labels, (), SPECS, MODEL, CREATED), derive_uid(path.name, "seg"), path)


def highdicom_segmentation(path: Path, series: SeriesRef, pixels: np.ndarray, kind: str, **options: Any) -> Path:
    """A SEG by highdicom; `pixels` (z, y, x) or (z, y, x, segment) in the order of `series.files`."""
    import highdicom as hd
    from pydicom.sr.codedict import codes

    count = int(pixels.max()) if pixels.ndim == 3 and pixels.dtype.kind == "u" else pixels.shape[-1]
    count = 1 if pixels.ndim == 3 and pixels.dtype.kind == "f" else count
    segments = [
        hd.seg.SegmentDescription(
            segment_number=n,
            segment_label=f"part {n}",
            segmented_property_category=codes.SCT.Organ,
            segmented_property_type=codes.SCT.Liver,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for n in range(1, count + 1)
    ]
    made = hd.seg.Segmentation(
        source_images=[pydicom.dcmread(f.path) for f in series.files],
        pixel_array=pixels,
        segmentation_type=kind,
        segment_descriptions=segments,
        series_instance_uid=derive_uid(path.name, "series"),
        series_number=9,
        sop_instance_uid=derive_uid(path.name, "instance"),
        instance_number=1,
        manufacturer="Other",
        manufacturer_model_name="Other",
        software_versions="1",
        device_serial_number="1",
        **options,
    )
    made.save_as(path)
    return path


def run_length_encoded(source: Path, target: Path) -> Path:
    """The same BINARY SEG with each frame's bits run length encoded."""
    d = pydicom.dcmread(source)
    frames = np.atleast_3d(d.pixel_array) if d.NumberOfFrames > 1 else d.pixel_array[np.newaxis]
    packed = [np.packbits(frame.ravel(), bitorder="little").tobytes() for frame in frames]
    d.PixelData = encapsulate([struct.pack("<16I", 1, 64, *[0] * 14) + _runs(frame) for frame in packed])
    d["PixelData"].is_undefined_length = True
    d["PixelData"].VR = "OB"
    d.file_meta.TransferSyntaxUID = RLELossless
    d.save_as(target, enforce_file_format=True)
    return target


def frames_in_order(source: Path, target: Path, order: Sequence[int]) -> Path:
    """The same native SEG with its frames in another order, some left out."""
    d = pydicom.dcmread(source)
    groups = list(d.PerFrameFunctionalGroupsSequence)
    kept = d.pixel_array[list(order)]
    d.PerFrameFunctionalGroupsSequence = [groups[i] for i in order]
    d.NumberOfFrames = len(order)
    packed = np.packbits(kept.ravel(), bitorder="little").tobytes() if d.BitsAllocated == 1 else kept.tobytes()
    d.PixelData = packed + b"\0" * (len(packed) % 2)
    d.save_as(target, enforce_file_format=True)
    return target


def _runs(content: bytes) -> bytes:
    out = bytearray()
    for value, group in itertools.groupby(content):
        count = len(list(group))
        while count > 0:
            length = min(count, 128)
            out += bytes([257 - length, value]) if length > 1 else bytes([0, value])
            count -= length
    return bytes(out) + b"\0" * (len(out) % 2)


def _plain(sop_class: str, series: SeriesRef, modality: str) -> Dataset:
    d = Dataset()
    d.file_meta = FileMetaDataset()
    d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    d.SOPClassUID, d.SOPInstanceUID = sop_class, derive_uid(series.series_uid, modality)
    d.StudyInstanceUID, d.SeriesInstanceUID = series.study_uid, derive_uid(series.series_uid, f"{modality} series")
    d.PatientName, d.PatientID, d.Modality = series.patient.name, series.patient.id, modality
    d.IssuerOfPatientID = series.patient.issuer
    d.Manufacturer = "Other"
    return d


def _line(line: Drawn) -> Dataset:
    item = Dataset()
    item.ContourGeometricType = line.kind
    item.NumberOfContourPoints = len(line.points)
    item.ContourData = [f"{v:.6f}" for v in line.points.ravel()]
    if line.image:
        image = Dataset()
        image.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
        image.ReferencedSOPInstanceUID = line.image
        item.ContourImageSequence = [image]
    return item
