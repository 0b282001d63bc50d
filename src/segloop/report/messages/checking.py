"""The last look before a message leaves: is it about the patient and study that it was made from?

It reads the bytes that will be sent with the parser that reads others' messages, and shares nothing with the writers
but the source. Which attribute disagrees is said, never a value, because the text goes to logs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from pydicom.multival import MultiValue

from segloop.errors import PrivacyError
from segloop.io.dicom.header import plain_text
from segloop.io.dicom.refs import SeriesRef
from segloop.report.dicom.common import identity
from segloop.report.messages.hl7 import parse
from segloop.report.messages.subject import Order

_ABOUT_PATIENTS = frozenset({"DiagnosticReport", "Observation", "ImagingStudy", "DocumentReference"})


def verify_oru(content: bytes, series: SeriesRef, order: Order | None = None) -> None:
    """Return when an ORU^R01 is about the patient and study of `series`; else raise.

    Args:
        content: The message.
        series: The source.
        order: Its order, whose accession number it may give where the images state none.

    Raises:
        PrivacyError: `identity.mismatch`, naming the fields.
    """
    message, source = parse(content), identity(series)
    patient, request = message.first("PID"), message.first("OBR")
    names = [
        "^".join(patient.get(5, part, repetition) for part in (1, 2, 3, 5, 4)).rstrip("^")
        for repetition in range(1, patient.repetitions(5) + 1)
    ]
    studies = {obx.get(5) for obx in message.all("OBX") if obx.get(3) == "113014"}
    pairs = {
        "PID-3": (patient.get(3), _text(source, "PatientID")),
        # Whoever gives numbers is named beside a number only (PID-3.1 is required in PID-3).
        "PID-3.4": (patient.get(3, 4), _text(source, "IssuerOfPatientID") if _text(source, "PatientID") else ""),
        "PID-5": ([name for name in names if name], _forms(_text(source, "PatientName"))),
        "PID-7": (patient.get(7), _text(source, "PatientBirthDate") if patient.get(7) else ""),
        "PID-8": (patient.get(8), _text(source, "PatientSex") if patient.get(8) else ""),
        "OBR-18": (request.get(18), _accession(source, order)),
        "OBX-5 of 113014": (studies, {series.study_uid}),
        "number of PID": (len(message.all("PID")), 1),
    }
    _refuse("ORU^R01", [name for name, (found, meant) in pairs.items() if found != meant])


def verify_bundle(content: bytes, series: SeriesRef, order: Order | None = None) -> None:
    """Return when every resource of a Bundle is about the patient and study of `series`; else raise.

    Args:
        content: The bundle.
        series: The source.
        order: As for `verify_oru`.

    Raises:
        PrivacyError: `identity.mismatch`, naming resources and elements.
    """
    source = identity(series)
    resources = [entry["resource"] for entry in json.loads(content)["entry"]]
    faults: set[str] = set()
    for resource in resources:
        faults.update(f"{resource['resourceType']}.{name}" for name in _faults(resource, source, series, order))
    kinds = {resource["resourceType"] for resource in resources}
    faults.update(f"no {kind}" for kind in ("DiagnosticReport", "ImagingStudy") if kind not in kinds)
    _refuse("FHIR Bundle", sorted(faults))


def _accession(source: Any, order: Order | None) -> str:
    return _text(source, "AccessionNumber") or (order.accession if order is not None else "")


def _faults(resource: dict[str, Any], source: Any, series: SeriesRef, order: Order | None) -> Iterator[str]:
    if resource["resourceType"] not in _ABOUT_PATIENTS:
        return
    patient_id, subject = _text(source, "PatientID"), resource.get("subject", {})
    if subject.get("identifier", {}).get("value", "") != patient_id:
        yield "subject"
    asked = subject.get("reference")
    if asked is not None and unquote(asked).partition("|")[2] != _escaped(patient_id):
        yield "subject.reference"
    words = set(_text(source, "PatientName").replace("=", " ").replace("^", " ").split())
    if set(subject.get("display", "").split()) - words:
        yield "subject.display"
    accession = _accession(source, order)
    for identifier in [*resource["identifier"], *(one["identifier"] for one in resource.get("basedOn", ()))]:
        kinds = [coding["code"] for coding in identifier.get("type", {}).get("coding", ())]
        if "ACSN" in kinds and identifier["value"] != accession:
            yield "accession number"
    if (
        resource["resourceType"] == "ImagingStudy"
        and resource["identifier"][0]["value"] != f"urn:oid:{series.study_uid}"
    ):
        yield "identifier"


def _escaped(value: str) -> str:
    """As a value of a FHIR search."""
    return re.sub(r"[\\,$|]", r"\\\g<0>", value)


def _forms(name: str) -> list[str]:
    forms = ["^".join(part.strip() for part in form.split("^")[:5]).rstrip("^") for form in name.split("=")[:3]]
    return [form for form in forms if form]


def _refuse(what: str, wrong: list[str]) -> None:
    if wrong:
        raise PrivacyError(
            f"The {what} disagrees with the series it was made from and is not sent ({', '.join(wrong)}).",
            code="identity.mismatch",
            found=wrong,
            expected="patient, study and accession number of the source series",
            hint="Process the study again; if it happens again, do not send by hand, and report it.",
        )


def _text(source: Any, keyword: str) -> str:
    value = source.get(keyword) or ""
    # A number with a backslash in it was read as several values.
    return plain_text("\\".join(map(str, value)) if isinstance(value, MultiValue) else str(value)).strip()
