"""Findings to HL7 version 2.5.1 ORU^R01: the report as PDF, each measurement as a number with its unit and code.

One OBR for the study and one group of OBX per label, or per part of a label counted in parts. OBX-4 ties a group
together: `4` for the label with number 4, `4.1` for its largest part. A measurement's OBX-3 says in its first three
components what was measured, in SNOMED CT, and in the next three which label it is of. Mean and standard deviation
share one code in every vocabulary, so there the order is turned round: a reader that looks at the first code alone
cannot take one for the other. What is known of a measurement's error follows as NTE and not in OBX-7, where it would be
taken for the range of the healthy.

Source: HL7 version 2.5.1, tables 0085 and 0123, chapters 2.A (data types), 3.4 (PID, PV1), 4.5 (ORC, OBR) and 7.3 and
7.4 (ORU, OBX); IHE Radiology Technical Framework for 113014^DICOM Study^DCM.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from datetime import datetime

from segloop.io.dicom.own import MANUFACTURER
from segloop.io.dicom.refs import SeriesRef
from segloop.measure.quantities import Measurement
from segloop.report import concepts
from segloop.report.concepts import Concept
from segloop.report.findings import Findings, Group
from segloop.report.messages.hl7 import escape, field, message, segment
from segloop.report.messages.subject import Issuer, Order, ResultStatus, Subject, name_parts, subject_of
from segloop.report.signature import Signature

STUDY_UID = Concept("113014", "DCM", "DICOM Study")
LOCAL = "99SEGLOOP"
_SCHEMES = {"SCT": "SCT", "LN": "LN", "DCM": "DCM", "UCUM": "UCUM", "UMLS": "UML"}
_SECTIONS = {"CT": "CT", "MR": "NMR", "PT": "NMS", "NM": "NMS", "US": "RUS"}
_MOMENT = "%Y%m%d%H%M%S%z"


def oru_r01(
    findings: Findings,
    series: SeriesRef,
    pdf: bytes,
    key: str,
    *,
    status: ResultStatus = ResultStatus.PRELIMINARY,
    order: Order | None = None,
) -> bytes:
    """The result as one HL7 message, in UTF-8, without the frame of MLLP.

    Args:
        findings: What to say.
        series: The source: whose result it is.
        pdf: What `render_pdf` gave.
        key: What the result was made from. MSH-10 derives from it and from `status`: the same result is the same
            message, byte for byte, and another version is another one.
        status: Goes to OBR-25 and to OBX-11 of each OBX.
        order: Its numbers, where they are known.
    """
    subject, known = subject_of(series), order or Order()
    moment = findings.created if findings.signature is None else findings.signature.signed_at
    created = moment.strftime(_MOMENT)
    # MSH-15 and MSH-16 stay empty: the receiver answers in original mode, with one acknowledgement of what it did.
    header = segment(
        "MSH",
        (3, MANUFACTURER.upper()),
        (4, MANUFACTURER.upper()),
        (7, created),
        (9, "ORU^R01^ORU_R01"),
        (10, control_id(key, status)),
        (11, "P"),
        (12, "2.5.1"),
        (18, "UNICODE UTF-8"),
    )
    placer, filler = _numbers(subject, known)
    common = segment("ORC", (1, "RE"), (2, placer), (3, filler))
    notes = concepts.reservations(findings, draft=status == ResultStatus.PRELIMINARY)
    said = [_note(number, text) for number, text in enumerate((*notes, *findings.warnings), 1)]
    results = _results(findings, subject, pdf, status)
    accession = subject.accession or known.accession
    request = _request(subject, accession, placer, filler, created, status, _interpreter(findings.signature))
    return message(header, _patient(subject), _visit(subject), common, request, *said, *results)


def control_id(key: str, status: ResultStatus) -> str:
    """MSH-10: the same 20 characters for the same result in the same state."""
    return hashlib.sha256(f"{key}\nORU^R01\n{status.value}".encode()).hexdigest()[:20].upper()


def addressed(content: bytes, application: str, facility: str) -> bytes:
    """The message with the receiver's application and facility in MSH-5 and MSH-6, which differ by destination."""
    header, following = content.split(b"\r", 1)
    parts = header.split(b"|")
    parts[4], parts[5] = escape(application).encode(), escape(facility).encode()
    return b"|".join(parts) + b"\r" + following


def withdrawn(content: bytes, moment: datetime) -> bytes:
    """The message again, as the word that its result is not to be used: every OBX-11 `W`, posted as wrong; OBR-25 `C`.

    MSH-10 derives from that of the message, so the same withdrawal is the same message.
    """
    lines = [line.split(b"|") for line in content.split(b"\r")]
    for parts in lines:
        if parts[0] == b"MSH":
            # Counted from the separator itself, so MSH-7 stands at 6 and MSH-10 at 9.
            parts[6] = moment.strftime(_MOMENT).encode()
            parts[9] = hashlib.sha256(parts[9] + b"\nwithdrawn").hexdigest()[:20].upper().encode()
        elif parts[0] == b"OBR":
            parts[22], parts[25] = moment.strftime(_MOMENT).encode(), ResultStatus.CORRECTED.value.encode()
        elif parts[0] == b"OBX":
            parts[11] = b"W"
    return b"\r".join(b"|".join(parts) for parts in lines)


def ordered(content: bytes, order: Order) -> bytes:
    """The message with the numbers of its order, which may have come after the message was written."""
    lines = content.split(b"\r")
    for number, line in enumerate(lines):
        parts = line.split(b"|")
        if parts[0] in (b"ORC", b"OBR"):
            parts += [b""] * (4 - len(parts))
            for place, value in enumerate(_given(order), 2):
                parts[place] = value.encode() or parts[place]
            if parts[0] == b"OBR":
                parts += [b""] * (19 - len(parts))
                parts[18] = parts[18] or escape(order.accession).encode()
            lines[number] = b"|".join(parts)
    return b"\r".join(lines)


def _patient(subject: Subject) -> str:
    assigner = _entity(subject.patient_issuer)
    number = f"{escape(subject.patient_id)}^^^{assigner}^PI" if subject.patient_id else ""
    # A name is required; where there is none, its type says "unspecified" (table 0200).
    names = "~".join(
        field(family, given, middle, suffix, prefix, "", "L", form)
        for form, family, given, middle, prefix, suffix in _names(subject.names)
    )
    parts = (1, "1"), (3, number), (5, names or "^^^^^^U"), (7, subject.birth_date), (8, subject.sex)
    return segment("PID", *parts)


def _visit(subject: Subject) -> str:
    referring = "~".join(
        field("", family, given, middle, suffix, prefix, "", "", "", "L", "", "", "", "", form)
        for form, family, given, middle, prefix, suffix in _names(subject.referring)
    )
    return segment("PV1", (1, "1"), (2, "U"), (8, referring))


def _interpreter(signature: Signature | None) -> str:
    """OBR-32: who signed and when; empty for a draft."""
    if signature is None:
        return ""
    family, given, middle, prefix, suffix = name_parts(signature.observer)
    name = "&".join(escape(part) for part in ("", family, given, middle, suffix, prefix)).rstrip("&")
    return f"{name}^{signature.signed_at.strftime(_MOMENT)}"


def _request(
    subject: Subject, accession: str, placer: str, filler: str, changed: str, status: ResultStatus, interpreter: str
) -> str:
    done = _coded(subject.procedure, ("", subject.study_description, "L") if subject.study_description else None)
    return segment(
        "OBR",
        (1, "1"),
        (2, placer),
        (3, filler),
        (4, done),
        (7, subject.study_moment),
        (18, escape(accession)),
        (22, changed),
        (24, _SECTIONS.get(subject.modality, "RAD")),
        (25, status.value),
        (32, interpreter),
    )


def _results(findings: Findings, subject: Subject, pdf: bytes, status: ResultStatus) -> Iterator[str]:
    """OBX segments numbered from 1, each followed by what is known of its error."""
    told: list[tuple[tuple[tuple[int, str], ...], str | None]] = [
        (((2, "ST"), (3, _coded(STUDY_UID)), (5, escape(subject.study_uid))), None)
    ]
    for group in findings.groups:
        told.append((_presence(group, findings), None))
        told += [
            (_measured(one, subject.modality, findings), concepts.interval_sentence(one)) for one in group.measurements
        ]
    document = f"^AP^PDF^Base64^{base64.b64encode(pdf).decode()}"
    told.append((((2, "ED"), (3, _coded(concepts.IMAGING_STUDY)), (5, document)), None))
    # Which program and which weights: the model's name and version, then its digest.
    made_by = f"{field(findings.model.title, MANUFACTURER)}~{field(findings.model.digest, MANUFACTURER)}"
    analysed = findings.created.strftime(_MOMENT)
    for number, (line, note) in enumerate(told, 1):
        common = (11, status.value), (14, subject.study_moment), (18, made_by), (19, analysed)
        yield segment("OBX", (1, str(number)), *line, *common)
        if note is not None:
            yield _note(1, note)


def _presence(group: Group, findings: Findings) -> tuple[tuple[int, str], ...]:
    """What the group is about, and whether it was found."""
    label = _local(group.spec.value, group.component, "finding", group.spec.name, findings)
    value = concepts.concept(group.spec.code) if group.found else concepts.ABSENT
    return (2, "CE"), (3, field(*label)), (4, _sub_id(group.spec.value, group.component)), (5, _coded(value))


def _measured(measurement: Measurement, modality: str, findings: Findings) -> tuple[tuple[int, str], ...]:
    what = concepts.quantity_concept(measurement.quantity, modality)
    what_of = measurement.label, measurement.component, measurement.quantity.value, measurement.name
    local = _local(*what_of, findings)
    derived = concepts.derivation(measurement.quantity)
    identifier = _coded(what, local) if derived is None else f"{field(*local)}^{_coded(what)}"
    return (
        (2, "NM"),
        (3, identifier),
        (4, _sub_id(measurement.label, measurement.component)),
        (5, f"{measurement.value:.{concepts.decimals(measurement.quantity)}f}"),
        (6, _coded(concepts.unit_concept(measurement.unit))),
        (17, "" if derived is None else _coded(derived)),
    )


def _note(number: int, text: str) -> str:
    return segment("NTE", (1, str(number)), (2, "L"), (3, escape(text)))


def _numbers(subject: Subject, order: Order) -> tuple[str, str]:
    """Placer and filler order number; radiology's own number for a study is the accession number."""
    issuer = _entity(subject.accession_issuer)
    own = f"{escape(subject.accession)}^{issuer.replace('&', '^')}".rstrip("^") if subject.accession else ""
    return _given(order) if order.filler else (_given(order)[0], own)


def _given(order: Order) -> tuple[str, str]:
    return (
        field(order.placer, order.placer_issuer) if order.placer else "",
        field(order.filler, order.filler_issuer) if order.filler else "",
    )


def _entity(issuer: Issuer) -> str:
    """An assigning authority as subcomponents."""
    return "&".join(escape(part) for part in (issuer.name, issuer.universal, issuer.kind)).rstrip("&")


def _names(names: tuple[tuple[str, ...], ...]) -> Iterator[tuple[str, ...]]:
    """The form of script (table 0465) and the five parts of each form of a name that is there."""
    for form, parts in zip("AIP", names, strict=False):
        if any(parts):
            yield form, *(*parts, "", "", "", "", "")[:5]


def _local(label: int, component: int, what: str, name: str, findings: Findings) -> tuple[str, str, str]:
    """Our own code and its text: what is meant of which label, a lesion under the name that the page gives it."""
    known = findings.track(label, component) if component else None
    part = known.identifier if known else f"{name} part {component}" if component else name
    return f"{label}.{component}.{what}", f"{part} {what.replace('_', ' ')}", LOCAL


def _sub_id(label: int, component: int) -> str:
    return f"{label}.{component}" if component else str(label)


def _coded(concept: Concept, alternate: tuple[str, str, str] | None = None) -> str:
    scheme = _SCHEMES.get(concept.scheme, concept.scheme if concept.scheme[:2] == "99" else f"99{concept.scheme}")
    return field(concept.value, concept.meaning, scheme, *(alternate or ()))
