"""What every result must say of itself: when it was made, by which model, who stands behind it, what it follows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pydicom import Dataset

from segloop.io.dicom.header import plain_text
from segloop.io.dicom.refs import SeriesRef
from segloop.plan import Code
from segloop.report.dicom.attestation import earlier, is_report
from segloop.report.dicom.common import identity, moment
from segloop.report.dicom.pdf import ENCAPSULATED_PDF
from segloop.report.dicom.rtstruct import STRUCTURE_SET
from segloop.report.findings import Findings

Coded = tuple[str, str, str]


class Fault(NamedTuple):
    """An attribute that is not as it should be, and whether it is about a place in the patient."""

    attribute: str
    space: bool = False


def said(item: Dataset, keyword: str) -> str:
    """A value as text; empty where it is absent."""
    return plain_text(str(item.get(keyword, "") or "")).strip()


def coded(item: Dataset, keyword: str) -> Coded | None:
    """Value, scheme and meaning of the one code in a sequence; None unless there is exactly one."""
    codes = list(item.get(keyword) or ())
    if len(codes) != 1:
        return None
    # A code of more than 16 characters, as some of SNOMED CT are, stands in an element of its own.
    value = said(codes[0], "CodeValue") or said(codes[0], "LongCodeValue")
    return value, said(codes[0], "CodingSchemeDesignator"), said(codes[0], "CodeMeaning")


def plain(code: Code) -> Coded:
    """A code of the Plan as `coded` gives it."""
    return code.value.strip(), code.scheme.strip(), code.meaning[:64].strip()


def person(name: str) -> str:
    """A name without what makes no difference: spaces around it, and separators at its end."""
    return plain_text(name).strip().rstrip("^=")


def header_faults(dataset: Dataset, series: SeriesRef, findings: Findings) -> Iterator[Fault]:
    """Dates, equipment and state of any result."""
    sop_class = said(dataset, "SOPClassUID")
    date, time = moment(findings.created, identity(series))
    kind = "StructureSet" if sop_class == STRUCTURE_SET else "Content"
    for keyword, expected in ((f"{kind}Date", date), (f"{kind}Time", time), ("SeriesDate", date), ("SeriesTime", time)):
        if said(dataset, keyword) != expected:
            yield Fault(keyword)
    if findings.model.digest != f"sha256:{said(dataset, 'DeviceSerialNumber')}":
        yield Fault("DeviceSerialNumber")
    if findings.model.title not in [str(text) for text in dataset.get("SoftwareVersions") or ()]:
        yield Fault("SoftwareVersions")
    contributions = [said(item, "ContributionDescription") for item in dataset.get("ContributingEquipmentSequence", ())]
    if not any(findings.model.digest in text for text in contributions):
        yield Fault("ContributionDescription")
    yield from _state(dataset, sop_class, findings)
    if is_report(sop_class) or sop_class == ENCAPSULATED_PDF:
        yield from _predecessors(dataset, sop_class, findings)


def _state(dataset: Dataset, sop_class: str, findings: Findings) -> Iterator[Fault]:
    signature = findings.signature
    expected: dict[str, str] = {}
    if is_report(sop_class):
        expected["CompletionFlag"] = "COMPLETE"
        expected["PreliminaryFlag"] = "PRELIMINARY" if signature is None else "FINAL"
    if is_report(sop_class) or sop_class == ENCAPSULATED_PDF:
        expected["VerificationFlag"] = "UNVERIFIED" if signature is None else "VERIFIED"
    if sop_class == STRUCTURE_SET:
        expected["ApprovalStatus"] = "UNAPPROVED" if signature is None else "APPROVED"
    yield from (Fault(keyword) for keyword, value in expected.items() if said(dataset, keyword) != value)
    verified = [
        (
            person(said(item, "VerifyingObserverName")),
            said(item, "VerifyingOrganization"),
            said(item, "VerificationDateTime"),
        )
        for item in dataset.get("VerifyingObserverSequence") or ()
    ]
    asked = []
    if signature is not None and is_report(sop_class):
        when = f"{signature.signed_at:%Y%m%d%H%M%S%z}"[:19]
        asked = [(person(signature.observer), plain_text(signature.organisation).strip(), when)]
    if verified != asked:
        yield Fault("VerifyingObserverSequence")


def _predecessors(dataset: Dataset, sop_class: str, findings: Findings) -> Iterator[Fault]:
    named = sorted(
        (
            said(study, "StudyInstanceUID"),
            said(series, "SeriesInstanceUID"),
            said(item, "ReferencedSOPClassUID"),
            said(item, "ReferencedSOPInstanceUID"),
        )
        for study in dataset.get("PredecessorDocumentsSequence") or ()
        for series in study.get("ReferencedSeriesSequence") or ()
        for item in series.get("ReferencedSOPSequence") or ()
    )
    expected = sorted(
        (r.study_uid, r.series_uid, r.sop_class_uid, r.sop_instance_uid) for r in earlier(sop_class, findings)
    )
    if named != expected or said(dataset, "SOPInstanceUID") in {uids[3] for uids in named}:
        yield Fault("PredecessorDocumentsSequence")
