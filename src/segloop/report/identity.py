"""The last look before anything leaves: do the results belong to the patient and study they were made from?

Validators check one object at a time. This compares the set with its source, and says which attribute disagrees without
repeating a value, because the message goes to logs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pydicom
from pydicom import Dataset
from pydicom.errors import InvalidDicomError

from segloop.errors import InputError, PrivacyError
from segloop.io.dicom.header import plain_text, quiet
from segloop.io.dicom.refs import SeriesRef
from segloop.report.dicom.common import IDENTIFIERS, identity
from segloop.report.dicom.source import frame_of_reference

_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
_STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
_MEASUREMENT_GROUP = "125007"
_TRACKING_UID = "112040"
_FRAME_KEYWORDS = ("FrameOfReferenceUID", "ReferencedFrameOfReferenceUID")


def verify_against_source(paths: Sequence[Path], series: SeriesRef) -> None:
    """Return when every object of `paths` is about the patient, study and space of `series`; else raise.

    Compared are patient name, id, issuer, birth date and sex, study UID and accession number; every frame of reference;
    every referenced study, series and instance, which must be the source's own or that of another object in `paths`;
    and each segment and measurement group must carry a tracking UID.

    Args:
        paths: All DICOM objects made from this series, so that their references to each other can be followed.
        series: The source.

    Raises:
        PrivacyError: `identity.mismatch`, naming file and attributes, never a value.
        InputError: A file cannot be read as DICOM.
    """
    objects = [(path, _read(path)) for path in paths]
    source = identity(series)
    known = _Known(series, [dataset for _, dataset in objects])
    faults = {path.name: sorted(set(_faults(dataset, source, known))) for path, dataset in objects}
    wrong = {name: found for name, found in faults.items() if found}
    if wrong:
        told = "; ".join(f"{name}: {', '.join(found)}" for name, found in wrong.items())
        raise PrivacyError(
            f"Results disagree with the series they were made from and are not sent ({told}).",
            code="identity.mismatch",
            found=wrong,
            expected="patient, study, frame of reference and references of the source series",
            hint="Process the study again; if it happens again, do not send by hand, and report it.",
        )


class _Known:
    """The UIDs that a result may mention."""

    def __init__(self, series: SeriesRef, results: Sequence[Dataset]) -> None:
        self.source_instances = {instance.sop_instance_uid for instance in series.files}
        self.instances = self.source_instances | {str(d.get("SOPInstanceUID", "")) for d in results}
        self.source_series = series.series_uid
        self.series = {series.series_uid} | {str(d.get("SeriesInstanceUID", "")) for d in results}
        self.frame = frame_of_reference(series)


def _faults(dataset: Dataset, source: Dataset, known: _Known) -> Iterator[str]:
    for keyword in IDENTIFIERS:
        if _text(dataset, keyword) != _text(source, keyword):
            yield keyword
    if _text(dataset, "SOPInstanceUID") in known.source_instances | {""}:
        yield "SOPInstanceUID"
    if _text(dataset, "SeriesInstanceUID") in (known.source_series, ""):
        yield "SeriesInstanceUID"
    if _text(dataset, "SOPClassUID") == _SEGMENTATION:
        if known.frame is not None and "FrameOfReferenceUID" not in dataset:
            yield "FrameOfReferenceUID"
        if any("TrackingUID" not in segment for segment in dataset.get("SegmentSequence", ())):
            yield "TrackingUID"
    if _text(dataset, "SOPClassUID") == _STRUCTURE_SET and "ReferencedFrameOfReferenceSequence" not in dataset:
        yield "FrameOfReferenceUID"
    study = _text(source, "StudyInstanceUID")
    for item in _walk(dataset):
        yield from _item_faults(item, study, known)


def _item_faults(item: Dataset, study: str, known: _Known) -> Iterator[str]:
    for keyword in _FRAME_KEYWORDS:
        if keyword in item and _text(item, keyword) != (known.frame or ""):
            yield keyword
    # A structure set refers to its study as if it were an instance.
    if "ReferencedSOPInstanceUID" in item and _text(item, "ReferencedSOPInstanceUID") not in {*known.instances, study}:
        yield "ReferencedSOPInstanceUID"
    if "StudyInstanceUID" in item and _text(item, "StudyInstanceUID") != study:
        yield "StudyInstanceUID"
    if "SeriesInstanceUID" in item and _text(item, "SeriesInstanceUID") not in known.series:
        yield "SeriesInstanceUID"
    if _is_concept(item, _MEASUREMENT_GROUP):
        children = item.get("ContentSequence", ())
        if not any(_is_concept(child, _TRACKING_UID) and _text(child, "UID") for child in children):
            yield "TrackingUID"


def _walk(dataset: Dataset) -> Iterator[Dataset]:
    yield dataset
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from _walk(item)


def _is_concept(item: Dataset, value: str) -> bool:
    return any(_text(code, "CodeValue") == value for code in item.get("ConceptNameCodeSequence", ()))


def _text(dataset: Dataset, keyword: str) -> str:
    """A value for comparison: absent and empty are one, and so are an empty name and its bare separators."""
    return plain_text(str(dataset.get(keyword) or "")).strip().rstrip("^=")


def _read(path: Path) -> Dataset:
    try:
        with quiet():
            dataset = pydicom.dcmread(path, stop_before_pixels=True)
            dataset.decode()
            return dataset
    except (OSError, InvalidDicomError, EOFError, ValueError) as fault:
        raise InputError(f"{path.name} cannot be read as DICOM: {type(fault).__name__}.") from fault
