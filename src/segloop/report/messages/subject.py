"""Whose result a message carries, taken from the source series as the DICOM writers take it, and its order."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from pydicom import Dataset
from pydicom.multival import MultiValue

from segloop.io.dicom.header import plain_text
from segloop.io.dicom.refs import SeriesRef
from segloop.report.concepts import IMAGING_STUDY, Concept
from segloop.report.dicom.common import identity
from segloop.report.signature import Signature


class ResultStatus(StrEnum):
    """How far a result may be relied on, as HL7 table 0123 writes it."""

    PRELIMINARY = "P"
    """A draft that no physician has looked at."""
    FINAL = "F"
    """Signed."""
    CORRECTED = "C"
    """Signed, in place of one that was signed before."""

    @classmethod
    def of(cls, signature: Signature | None) -> ResultStatus:
        """The status that a result has by who stands behind it."""
        if signature is None:
            return cls.PRELIMINARY
        return cls.FINAL if signature.corrects is None else cls.CORRECTED


@dataclass(frozen=True, slots=True)
class Order:
    """The order that a study was made for, where it is known. Hidden from `repr`, as all identity.

    Attributes:
        placer: Number that whoever ordered gave it (ORC-2, OBR-2).
        filler: Number that radiology gave it (ORC-3, OBR-3); empty takes the accession number.
        placer_issuer: Name of the authority that the placer's number is from.
        filler_issuer: Name of the authority that the filler's number is from.
        accession: Accession number that the order states; used only where the images state none.
    """

    placer: str = field(default="", repr=False)
    filler: str = field(default="", repr=False)
    placer_issuer: str = field(default="", repr=False)
    filler_issuer: str = field(default="", repr=False)
    accession: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who gave a number: a name, and an identifier that is unique in the world with its type (ISO, URI, UUID, DNS)."""

    name: str = ""
    universal: str = ""
    kind: str = ""

    @property
    def system(self) -> str:
        """As a URI; empty where the source has no universal identifier."""
        if self.kind == "ISO" or (not self.kind and re.fullmatch(r"[0-2](\.\d+)+", self.universal)):
            return f"urn:oid:{self.universal}"
        return {"URI": self.universal, "UUID": f"urn:uuid:{self.universal}"}.get(self.kind, "")


@dataclass(frozen=True, slots=True)
class Subject:
    """Patient and study of a series, decoded, for messages. Absent values are empty; `repr` shows none.

    Attributes:
        names: Alphabetic, ideographic and phonetic form of the name, each as family, given, middle, prefix, suffix.
        birth_date: YYYYMMDD, or shorter where less is known.
        sex: M, F, O or empty.
        study_moment: When the study was made, YYYYMMDD[HHMM[SS]][±ZZZZ].
        referring: The referring physician's name, as `names`.
        procedure: What was done.
    """

    patient_id: str = field(repr=False)
    patient_issuer: Issuer = field(repr=False)
    names: tuple[tuple[str, ...], ...] = field(repr=False)
    birth_date: str = field(repr=False)
    sex: str = field(repr=False)
    study_uid: str = field(repr=False)
    series_uid: str = field(repr=False)
    accession: str = field(repr=False)
    accession_issuer: Issuer = field(repr=False)
    study_moment: str = field(repr=False)
    study_description: str = field(repr=False)
    referring: tuple[tuple[str, ...], ...] = field(repr=False)
    modality: str
    instances: int
    procedure: Concept

    @property
    def display(self) -> str:
        """The name as people read it: the alphabetic form, else the first there is."""
        parts = next((name for name in self.names if any(name)), ())
        return displayed(parts)


def subject_of(series: SeriesRef) -> Subject:
    """Patient and study of the source."""
    source = identity(series)
    issuer = Issuer(_text(source, "IssuerOfPatientID"), *_universal(source, "IssuerOfPatientIDQualifiersSequence"))
    accession_issuer = _first(source, "IssuerOfAccessionNumberSequence")
    return Subject(
        patient_id=_text(source, "PatientID"),
        patient_issuer=issuer,
        names=_names(source, "PatientName"),
        birth_date=_matching(r"\d{4}(\d{2}(\d{2})?)?", _text(source, "PatientBirthDate")),
        sex=_matching("[MFO]", _text(source, "PatientSex")),
        study_uid=series.study_uid,
        series_uid=series.series_uid,
        accession=_text(source, "AccessionNumber"),
        accession_issuer=Issuer(
            _text(accession_issuer, "LocalNamespaceEntityID"),
            _text(accession_issuer, "UniversalEntityID"),
            _text(accession_issuer, "UniversalEntityIDType"),
        ),
        study_moment=_moment(source),
        study_description=_text(source, "StudyDescription"),
        referring=_names(source, "ReferringPhysicianName"),
        modality=series.modality,
        instances=len(series.files),
        procedure=_procedure(source),
    )


def name_parts(name: str) -> tuple[str, str, str, str, str]:
    """Family, given, middle, prefix and suffix of a DICOM person name's first form that is there."""
    form = next((one for one in name.split("=") if one.strip("^ ")), "")
    family, given, middle, prefix, suffix = ([part.strip() for part in form.split("^")] + [""] * 5)[:5]
    return family, given, middle, prefix, suffix


def displayed(parts: tuple[str, ...]) -> str:
    """A name of five parts as people read it."""
    return " ".join(part for part in (*parts[3:4], *parts[1:3], *parts[:1], *parts[4:]) if part)


def timestamp(moment: str) -> str:
    """An HL7 time stamp in ISO 8601 for FHIR: a whole instant where it states its offset, else the date alone.

    >>> timestamp("20261120101500+0800"), timestamp("20261120101500"), timestamp("")
    ('2026-11-20T10:15:00+08:00', '2026-11-20', '')
    """
    found = re.fullmatch(r"(\d{8})(\d{4})?(\d{2})?([+-]\d{4})?", moment)
    if found is None:
        return ""
    date, clock, seconds, offset = found.groups()
    try:
        if clock is None or offset is None:
            return datetime.strptime(date, "%Y%m%d").date().isoformat()
        return datetime.strptime(f"{date}{clock}{seconds or '00'}{offset}", "%Y%m%d%H%M%S%z").isoformat()
    except ValueError:
        return ""


def _moment(source: Dataset) -> str:
    date = _matching(r"\d{8}", _text(source, "StudyDate"))
    clock = _matching(r"\d{4}(\d{2})?", _text(source, "StudyTime").split(".")[0])
    offset = _matching(r"[+-]\d{4}", _text(source, "TimezoneOffsetFromUTC"))
    return date + (clock + offset if clock else "") if date else ""


def _procedure(source: Dataset) -> Concept:
    code = _first(source, "ProcedureCodeSequence")
    value = _text(code, "CodeValue")
    if not value:
        return IMAGING_STUDY
    return Concept(value, _text(code, "CodingSchemeDesignator"), _text(code, "CodeMeaning"))


def _universal(source: Dataset, keyword: str) -> tuple[str, str]:
    item = _first(source, keyword)
    return _text(item, "UniversalEntityID"), _text(item, "UniversalEntityIDType")


def _names(source: Dataset, keyword: str) -> tuple[tuple[str, ...], ...]:
    groups = _text(source, keyword).split("=")[:3]
    return tuple(tuple(part.strip() for part in group.split("^")) for group in groups) if any(groups) else ()


def _first(source: Dataset, keyword: str) -> Dataset:
    items = source.get(keyword)
    return items[0] if items else Dataset()


def _matching(pattern: str, text: str) -> str:
    return text if re.fullmatch(pattern, text, re.ASCII) else ""


def _text(source: Dataset, keyword: str) -> str:
    value = source.get(keyword) or ""
    # A number with a backslash in it was read as several values.
    return plain_text("\\".join(map(str, value)) if isinstance(value, MultiValue) else str(value)).strip()
