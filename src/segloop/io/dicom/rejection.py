"""Rejection notes: key objects by which one system tells the others that objects are withdrawn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from segloop.errors import InputError

if TYPE_CHECKING:
    from pydicom import Dataset

KEY_OBJECTS = "1.2.840.10008.5.1.4.1.1.88.59"
REJECTIONS = {
    "113001": "Rejected for Quality Reasons",
    "113037": "Rejected for Patient Safety Reasons",
    "113038": "Incorrect Modality Worklist Entry",
    "113039": "Data Retention Policy Expired",
}
"""Document titles (DCM) that withdraw what the key object names. Source: IHE RAD TF-3, 4.66; DICOM PS3.16 CID 7010."""


@dataclass(frozen=True, slots=True)
class RejectedSeries:
    """Objects of one series that a note withdraws.

    Attributes:
        study_uid: Their study.
        series_uid: Their series.
        sop_instance_uids: The objects, in the order of the note.
    """

    study_uid: str
    series_uid: str
    sop_instance_uids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rejection:
    """What a rejection note says.

    Attributes:
        sop_instance_uid: The note itself.
        code: Its title: a key of `REJECTIONS`.
        series: What is withdrawn.
    """

    sop_instance_uid: str
    code: str
    series: tuple[RejectedSeries, ...]

    @property
    def meaning(self) -> str:
        """The title in words."""
        return REJECTIONS[self.code]

    @property
    def sop_instance_uids(self) -> frozenset[str]:
        """Every object that is withdrawn."""
        return frozenset(uid for series in self.series for uid in series.sop_instance_uids)


def read_rejection(source: Path | Dataset) -> Rejection | None:
    """What a rejection note withdraws; None for every other object, other key objects among them.

    Withdrawn is what the content of the note names. Study and series of each object come from the note's evidence,
    which must hold it; evidence that the content does not name is not withdrawn.

    Args:
        source: A DICOM file, or one that was read.

    Raises:
        InputError: `input.unreadable` when it is no DICOM, or a note that names nothing, or something without study or
            series.

    Source: IHE Radiology Technical Framework, Imaging Object Change Management, RAD-66; DICOM PS3.3 C.17.6.2.
    """
    import pydicom
    from pydicom.errors import InvalidDicomError

    from segloop.io.dicom.header import quiet

    name = source.name if isinstance(source, Path) else "The object"
    try:
        with quiet():
            dataset = pydicom.dcmread(source, stop_before_pixels=True) if isinstance(source, Path) else source
            code = rejection_code(dataset)
            if code is None:
                return None
            places = dict(_evidence(dataset))
            wanted = list(dict.fromkeys(_named(dataset)))
    except (OSError, InvalidDicomError, EOFError, AttributeError, IndexError, TypeError, ValueError) as fault:
        raise _damaged(name, f"it cannot be read ({type(fault).__name__})") from fault
    if not wanted:
        raise _damaged(name, "it names no object")
    if not places.keys() >= set(wanted):
        raise _damaged(name, "it names objects without their study and series")
    grouped: dict[tuple[str, str], list[str]] = {}
    for uid in wanted:
        grouped.setdefault(places[uid], []).append(uid)
    series = tuple(RejectedSeries(study, series, tuple(uids)) for (study, series), uids in grouped.items())
    return Rejection(str(dataset.SOPInstanceUID), code, series)


def rejection_code(dataset: Dataset) -> str | None:
    """The key of `REJECTIONS` that is the object's title; None where it is no rejection note."""
    if str(dataset.get("SOPClassUID", "")) != KEY_OBJECTS:
        return None
    for title in dataset.get("ConceptNameCodeSequence") or ():
        if str(title.get("CodingSchemeDesignator", "")) == "DCM" and str(title.get("CodeValue", "")) in REJECTIONS:
            return str(title.CodeValue)
    return None


def _evidence(dataset: Dataset) -> Iterator[tuple[str, tuple[str, str]]]:
    """Each object of the evidence with its study and series."""
    for study in dataset.get("CurrentRequestedProcedureEvidenceSequence") or ():
        for series in study.ReferencedSeriesSequence:
            for item in series.ReferencedSOPSequence:
                yield (
                    str(item.ReferencedSOPInstanceUID),
                    (str(study.StudyInstanceUID), str(series.SeriesInstanceUID)),
                )


def _named(dataset: Dataset) -> Iterator[str]:
    """The objects that the content names, at any depth."""
    for item in dataset.get("ContentSequence") or ():
        for reference in item.get("ReferencedSOPSequence") or ():
            yield str(reference.ReferencedSOPInstanceUID)
        yield from _named(item)


def _damaged(name: str, why: str) -> InputError:
    return InputError(
        f"{name} is a rejection note that cannot be followed: {why}.",
        expected="objects in the content, each with study and series in the evidence",
        hint="Nothing was withdrawn. Ask its sender to send it again.",
    )
