"""Findings to a FHIR R4 transaction: report, observations, study, document and device, to be taken all or none.

What a draft writes is created only if its identifier is not there yet, so a retry adds nothing; a signed result
replaces the draft of the same identifier, and names the documents that it takes the place of. Identifiers derive from
the result's key. The patient is named and never created: by a logical reference, or, once `addressed` to a server that
knows our patients, by a conditional one, which the server refuses unless exactly one patient has the number.

Source: HL7 FHIR R4 (4.0.1), and the HL7 guide "DICOM SR to FHIR Resource Mapping": a measurement group is an
observation with the finding as its value and the measurements as its members.
"""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from segloop.io.dicom.own import MANUFACTURER
from segloop.io.dicom.refs import SeriesRef
from segloop.measure.quantities import Measurement
from segloop.report import concepts
from segloop.report.concepts import Concept
from segloop.report.dicom.common import derive_uid
from segloop.report.findings import Findings, Group
from segloop.report.messages.subject import (
    Issuer,
    Order,
    ResultStatus,
    Subject,
    displayed,
    name_parts,
    subject_of,
    timestamp,
)

UID_SYSTEM = "urn:dicom:uid"
_ENCAPSULATED_PDF = "1.2.840.10008.5.1.4.1.1.104.1"
_MEASUREMENT_GROUP = Concept("125007", "DCM", "Measurement Group")
_SYSTEMS = {
    "SCT": "http://snomed.info/sct",
    "LN": "http://loinc.org",
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "UCUM": "http://unitsofmeasure.org",
    "UMLS": "http://terminology.hl7.org/CodeSystem/umls",
    "IBSI": "urn:oid:1.2.840.10008.2.16.13",
}
_STATUS = {
    ResultStatus.PRELIMINARY: "preliminary",
    ResultStatus.FINAL: "final",
    ResultStatus.CORRECTED: "corrected",
}
_DOCUMENT = {**_STATUS, ResultStatus.CORRECTED: "amended"}

_Json = dict[str, Any]


def fhir_bundle(
    findings: Findings,
    series: SeriesRef,
    pdf: bytes,
    key: str,
    *,
    status: ResultStatus = ResultStatus.PRELIMINARY,
    order: Order | None = None,
    edition: str | None = None,
) -> bytes:
    """The result as one FHIR R4 transaction Bundle, in JSON.

    Args:
        findings: What to say.
        series: The source: whose result it is.
        pdf: What `render_pdf` gave.
        key: What the result was made from; every identifier derives from it.
        status: Of report, observations and document.
        order: Its numbers, where they are known.
        edition: Key of this form of the result, signed or draft; None where there is but one. The document's version
            identifier derives from it.
    """
    bundle = _Bundle(findings, subject_of(series), key, status, order or Order(), edition or key)
    bundle.device()
    bundle.study()
    results = [bundle.group(group) for group in findings.groups]
    bundle.document(pdf)
    bundle.report(results)
    document = {
        "resourceType": "Bundle",
        "type": "transaction",
        "timestamp": bundle.issued,
        "entry": bundle.entries,
    }
    return json.dumps(document, ensure_ascii=False, indent=1).encode() + b"\n"


def addressed(content: bytes, patient_system: str) -> bytes:
    """The bundle for a server that knows patients by their number in the namespace `patient_system`.

    Each logical reference to the patient becomes a conditional one: the server finds the one patient with that number,
    or refuses the whole transaction. A bundle without a patient id stays as it is.
    """
    document = json.loads(content)
    for entry in document["entry"]:
        subject = entry["resource"].get("subject", {})
        if "identifier" in subject:
            value = subject["identifier"]["value"]
            for mark in ("\\", ",", "$", "|"):
                value = value.replace(mark, f"\\{mark}")
            subject["reference"] = f"Patient?identifier={quote(patient_system, safe=':/.')}|{quote(value, safe='')}"
    return json.dumps(document, ensure_ascii=False, indent=1).encode() + b"\n"


def withdrawn(content: bytes, moment: datetime) -> bytes:
    """The bundle again, as the word that its result is not to be used: what was written is marked entered in error."""
    document = json.loads(content)
    document["timestamp"] = moment.isoformat()
    for entry in document["entry"]:
        resource = entry["resource"]
        kind = resource["resourceType"]
        if kind not in ("DiagnosticReport", "Observation", "DocumentReference"):
            continue
        resource["status"] = "entered-in-error"
        if kind == "DocumentReference":
            resource["docStatus"] = "entered-in-error"
        search = f"identifier={UID_SYSTEM}|{resource['identifier'][0]['value']}"
        entry["request"] = {"method": "PUT", "url": f"{kind}?{search}"}
    return json.dumps(document, ensure_ascii=False, indent=1).encode() + b"\n"


def ordered(content: bytes, order: Order) -> bytes:
    """The bundle with its order, which may have come after the bundle was written."""
    document = json.loads(content)
    for entry in document["entry"]:
        if entry["resource"]["resourceType"] == "ImagingStudy" and order.accession:
            numbers = entry["resource"]["identifier"]
            if len(numbers) == 1:
                numbers.append(_identifier("ACSN", order.accession, Issuer()))
        if order.placer and entry["resource"]["resourceType"] in ("DiagnosticReport", "Observation"):
            placed = _identifier("PLAC", order.placer, Issuer(order.placer_issuer))
            entry["resource"]["basedOn"] = [{"type": "ServiceRequest", "identifier": placed}]
    return json.dumps(document, ensure_ascii=False, indent=1).encode() + b"\n"


@dataclass
class _Bundle:
    findings: Findings
    subject: Subject
    key: str
    status: ResultStatus
    order: Order
    edition: str

    def __post_init__(self) -> None:
        self.entries: list[_Json] = []
        self.patient = _patient(self.subject)
        self.created = self.findings.created.isoformat()
        signature = self.findings.signature
        self.issued = self.created if signature is None else signature.signed_at.isoformat()
        self.orders = _orders(self.subject, self.order)

    @property
    def signers(self) -> list[_Json]:
        """Who signed, and for which organisation; named only, since a server's practitioners are not ours to create."""
        signature = self.findings.signature
        if signature is None:
            return []
        name = displayed(name_parts(signature.observer))
        return [
            {"type": "Practitioner", "display": name},
            {"type": "Organization", "display": signature.organisation},
        ]

    def device(self) -> None:
        """The model, with its version and the digest of its weights."""
        model = self.findings.model
        versions = [model.version, f"segloop {self.findings.software}"]
        resource = {
            "resourceType": "Device",
            "identifier": [_uid(derive_uid(model.digest, "device"))],
            "status": "active",
            "manufacturer": MANUFACTURER,
            "serialNumber": model.digest,
            "deviceName": [{"name": model.name, "type": "model-name"}],
            "version": [{"value": version} for version in versions],
        }
        self._add("device", resource, kept=True)

    def study(self) -> None:
        """The study as far as the source series tells; one that the server knows is left as it is."""
        subject = self.subject
        accession = [_accession(subject, self.order)] if subject.accession or self.order.accession else []
        series = {"uid": subject.series_uid, "numberOfInstances": subject.instances}
        modality = {"system": _SYSTEMS["DCM"], "code": subject.modality or "OT"}
        resource = {
            "resourceType": "ImagingStudy",
            "identifier": [_uid(subject.study_uid), *accession],
            "status": "available",
            "modality": [modality],
            "subject": self.patient,
            **_present(started=timestamp(subject.study_moment), description=subject.study_description),
            "series": [{**series, "modality": modality}],
        }
        self._add("study", resource, kept=True)

    def group(self, group: Group) -> _Json:
        """An observation per label or part of it, with its measurements as members; returns the reference to it."""
        spec = group.spec
        members = [self.measurement(one, group) for one in group.measurements]
        finding = _coded(concepts.concept(spec.code), spec.name)
        if group.found:
            told = {"code": _coded(concepts.concept(spec.category)), "valueCodeableConcept": finding}
            category = _MEASUREMENT_GROUP
        else:
            told = {"code": finding, "valueCodeableConcept": _coded(concepts.ABSENT)}
            category = concepts.EVALUATIONS
        known = self.findings.track(spec.value, group.component)
        name = known.identifier if known else f"{spec.name} {group.component}" if group.component else spec.name
        return self._observation(
            f"group|{spec.value}|{group.component}",
            {**told, "note": [{"text": name}], **({"hasMember": members} if members else {})},
            category,
            group,
        )

    def measurement(self, measurement: Measurement, group: Group) -> _Json:
        """An observation with a number in UCUM; returns the reference to it."""
        unit = concepts.unit_concept(measurement.unit)

        def amount(value: float) -> _Json:
            rounded = round(value, concepts.decimals(measurement.quantity))
            return {"value": rounded, "unit": unit.meaning, "system": _SYSTEMS["UCUM"], "code": unit.value}

        what = concepts.quantity_concept(measurement.quantity, self.subject.modality)
        derived = concepts.derivation(measurement.quantity)
        told: _Json = {
            "code": _coded(what, f"{measurement.name} {measurement.quantity.replace('_', ' ')}"),
            "valueQuantity": amount(measurement.value),
        }
        if derived is not None:
            told["method"] = _coded(derived)
        if measurement.interval is not None:
            low, high = measurement.interval
            interval = {"low": amount(low), "high": amount(high)}
            told["component"] = [{"code": {"text": "Plausible range of the value"}, "valueRange": interval}]
            told["note"] = [{"text": concepts.interval_sentence(measurement)}]
        role = f"{measurement.quantity}|{measurement.label}|{measurement.component}"
        return self._observation(role, told, None, group)

    def document(self, pdf: bytes) -> None:
        """The PDF."""
        attachment = {
            "contentType": "application/pdf",
            "data": base64.b64encode(pdf).decode(),
            "size": len(pdf),
            "hash": base64.b64encode(hashlib.sha1(pdf, usedforsecurity=False).digest()).decode(),
            "title": f"Segmentation report, {self.findings.model.title}",
            "creation": self.created,
        }
        earlier = [one for one in self.findings.predecessors if one.sop_class_uid == _ENCAPSULATED_PDF]
        replaced = [{"type": "DocumentReference", "identifier": _uid(one.sop_instance_uid)} for one in earlier]
        resource = {
            "resourceType": "DocumentReference",
            # The encapsulated PDF of the same report in the archive, by which a later one says that it replaces it.
            "masterIdentifier": _uid(derive_uid(self.edition, "report")),
            "identifier": [_uid(derive_uid(self.key, "document"))],
            "status": "current",
            "docStatus": _DOCUMENT[self.status],
            "type": _coded(concepts.IMAGING_STUDY),
            "subject": self.patient,
            "date": self.issued,
            **({"authenticator": self.signers[0]} if self.signers else {}),
            **({"relatesTo": [{"code": "replaces", "target": one} for one in replaced]} if replaced else {}),
            "content": [{"attachment": attachment}],
            "context": {"related": [self._reference("study"), self._reference("report")]},
        }
        self._add("document", resource)

    def report(self, results: list[_Json]) -> None:
        """What holds everything together."""
        notes = concepts.reservations(self.findings, draft=self.status == ResultStatus.PRELIMINARY)
        section = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0074", "code": "RAD"}]}
        resource = {
            "resourceType": "DiagnosticReport",
            "identifier": [_uid(derive_uid(self.key, "diagnostic report"))],
            **self.orders,
            "status": _STATUS[self.status],
            "category": [section],
            "code": _coded(self.subject.procedure),
            "subject": self.patient,
            **_present(effectiveDateTime=timestamp(self.subject.study_moment)),
            "issued": self.issued,
            **({"resultsInterpreter": self.signers} if self.signers else {}),
            "result": results,
            "imagingStudy": [self._reference("study")],
            "conclusion": "\n".join((*notes, *self.findings.warnings)),
        }
        self._add("report", resource)

    def _observation(self, role: str, told: _Json, category: Concept | None, group: Group) -> _Json:
        kinds = [
            {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "imaging"}]}
        ]
        if category is not None:
            kinds.append(_coded(category))
        resource = {
            "resourceType": "Observation",
            "identifier": [_uid(derive_uid(self.key, f"observation|{role}"))],
            **self.orders,
            "partOf": [self._reference("study")],
            "status": _STATUS[self.status],
            "category": kinds,
            **told,
            "subject": self.patient,
            **_present(effectiveDateTime=timestamp(self.subject.study_moment)),
            "issued": self.issued,
            "bodySite": _coded(concepts.concept(group.spec.site or group.spec.code)),
            "device": self._reference("device"),
            "derivedFrom": [self._reference("study")],
        }
        self._add(f"observation|{role}", resource)
        return self._reference(f"observation|{role}")

    def _add(self, role: str, resource: _Json, *, kept: bool = False) -> None:
        """An entry; `kept` ones belong to others as well and are never changed."""
        kind, (identifier, *_) = resource["resourceType"], resource["identifier"]
        search = f"identifier={UID_SYSTEM}|{identifier['value']}"
        if kept or self.status == ResultStatus.PRELIMINARY:
            request = {"method": "POST", "url": kind, "ifNoneExist": search}
        else:
            request = {"method": "PUT", "url": f"{kind}?{search}"}
        self.entries.append({"fullUrl": self._url(role), "resource": resource, "request": request})

    def _url(self, role: str) -> str:
        return uuid.uuid5(uuid.NAMESPACE_OID, f"{self.key}|{role}").urn

    def _reference(self, role: str) -> _Json:
        return {"reference": self._url(role)}


def _patient(subject: Subject) -> _Json:
    reference: _Json = {"type": "Patient"}
    if subject.patient_id:
        reference["identifier"] = _identifier("PI", subject.patient_id, subject.patient_issuer)
    return {**reference, **_present(display=subject.display)}


def _accession(subject: Subject, order: Order) -> _Json:
    if subject.accession:
        return _identifier("ACSN", subject.accession, subject.accession_issuer)
    return _identifier("ACSN", order.accession, Issuer())


def _orders(subject: Subject, order: Order) -> _Json:
    """What it is based on, as a logical reference: the order of whoever ordered, else the accession number."""
    if order.placer:
        identifier = _identifier("PLAC", order.placer, Issuer(order.placer_issuer))
    elif subject.accession or order.accession:
        identifier = _accession(subject, order)
    else:
        return {}
    return {"basedOn": [{"type": "ServiceRequest", "identifier": identifier}]}


def _identifier(kind: str, value: str, issuer: Issuer) -> _Json:
    kinds = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": kind}]}
    assigner = {"assigner": {"display": issuer.name}} if issuer.name else {}
    return {"type": kinds, **_present(system=issuer.system), "value": value, **assigner}


def _uid(uid: str) -> _Json:
    return {"system": UID_SYSTEM, "value": f"urn:oid:{uid}"}


def _coded(concept: Concept, text: str = "") -> _Json:
    system = _present(system=_SYSTEMS.get(concept.scheme, ""))
    coding = {**system, "code": concept.value, **_present(display=concept.meaning)}
    return {"coding": [coding], **_present(text=text)}


def _present(**values: str) -> _Json:
    """The values that are not empty, since FHIR allows no empty ones."""
    return {name: value for name, value in values.items() if value}
