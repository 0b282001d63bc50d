"""Faults of a structured report, one change each, and the attribute that a check should name."""

from __future__ import annotations

import copy
from collections.abc import Iterator

from pydicom import Dataset

from seg_mutations import Change, setting, without


def items(item: Dataset, concept: str) -> Iterator[Dataset]:
    """Every item of a concept, at any depth."""
    for child in item.get("ContentSequence", ()):
        if child.get("ConceptNameCodeSequence") and child.ConceptNameCodeSequence[0].CodeValue == concept:
            yield child
        yield from items(child, concept)


def groups(d: Dataset) -> list[Dataset]:
    return list(items(d, "125007"))


def first(d: Dataset, concept: str) -> Dataset:
    return next(items(d, concept))


def exchanged(concept: str, keyword: str) -> Change:
    """The values of one concept in the first two groups exchanged."""

    def change(d: Dataset) -> None:
        one, two = (first(group, concept) for group in groups(d)[:2])
        a, b = copy.deepcopy(one[keyword].value), copy.deepcopy(two[keyword].value)
        setattr(one, keyword, b)
        setattr(two, keyword, a)

    return change


def volume(d: Dataset) -> Dataset:
    return first(d, "118565006").MeasuredValueSequence[0]


def without_item(concept: str) -> Change:
    def change(d: Dataset) -> None:
        group = groups(d)[0]
        left = [i for i in group.ContentSequence if i.ConceptNameCodeSequence[0].CodeValue != concept]
        assert len(left) < len(group.ContentSequence)
        group.ContentSequence = left

    return change


def without_group(d: Dataset) -> None:
    first(d, "126010").ContentSequence = groups(d)[1:]


def without_sentence(start: str) -> Change:
    def change(d: Dataset) -> None:
        part = first(d, "C0034375")
        left = [i for i in part.ContentSequence if not str(i.get("TextValue", "")).startswith(start)]
        assert len(left) < len(part.ContentSequence)
        part.ContentSequence = left

    return change


def moved_point(d: Dataset) -> None:
    point = first(d, "121231")
    point.GraphicData = [point.GraphicData[0] + 1.1, *point.GraphicData[1:]]


def foreign_image(d: Dataset) -> None:
    """Another slice of the same series, one that does not show the label."""
    one, two = (list(items(group, "121233")) for group in groups(d)[:2])
    named = {i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for i in two}
    other = next(i for i in one if i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID not in named)
    two[0].ReferencedSOPSequence = other.ReferencedSOPSequence


def predecessor(d: Dataset) -> Dataset:
    return d.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]


SR: dict[str, tuple[Change, str]] = {
    "another patient": (setting("PatientID", "PID-2"), "PatientID"),
    "another birth date": (setting("PatientBirthDate", "19700103"), "PatientBirthDate"),
    "another study": (setting("StudyInstanceUID", "1.2.3"), "StudyInstanceUID"),
    "another order": (setting("AccessionNumber", "ACC-8"), "AccessionNumber"),
    "another value": (lambda d: setattr(volume(d), "NumericValue", "0.206"), "NumericValue"),
    "a value ten times as large": (
        lambda d: setattr(volume(d), "NumericValue", str(float(volume(d).NumericValue) * 10)),
        "NumericValue",
    ),
    "values of two labels exchanged": (exchanged("118565006", "MeasuredValueSequence"), "NumericValue"),
    "another unit": (
        lambda d: setattr(volume(d).MeasurementUnitsCodeSequence[0], "CodeValue", "l"),
        "MeasurementUnits",
    ),
    "another quantity": (
        lambda d: setattr(first(d, "103339001").ConceptNameCodeSequence[0], "CodeValue", "103340004"),
        "Measurement",
    ),
    "deviation told as mean": (
        lambda d: setattr(list(items(d, "121401"))[1].ConceptCodeSequence[0], "CodeValue", "373098007"),
        "Derivation",
    ),
    "a measurement left out": (without_item("118565006"), "Measurement"),
    "a label left out": (without_group, "MeasurementGroup"),
    "findings of two labels exchanged": (exchanged("121071", "ConceptCodeSequence"), "Finding"),
    "another category": (
        lambda d: setattr(first(d, "276214006").ConceptCodeSequence[0], "CodeValue", "49755003"),
        "FindingCategory",
    ),
    "another site": (
        lambda d: setattr(first(d, "363698007").ConceptCodeSequence[0], "CodeValue", "80891009"),
        "FindingSite",
    ),
    "names of two labels exchanged": (exchanged("112039", "TextValue"), "TrackingIdentifier"),
    "tracking of two labels exchanged": (exchanged("112040", "UID"), "TrackingUID"),
    "no tracking": (without_item("112040"), "TrackingUID"),
    "segments of two labels exchanged": (exchanged("121191", "ReferencedSOPSequence"), "ReferencedSegment"),
    "another segmentation": (
        lambda d: setattr(first(d, "121191").ReferencedSOPSequence[0], "ReferencedSOPInstanceUID", "1.2.3"),
        "ReferencedSOPInstanceUID",
    ),
    "segmentation of another kind": (
        lambda d: setattr(
            first(d, "121191").ReferencedSOPSequence[0], "ReferencedSOPClassUID", "1.2.840.10008.5.1.4.1.1.66.7"
        ),
        "ReferencedSegment",
    ),
    "an image that does not show the label": (foreign_image, "SourceImageForSegmentation"),
    "an image left out": (without_item("121233"), "SourceImageForSegmentation"),
    "lesion in another place": (moved_point, "GraphicData"),
    "lesion in another space": (
        lambda d: setattr(first(d, "121231"), "ReferencedFrameOfReferenceUID", "1.2.3"),
        "ReferencedFrameOfReferenceUID",
    ),
    "another model": (lambda d: setattr(first(d, "111001"), "TextValue", "other"), "AlgorithmName"),
    "digest lost": (lambda d: setattr(first(d, "111002"), "TextValue", "digest="), "AlgorithmParameters"),
    "another device": (lambda d: setattr(first(d, "121016"), "TextValue", "sha256:0"), "DeviceObserverSerialNumber"),
    "digest lost from the equipment": (setting("DeviceSerialNumber", "0"), "DeviceSerialNumber"),
    "unverified": (setting("VerificationFlag", "UNVERIFIED"), "VerificationFlag"),
    "preliminary": (setting("PreliminaryFlag", "PRELIMINARY"), "PreliminaryFlag"),
    "partial": (setting("CompletionFlag", "PARTIAL"), "CompletionFlag"),
    "signed by nobody": (without("VerifyingObserverSequence"), "VerifyingObserverSequence"),
    "signed by another": (
        lambda d: setattr(d.VerifyingObserverSequence[0], "VerifyingObserverName", "Li^Na"),
        "VerifyingObserverSequence",
    ),
    "signed at another time": (
        lambda d: setattr(d.VerifyingObserverSequence[0], "VerificationDateTime", "20261122090000+0100"),
        "VerifyingObserverSequence",
    ),
    "observed by another": (lambda d: setattr(first(d, "121008"), "PersonName", "Li^Na"), "PersonObserverName"),
    "no predecessor": (without("PredecessorDocumentsSequence"), "PredecessorDocumentsSequence"),
    "another predecessor": (
        lambda d: setattr(predecessor(d), "ReferencedSOPInstanceUID", "2.25.9"),
        "PredecessorDocumentsSequence",
    ),
    "its own predecessor": (
        lambda d: setattr(predecessor(d), "ReferencedSOPInstanceUID", d.SOPInstanceUID),
        "ReferencedSOPInstanceUID",
    ),
    "no content date": (without("ContentDate"), "ContentDate"),
    "not for research only": (without_sentence("For research use only"), "Comment"),
}
