"""Earlier results, taken from the folders that hold them, and only if they are of the same patient.

This is the one place where two results meet whose patients could differ: id, its issuer, birth date and sex of both are
compared here, and none of them leaves it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError
from pydicom import Dataset

from segloop.errors import InputError
from segloop.io import files
from segloop.io.dicom.header import plain_text
from segloop.io.dicom.refs import SeriesRef
from segloop.measure.quantities import Quantity
from segloop.plan import LabelSpec
from segloop.report.concepts import quantity_concept
from segloop.report.dicom.common import identity
from segloop.report.dicom.source import frame_of_reference
from segloop.report.findings import Findings
from segloop.report.follow_up import State, Track
from segloop.report.following import follow
from segloop.report.identity import read_header
from segloop.report.signature import Signature
from segloop.report.tracing import Dated
from segloop.volume import Labels

SAME_PATIENT = ("IssuerOfPatientID", "PatientID", "PatientBirthDate", "PatientSex")
"""What two results must both state, and state alike, before one may be shown beside the other."""

OTHER_PATIENT, PATIENT_UNKNOWN = "prior_other_patient", "prior_patient_unknown"
NOT_EARLIER, OTHER_LABELS, NOT_PLACED = "prior_not_earlier", "prior_other_labels", "prior_not_placed"
"""Warnings: why an earlier result was not used, or its lesions not followed."""

CODE = "input.prior"
"""Error code of an earlier result that is not there any more, or whose files do not belong together."""

_RESULT, _FINDINGS, _LABELS, _SR, _SEG = "result.json", "findings.json", "labels.nii.gz", "sr.dcm", "seg.dcm"


class _Stated(BaseModel):
    """As much of `result.json` as tells which result it is, and who stands behind it."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    key: str
    study_uid: str
    signature: Signature | None = None

    @property
    def state(self) -> State:
        """A draft, signed, or signed again."""
        if self.signature is None:
            return "draft"
        return "signed" if self.signature.corrects is None else "corrected"

    def mask(self, folder: Path) -> Path:
        """Where the mask is: a signed form stands below its draft, whose mask it shares."""
        return (folder if self.signature is None else folder.parent.parent) / _LABELS


@dataclass(frozen=True, slots=True)
class Whose:
    """Patient and date of a study, to look for earlier results by.

    Attributes:
        patient: Values of `SAME_PATIENT`; empty unless all are stated. Hidden from `repr`, as all identity.
        study_date: None where there is none.
    """

    patient: tuple[str, ...] = field(repr=False)
    study_date: date | None = field(repr=False)


class Priors(NamedTuple):
    """Earlier results that may be used, and a warning for each that may not."""

    usable: tuple[Dated, ...]
    warnings: tuple[str, ...]


def prior_key(folder: Path) -> str:
    """What tells the result in a folder from every other: a draft's study key, or what follows from it and a signature.

    Raises:
        InputError: `input.prior`: the folder holds no finished result.
    """
    stated = _stated(folder)
    if stated.signature is None:
        return stated.key
    return hashlib.sha256(f"{stated.key}\n{stated.signature.model_dump_json()}".encode()).hexdigest()


def whose_series(series: SeriesRef) -> Whose:
    """Whose a series is, and of which date."""
    return _whose(identity(series))


def whose_result(folder: Path) -> Whose:
    """Whose the result in a folder is, and of which date, as its structured report says.

    Raises:
        InputError: `input.prior`: the folder holds no finished result.
    """
    return _whose(_header(folder / _SR))


def whose_image(path: Path) -> Whose:
    """Whose a DICOM file is, and of which date.

    Raises:
        InputError: `input.unreadable`.
    """
    return _whose(read_header(path))


def read_priors(folders: Sequence[Path], series: SeriesRef, specs: Sequence[LabelSpec]) -> Priors:
    """Those of the results in `folders` that are of the same patient, of an earlier date, and of labels known here.

    Args:
        folders: As `segloop run` leaves them, or folders of signed forms below those.
        series: The series of the result that they are to stand beside.
        specs: Its labels. The earlier ones' numbers are changed to theirs; labels are the same when name and code are.

    Raises:
        InputError: `input.prior`: a folder holds no finished result, or its files do not belong together.
    """
    here = identity(series)
    usable: dict[str, Dated] = {}
    warnings: list[str] = []
    for folder in folders:
        stated = _stated(folder)
        report = _header(folder / _SR)
        if str(report.get("StudyInstanceUID", "")) != stated.study_uid:
            raise _broken(folder, f"{_SR} is of another study than {_RESULT}")
        reason = _refused(report, here)
        if reason is not None:
            warnings.append(reason)
            continue
        dated = _dated(folder, stated, report, specs)
        if dated is None:
            warnings.append(OTHER_LABELS)
        else:
            usable[dated.key] = dated
    return Priors(tuple(usable.values()), tuple(dict.fromkeys(warnings)))


def with_priors(
    findings: Findings, labels: Labels, series: SeriesRef, key: str, folders: Sequence[Path] = ()
) -> Findings:
    """The findings with the names of their lesions and with what earlier results of the same patient add.

    Args:
        findings: Of `labels`.
        labels: The mask.
        series: The series it was made from.
        key: Study key of the result.
        folders: Of earlier results; those that may not be used are told in the warnings.

    Raises:
        InputError: As `read_priors`.
    """
    priors = read_priors(folders, series, findings.labels)
    current = Dated(
        key=key,
        study_date=study_date(identity(series)),
        frame=frame_of_reference(series) or "",
        labels=labels,
        measurements=findings.measurements,
        model=findings.model,
    )
    followed = follow(current, priors.usable, findings.labels)
    unplaced = (NOT_PLACED,) if followed.placed == "not" else ()
    warnings = (*findings.warnings, *priors.warnings, *unplaced)
    return findings.model_copy(update={"follow_up": followed, "warnings": warnings})


def study_date(dataset: Dataset) -> date | None:
    """The StudyDate, or None where it is absent or no date."""
    try:
        return datetime.strptime(str(dataset.get("StudyDate") or ""), "%Y%m%d").date()
    except ValueError:
        return None


def _refused(report: Dataset, here: Dataset) -> str | None:
    """Why an earlier report may not stand beside the study of `here`; None when it may. Names attributes, no values."""
    absent = [word for word in SAME_PATIENT if not _said(report, word) or not _said(here, word)]
    different = [word for word in SAME_PATIENT if word not in absent and _said(report, word) != _said(here, word)]
    if different:
        return f"{OTHER_PATIENT}: {', '.join(different)}"
    if absent:
        return f"{PATIENT_UNKNOWN}: {', '.join(absent)}"
    then, now = study_date(report), study_date(here)
    return None if then is not None and now is not None and then < now else NOT_EARLIER


def _dated(folder: Path, stated: _Stated, report: Dataset, specs: Sequence[LabelSpec]) -> Dated | None:
    """The result under the numbers of `specs`; None without a common label."""
    findings = _findings(folder)
    alike = {
        old.value: new.value
        for old in findings.labels
        for new in specs
        if (old.name, old.code.value, old.code.scheme) == (new.name, new.code.value, new.code.scheme)
    }
    if not alike:
        return None
    try:
        labels = files.read_labels(stated.mask(folder), {spec.value: spec.name for spec in findings.labels})
    except InputError as fault:
        raise _broken(folder, fault.message.rstrip(".")) from None
    _require_one_result(folder, findings, labels, report)
    present = findings.present
    table = np.zeros(max((*present, 0)) + 1, np.min_scalar_type(max(alike.values())))
    for old, new in alike.items():
        if old in present:
            table[old] = new
    frame = str(_header(folder / _SEG).get("FrameOfReferenceUID", "")) if present else ""
    return Dated(
        key=stated.key,
        study_date=study_date(report),
        frame=frame,
        labels=Labels(table[labels.array], labels.geometry, {spec.value: spec.name for spec in specs}),
        measurements=tuple(
            m.model_copy(update={"label": alike[m.label]}) for m in findings.measurements if m.label in alike
        ),
        model=findings.model,
        tracks=tuple(
            track.model_copy(update={"label": alike[track.label]})
            for track in _tracks(findings, report)
            if track.label in alike
        ),
        state=stated.state,
    )


def _require_one_result(folder: Path, findings: Findings, labels: Labels, report: Dataset) -> None:
    """Check that mask, measurements and structured report tell the same: the report alone says whose they are."""
    groups = [group for group in findings.groups if group.found or not findings.present]
    volumes = [found.value for group in groups if (found := group.value(Quantity.VOLUME)) is not None]
    told = list(_told_volumes(report))
    if len(told) != len(volumes) or not np.allclose(sorted(told), sorted(volumes), rtol=0, atol=1e-3):
        raise _broken(folder, f"{_SR} tells other volumes than {_FINDINGS}")
    values, counts = np.unique(labels.array, return_counts=True)
    voxel_ml = labels.geometry.voxel_ml
    occurring = {int(value): int(count) * voxel_ml for value, count in zip(values, counts, strict=True)}
    measured = {m.label: m.value for m in findings.measurements if m.quantity == Quantity.VOLUME and not m.component}
    occurring.pop(0, None)
    agree = {value: np.isclose(ml, measured.get(value, 0.0), rtol=1e-4) for value, ml in occurring.items()}
    if set(occurring) != set(findings.present) or not all(agree.values()):
        raise _broken(folder, f"{_LABELS} is not the mask that {_FINDINGS} was measured on")


def _told_volumes(item: Dataset) -> Iterator[float]:
    """Every volume that a structured report states, in ml."""
    for child in item.get("ContentSequence") or ():
        if _concept(child) == quantity_concept(Quantity.VOLUME, "").value and "MeasuredValueSequence" in child:
            yield from (float(value.NumericValue) for value in child.MeasuredValueSequence)
        yield from _told_volumes(child)


def _tracks(findings: Findings, report: Dataset) -> Iterator[Track]:
    """The names that the structured report gives to labels and parts: it is what archives know."""
    known = dict(_tracking(report))
    for group in findings.groups:
        own = findings.follow_up.track(group.spec.value, group.component) if findings.follow_up else None
        plain = f"{group.spec.name[:56]} {group.component}" if group.component else group.spec.name[:64]
        name = own.identifier if own else plain
        if name in known:
            yield Track(label=group.spec.value, component=group.component, identifier=name, uid=known[name])


def _tracking(item: Dataset) -> Iterator[tuple[str, str]]:
    """Tracking identifier and UID of every measurement group."""
    children = item.get("ContentSequence") or ()
    texts = {_concept(child): child for child in children}
    if {"112039", "112040"} <= set(texts):
        yield str(texts["112039"].TextValue), str(texts["112040"].UID)
    for child in children:
        yield from _tracking(child)


def _concept(item: Dataset) -> str:
    names = item.get("ConceptNameCodeSequence") or ()
    return str(names[0].get("CodeValue", "")) if names else ""


def _whose(dataset: Dataset) -> Whose:
    said = tuple(_said(dataset, word) for word in SAME_PATIENT)
    return Whose(said if all(said) else (), study_date(dataset))


def _said(dataset: Dataset, keyword: str) -> str:
    return plain_text(str(dataset.get(keyword) or "")).strip()


def _stated(folder: Path) -> _Stated:
    try:
        document: Any = json.loads((folder / _RESULT).read_text("utf-8"))
        return _Stated.model_validate(document)
    except (OSError, ValueError, ValidationError) as fault:
        raise _broken(folder, f"{_RESULT} is absent or not a result ({type(fault).__name__})") from None


def _findings(folder: Path) -> Findings:
    try:
        return Findings.model_validate_json((folder / _FINDINGS).read_text("utf-8"))
    except (OSError, ValueError, ValidationError) as fault:
        raise _broken(folder, f"{_FINDINGS} is absent or of another version ({type(fault).__name__})") from None


def _header(path: Path) -> Dataset:
    try:
        return read_header(path)
    except InputError as fault:
        raise _broken(path.parent, fault.message.rstrip(".")) from None


def _broken(folder: Path, what: str) -> InputError:
    return InputError(
        f"The earlier result in {folder.name or folder} cannot be used: {what}.",
        code=CODE,
        expected="a folder as segloop run leaves it",
        hint="Process that study again, or leave it out.",
    )
