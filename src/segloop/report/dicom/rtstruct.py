"""Mask to RT Structure Set: one structure per label that occurs, its contours on the source's own slices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from pydicom import DataElement, Dataset, config
from pydicom.uid import UID, ImplicitVRLittleEndian
from pydicom.valuerep import PersonName

from segloop.errors import GeometryMismatch, InputError
from segloop.io.dicom.refs import SeriesRef
from segloop.plan import LabelSpec
from segloop.report.dicom.common import code_item, link, moment, new_dataset, save, source_reference, state
from segloop.report.dicom.outlines import outlines
from segloop.report.dicom.source import frame_of_reference, on_source, slice_positions
from segloop.report.findings import Findings
from segloop.volume import Labels

STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
SERIES_NUMBER = 9005

# Retired with the study management classes, and still what PS3.3 C.8.8.5.4 has a study referred to by.
_STUDY_CLASS = "1.2.840.10008.3.1.2.3.1"
_DECIMALS = 4
_CONTOUR_DATA = 0x30060050


def write_rtstruct(labels: Labels, series: SeriesRef, findings: Findings, uid: str, path: Path) -> Path:
    """Write `labels` as an RTSTRUCT of the source's study, on the source's own slices.

    Structures are numbered as the segments of the SEG (`Findings.segment_numbers`). Contours are closed, follow the
    pixels' borders, name the image they lie on, and hold holes as keyholes; filled again they give the mask exactly.
    The structure set is unapproved, or approved by who signed the findings. It is stored in implicit VR, since a
    contour may be longer than 64 kB of text.

    Args:
        labels: Mask on the grid that the source was read on.
        series: The source.
        findings: Made by `collect` from the same mask.
        uid: SOP instance UID of the structure set.
        path: File to write.

    Raises:
        GeometryMismatch: The mask does not lie on the source's grid.
        InputError: `input.empty` when no voxel is labelled; `geometry.invalid` for a source without a place in the
            patient, such as a projection.

    Source: DICOM PS3.3 A.19 (RT Structure Set IOD).
    """
    if not findings.present:
        raise InputError("An empty mask gives no structure set; leave it out.", code="input.empty")
    if series.geometry is not None and not series.geometry.same_grid(labels.geometry):
        raise GeometryMismatch(
            f"The mask lies on {labels.geometry.describe()}, its source on {series.geometry.describe()}.",
            found=labels.geometry.describe(),
            expected=series.geometry.describe(),
        )
    frame = frame_of_reference(series)
    if frame is None:
        raise InputError(
            f"{series.title} states no place in the patient, so no contour can lie on it.",
            code="geometry.invalid",
            expected="slices with a position",
        )
    dataset = new_dataset(STRUCTURE_SET, uid, "RTSTRUCT")
    link(dataset, series, findings, "structures", SERIES_NUMBER)
    dataset.OperatorsName = ""
    signature = findings.signature
    dataset.StructureSetLabel = "SEGLOOP DRAFT" if signature is None else "SEGLOOP"
    dataset.StructureSetName = findings.model.title
    dataset.StructureSetDescription = f"{findings.model.title}, {state(findings)}"
    dataset.StructureSetDate, dataset.StructureSetTime = dataset.ContentDate, dataset.ContentTime
    del dataset.ContentDate, dataset.ContentTime
    dataset.FrameOfReferenceUID, dataset.PositionReferenceIndicator = UID(frame), ""
    dataset.ApprovalStatus = "UNAPPROVED"
    if signature is not None:
        dataset.ApprovalStatus, dataset.ReviewerName = "APPROVED", PersonName(signature.observer)
        dataset.ReviewDate, dataset.ReviewTime = moment(signature.signed_at, dataset)
    dataset.ReferencedFrameOfReferenceSequence = [_space(series, frame)]
    drawn = on_source(labels, series)
    specs = {spec.value: spec for spec in findings.labels}
    contours = {value: list(_contours(drawn == value, labels, series)) for value in findings.segment_numbers}
    numbers = {value: number for value, number in findings.segment_numbers.items() if contours[value]}
    if not numbers:
        raise InputError("The mask lies between the source's slices; no contour on them holds it.", code="input.empty")
    dataset.StructureSetROISequence = [_roi(specs[v], n, frame, findings) for v, n in numbers.items()]
    dataset.ROIContourSequence = [_roi_contour(specs[v], n, contours[v]) for v, n in numbers.items()]
    dataset.RTROIObservationsSequence = [_observation(specs[v], n) for v, n in numbers.items()]
    return save(dataset, path, ImplicitVRLittleEndian)


def _space(series: SeriesRef, frame: str) -> Dataset:
    images, study, space = Dataset(), Dataset(), Dataset()
    images.SeriesInstanceUID = UID(series.series_uid)
    images.ContourImageSequence = source_reference(series)
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = UID(_STUDY_CLASS), UID(series.study_uid)
    study.RTReferencedSeriesSequence = [images]
    space.FrameOfReferenceUID, space.RTReferencedStudySequence = UID(frame), [study]
    return space


def _roi(spec: LabelSpec, number: int, frame: str, findings: Findings) -> Dataset:
    item = Dataset()
    item.ROINumber = number
    item.ReferencedFrameOfReferenceUID = UID(frame)
    item.ROIName = spec.name[:64]
    item.ROIDescription = f"{spec.name}: {findings.model.title}"[:1024]
    item.ROIGenerationAlgorithm = "AUTOMATIC"
    item.ROIGenerationDescription = findings.model.title
    return item


def _roi_contour(spec: LabelSpec, number: int, contours: Sequence[Dataset]) -> Dataset:
    item = Dataset()
    item.ROIDisplayColor = list(spec.colour)
    item.ContourSequence = list(contours)
    item.ReferencedROINumber = number
    return item


def _observation(spec: LabelSpec, number: int) -> Dataset:
    item = Dataset()
    item.ObservationNumber = item.ReferencedROINumber = number
    item.RTROIInterpretedType = item.ROIInterpreter = ""
    item.RTROIIdentificationCodeSequence = [code_item(spec.code.value, spec.code.scheme, spec.code.meaning)]
    return item


def _contours(mask: Bool[np.ndarray, "n y x"], labels: Labels, series: SeriesRef) -> Iterator[Dataset]:
    geometry = labels.geometry
    positions = np.array(slice_positions(series, geometry))
    down = np.array(geometry.direction[1]) * geometry.spacing_mm[1]
    along = np.array(geometry.direction[2]) * geometry.spacing_mm[2]
    images = series.images
    for z in np.flatnonzero(mask.any(axis=(1, 2))).tolist():
        file, frame = images[z]
        for polygon in outlines(mask[z]):
            image, item = Dataset(), Dataset()
            image.ReferencedSOPClassUID = UID(file.sop_class_uid)
            image.ReferencedSOPInstanceUID = UID(file.sop_instance_uid)
            if frame:
                image.ReferencedFrameNumber = frame
            item.ContourImageSequence = [image]
            item.ContourGeometricType = "CLOSED_PLANAR"
            item.NumberOfContourPoints = len(polygon)
            item.add(_data(positions[z] + polygon[:, :1] * down + polygon[:, 1:] * along))
            yield item


def _data(points: Float[np.ndarray, "n 3"]) -> DataElement:
    """ContourData, exact to a tenth of a micrometre; strings made here need no check, which would take the longest."""
    texts = [f"{value:.{_DECIMALS}f}" for value in points.ravel().tolist()]
    return DataElement(_CONTOUR_DATA, "DS", texts, validation_mode=config.IGNORE)
