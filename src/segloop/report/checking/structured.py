"""A structured report as it was written, item by item, beside the findings it was made from."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from pydicom import Dataset

from segloop.io.dicom.refs import SeriesRef
from segloop.measure.quantities import Quantity
from segloop.report import concepts
from segloop.report.checking.headers import Coded, Fault, coded, person, plain, said
from segloop.report.dicom.common import derive_uid
from segloop.report.dicom.seg import tracking
from segloop.report.dicom.source import frame_of_reference, on_source
from segloop.report.findings import Findings, Group
from segloop.volume import Labels

_MEASUREMENTS, _GROUP = "126010", "125007"
_SAME_PLACE_MM = 5e-3


def report_faults(
    dataset: Dataset, seg: Dataset | None, labels: Labels, series: SeriesRef, findings: Findings
) -> Iterator[Fault]:
    """What in a structured report differs from the findings.

    Args:
        dataset: The report.
        seg: The segmentation that it points to; None when nothing was found.
        labels: The mask.
        series: The source.
        findings: What it is to say.
    """
    if (coded(dataset, "ConceptNameCodeSequence") or ("",))[0] != "126000":
        yield Fault("ConceptNameCodeSequence")
    if _codes(dataset, "121058") != [concepts.procedure(series.modality)]:
        yield Fault("ProcedureReported")
    yield from _observers(dataset, findings)
    yield from _sentences(dataset, findings)
    groups = [item for part in _items(dataset, _MEASUREMENTS) for item in _items(part, _GROUP)]
    expected = [group for group in findings.groups if group.found or not findings.present]
    if len(groups) != len(expected):
        yield Fault("MeasurementGroup")
        return
    drawn = on_source(labels, series)
    shown = {
        value: tuple(np.flatnonzero((drawn == value).any(axis=(1, 2))).tolist()) for value in findings.segment_numbers
    }
    for item, group in zip(groups, expected, strict=True):
        yield from _group(item, group, str(dataset.SOPInstanceUID), series, findings)
        yield from _place(item, group, seg, shown.get(group.spec.value, ()), series, findings)


def _observers(dataset: Dataset, findings: Findings) -> Iterator[Fault]:
    signature = findings.signature
    people = [person(said(item, "PersonName")) for item in _items(dataset, "121008")]
    if people != ([] if signature is None else [person(signature.observer)]):
        yield Fault("PersonObserverName")
    if [said(item, "UID") for item in _items(dataset, "121012")] != [derive_uid(findings.model.digest, "device")]:
        yield Fault("DeviceObserverUID")
    if _texts(dataset, "121016") != [findings.model.digest]:
        yield Fault("DeviceObserverSerialNumber")


def _sentences(dataset: Dataset, findings: Findings) -> Iterator[Fault]:
    said_codes: list[tuple[Coded | None, Coded | None]] = []
    said_texts: list[str] = []
    for part in _items(dataset, concepts.EVALUATIONS.value):
        for item in part.get("ContentSequence") or ():
            if said(item, "ValueType") == "CODE":
                said_codes.append((coded(item, "ConceptNameCodeSequence"), coded(item, "ConceptCodeSequence")))
            else:
                said_texts.append(said(item, "TextValue"))
    absent = [(plain(group.spec.code), tuple(concepts.ABSENT)) for group in findings.groups if not group.found]
    intervals = [text for m in findings.measurements if (text := concepts.interval_sentence(m)) is not None]
    told = [*concepts.reservations(findings, draft=findings.signature is None), *intervals, *findings.warnings]
    if said_codes != absent:
        yield Fault("QualitativeEvaluations")
    if said_texts != [text.strip() for text in told]:
        yield Fault("Comment")


def _group(item: Dataset, group: Group, uid: str, series: SeriesRef, findings: Findings) -> Iterator[Fault]:
    model, spec = findings.model, group.spec
    name, track = tracking(series, findings, spec.value)
    if group.component:
        known = findings.track(spec.value, group.component)
        name = known.identifier if known else f"{name[:56]} {group.component}"
        track = known.uid if known else derive_uid(f"{uid}|{spec.value}|{group.component}", "tracking")
    if _texts(item, "112039") != [name.strip()]:
        yield Fault("TrackingIdentifier")
    if [said(child, "UID") for child in _items(item, "112040")] != [track]:
        yield Fault("TrackingUID")
    for concept, code, attribute in (
        ("276214006", spec.category, "FindingCategory"),
        ("121071", spec.code, "Finding"),
        ("363698007", spec.site or spec.code, "FindingSite"),
    ):
        if _codes(item, concept) != [plain(code)]:
            yield Fault(attribute)
    if (_texts(item, "111001"), _texts(item, "111003")) != ([model.name.strip()], [model.version.strip()]):
        yield Fault("AlgorithmName")
    if f"digest={model.digest}" not in _texts(item, "111002"):
        yield Fault("AlgorithmParameters")
    yield from _numbers(item, group, series)


def _numbers(item: Dataset, group: Group, series: SeriesRef) -> Iterator[Fault]:
    found = [child for child in item.get("ContentSequence") or () if said(child, "ValueType") == "NUM"]
    if len(found) != len(group.measurements):
        yield Fault("Measurement")
        return
    for child, measurement in zip(found, group.measurements, strict=True):
        concept = concepts.quantity_concept(measurement.quantity, series.modality)
        derivation = concepts.derivation(measurement.quantity)
        if coded(child, "ConceptNameCodeSequence") != concept:
            yield Fault("Measurement")
        if _codes(child, "121401") != ([] if derivation is None else [derivation]):
            yield Fault("Derivation")
        values = child.get("MeasuredValueSequence") or ()
        expected = round(measurement.value, concepts.decimals(measurement.quantity))
        if [float(value.get("NumericValue", "nan")) for value in values] != [expected]:
            yield Fault("NumericValue")
        units = [coded(value, "MeasurementUnitsCodeSequence") for value in values]
        if units != [concepts.unit_concept(measurement.unit)]:
            yield Fault("MeasurementUnits")


def _place(
    item: Dataset,
    group: Group,
    seg: Dataset | None,
    shown: tuple[int, ...],
    series: SeriesRef,
    findings: Findings,
) -> Iterator[Fault]:
    """Whether a group points to its segment and the images that show it, or to the middle of its part."""
    longest = group.value(Quantity.LONGEST_DIAMETER)
    pointed = [tuple(map(float, child.get("GraphicData") or ())) for child in _items(item, "121231")]
    segments = [_reference(child) for child in _items(item, "121191")]
    images = [_reference(child) for child in _items(item, "121233")]
    if seg is None:
        if _codes(item, concepts.PRESENCE.value) != [concepts.ABSENT] or segments or pointed:
            yield Fault("Presence")
        return
    if group.component and longest is not None and longest.points_mm and frame_of_reference(series) is not None:
        middle = np.mean(longest.points_mm, axis=0)
        away = np.abs(np.array(pointed[0]) - middle).max() if len(pointed) == 1 and len(pointed[0]) == 3 else np.inf
        if away > _SAME_PLACE_MM or segments:
            yield Fault("GraphicData", space=True)
        return
    number = findings.segment_numbers[group.spec.value]
    if segments != [(said(seg, "SOPClassUID"), said(seg, "SOPInstanceUID"), (), (number,))] or pointed:
        yield Fault("ReferencedSegment")
    frames: dict[tuple[str, str], tuple[int, ...]] = {}
    source = series.images
    for file, frame in (source[z] for z in shown):
        named = (file.sop_class_uid, file.sop_instance_uid)
        frames[named] = tuple(sorted((*frames.get(named, ()), *([frame] if frame else []))))
    if sorted(images) != sorted((*named, numbers, ()) for named, numbers in frames.items()):
        yield Fault("SourceImageForSegmentation", space=True)


def _reference(item: Dataset) -> tuple[str, str, tuple[int, ...], tuple[int, ...]]:
    """Class, instance, frames and segments of the one object that an item names."""
    (referenced, *more) = item.get("ReferencedSOPSequence") or (Dataset(),)
    if more:
        return "", "", (), ()
    frames = np.atleast_1d(referenced.get("ReferencedFrameNumber") or []).astype(int).tolist()
    segments = np.atleast_1d(referenced.get("ReferencedSegmentNumber") or []).astype(int).tolist()
    names = said(referenced, "ReferencedSOPClassUID"), said(referenced, "ReferencedSOPInstanceUID")
    return (*names, tuple(frames), tuple(segments))


def _items(item: Dataset, concept: str) -> list[Dataset]:
    """The children that a concept names."""
    return [
        child
        for child in item.get("ContentSequence") or ()
        if (coded(child, "ConceptNameCodeSequence") or ("",))[0] == concept
    ]


def _texts(item: Dataset, concept: str) -> list[str]:
    return [said(child, "TextValue") for child in _items(item, concept)]


def _codes(item: Dataset, concept: str) -> list[Coded | None]:
    return [coded(child, "ConceptCodeSequence") for child in _items(item, concept)]
