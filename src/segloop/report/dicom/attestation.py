"""Who stands behind an object, and which earlier ones it takes the place of, as DICOM says it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydicom import Dataset
from pydicom.uid import UID
from pydicom.valuerep import PersonName

from segloop.io.dicom.rejection import KEY_OBJECTS
from segloop.report.dicom.common import derive_uid
from segloop.report.findings import Findings
from segloop.report.signature import Reference

_REPORTS = "1.2.840.10008.5.1.4.1.1.88."


def attest(dataset: Dataset, findings: Findings) -> None:
    """Mark a structured report as a preliminary draft, or as final and verified by who signed it, in place.

    Source: DICOM PS3.3 C.17.2 (SR Document General Module).
    """
    signature = findings.signature
    dataset.CompletionFlag = "COMPLETE"
    dataset.PreliminaryFlag = "PRELIMINARY" if signature is None else "FINAL"
    dataset.VerificationFlag = "UNVERIFIED" if signature is None else "VERIFIED"
    if signature is not None:
        item = Dataset()
        item.VerifyingObserverName = PersonName(signature.observer)
        item.VerifyingObserverIdentificationCodeSequence = []
        item.VerifyingOrganization = signature.organisation
        # With its offset from UTC, so that the moment is the same wherever it is read.
        item.VerificationDateTime = signature.signed_at.strftime("%Y%m%d%H%M%S%z")[:19]
        dataset.VerifyingObserverSequence = [item]


def succeed(dataset: Dataset, findings: Findings) -> None:
    """Name the earlier objects whose place this one takes, in place; nothing where there are none.

    Source: DICOM PS3.3 C.17.2 and C.24.2 (Predecessor Documents Sequence).
    """
    named = earlier(str(dataset.SOPClassUID), findings)
    if named:
        dataset.PredecessorDocumentsSequence = by_study(named)


def earlier(sop_class: str, findings: Findings) -> list[Reference]:
    """The predecessors that an object of a class may name: a structured report names reports, a document documents."""
    report = is_report(sop_class)
    return [
        reference
        for reference in findings.predecessors
        if (is_report(reference.sop_class_uid) if report else reference.sop_class_uid == sop_class)
    ]


def is_report(sop_class: str) -> bool:
    """True for the structured reports, of which key object selections are none."""
    return sop_class.startswith(_REPORTS) and sop_class != KEY_OBJECTS


def by_study(references: Sequence[Reference]) -> list[Dataset]:
    """Items that name objects by study and series, in the order given.

    Source: DICOM PS3.3 Table 10-4 and C.17.2 (Hierarchical SOP Instance Reference Macro).
    """
    studies: dict[str, dict[str, list[Dataset]]] = {}
    for reference in references:
        item = Dataset()
        item.ReferencedSOPClassUID = UID(reference.sop_class_uid)
        item.ReferencedSOPInstanceUID = UID(reference.sop_instance_uid)
        studies.setdefault(reference.study_uid, {}).setdefault(reference.series_uid, []).append(item)
    found = []
    for study_uid, several in studies.items():
        study = Dataset()
        study.ReferencedSeriesSequence = []
        for series_uid, items in several.items():
            series = Dataset()
            series.ReferencedSOPSequence = items
            series.SeriesInstanceUID = UID(series_uid)
            study.ReferencedSeriesSequence.append(series)
        study.StudyInstanceUID = UID(study_uid)
        found.append(study)
    return found


def observers(findings: Findings) -> tuple[Any | None, Any]:
    """Observer contexts: the person who signed, None in a draft, and the model as a device.

    Source: DICOM PS3.16 TID 1003 and TID 1004.
    """
    import highdicom as hd
    from pydicom.sr.codedict import codes

    model, signature = findings.model, findings.signature
    device = hd.sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=derive_uid(model.digest, "device"),
            name=model.title,
            manufacturer_name="segloop",
            model_name=model.name[:64],
            serial_number=model.digest,
        ),
    )
    return (None if signature is None else person_observer(signature.observer, signature.organisation)), device


def person_observer(name: str, organisation: str = "") -> Any:
    """Observer context of a person.

    Source: DICOM PS3.16 TID 1003.
    """
    import highdicom as hd
    from pydicom.sr.codedict import codes

    # A bare family name is a name too; the caret says so to libraries that take it for a mistake.
    return hd.sr.ObserverContext(
        observer_type=codes.DCM.Person,
        observer_identifying_attributes=hd.sr.PersonObserverIdentifyingAttributes(
            name=name if "^" in name else f"{name}^", organization_name=organisation or None
        ),
    )
