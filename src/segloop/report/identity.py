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
from segloop.io.dicom.rejection import rejection_code
from segloop.report.dicom.common import IDENTIFIERS, identity
from segloop.report.dicom.seg import SEGMENTATION
from segloop.report.dicom.source import frame_of_reference

_STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
_MEASUREMENT_GROUP = "125007"
_TRACKING_UID = "112040"
_FRAME_KEYWORDS = ("FrameOfReferenceUID", "ReferencedFrameOfReferenceUID")


def verify_against_source(paths: Sequence[Path], series: SeriesRef) -> None:
    """Return when every object of `paths` is about the patient, study and space of `series`; else raise.

    Compared are patient name, id, issuer, birth date and sex, study UID and accession number; every frame of reference;
    every referenced study, series and instance, which must be the source's own or that of another object in `paths`;
    and each segment and measurement group must carry a tracking UID. What a result takes the place of (a predecessor,
    or what a rejection note withdraws) may be any object of the study but an image of the source or one of `paths`.

    Args:
        paths: All DICOM objects made from this series, so that their references to each other can be followed.
        series: The source.

    Raises:
        PrivacyError: `identity.mismatch`, naming file and attributes, never a value.
        InputError: A file cannot be read as DICOM.
    """
    objects = [(path, read_header(path)) for path in paths]
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
        # A structure set refers to its study as if it were an instance.
        self.instances = (
            self.source_instances | {str(d.get("SOPInstanceUID", "")) for d in results} | {series.study_uid}
        )
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
    if _text(dataset, "SOPClassUID") in SEGMENTATION.values():
        if known.frame is not None and "FrameOfReferenceUID" not in dataset:
            yield "FrameOfReferenceUID"
        # Segment 0 of a label map is its background, which nobody tracks.
        segments = [s for s in dataset.get("SegmentSequence", ()) if s.get("SegmentNumber") != 0]
        if any("TrackingUID" not in segment for segment in segments):
            yield "TrackingUID"
    if _text(dataset, "SOPClassUID") == _STRUCTURE_SET and "ReferencedFrameOfReferenceSequence" not in dataset:
        yield "FrameOfReferenceUID"
    study = _text(source, "StudyInstanceUID")
    yield from _item_faults(dataset, study, known, past=False)
    for item, past in _items(dataset, past=rejection_code(dataset) is not None):
        yield from _item_faults(item, study, known, past=past)


def _item_faults(item: Dataset, study: str, known: _Known, *, past: bool) -> Iterator[str]:
    for keyword in _FRAME_KEYWORDS:
        if keyword in item and _text(item, keyword) != (known.frame or ""):
            yield keyword
    if "ReferencedSOPInstanceUID" in item:
        named = _text(item, "ReferencedSOPInstanceUID")
        if past == (named in known.instances):
            yield "ReferencedSOPInstanceUID"
    if "StudyInstanceUID" in item and _text(item, "StudyInstanceUID") != study:
        yield "StudyInstanceUID"
    if "SeriesInstanceUID" in item:
        series = _text(item, "SeriesInstanceUID")
        if past == (series in known.series):
            yield "SeriesInstanceUID"
    if _is_concept(item, _MEASUREMENT_GROUP):
        children = item.get("ContentSequence", ())
        if not any(_is_concept(child, _TRACKING_UID) and _text(child, "UID") for child in children):
            yield "TrackingUID"


def _items(dataset: Dataset, *, past: bool) -> Iterator[tuple[Dataset, bool]]:
    """Every item at every depth, and whether it is about objects whose place the result takes."""
    for element in dataset:
        if element.VR == "SQ":
            here = past or element.keyword == "PredecessorDocumentsSequence"
            for item in element.value:
                yield item, here
                yield from _items(item, past=here)


def _is_concept(item: Dataset, value: str) -> bool:
    return any(_text(code, "CodeValue") == value for code in item.get("ConceptNameCodeSequence", ()))


def _text(dataset: Dataset, keyword: str) -> str:
    """A value for comparison: absent and empty are one, and so are an empty name and its bare separators."""
    return plain_text(str(dataset.get(keyword) or "")).strip().rstrip("^=")


def read_header(path: Path) -> Dataset:
    """A DICOM file without its pixels, its texts decoded.

    Raises:
        InputError: `input.unreadable`: it cannot be read as DICOM.
    """
    try:
        with quiet():
            dataset = pydicom.dcmread(path, stop_before_pixels=True)
            dataset.decode()
            return dataset
    except (OSError, InvalidDicomError, EOFError, ValueError) as fault:
        raise InputError(f"{path.name} cannot be read as DICOM: {type(fault).__name__}.") from fault
