"""The encrypted table by which results find back: from pseudonyms and new UIDs to the patient and the original ones."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field, ValidationError
from pydicom import Dataset

from segloop.errors import InputError, PrivacyError
from segloop.io.deid.sealed import alone, read_sealed, replace_whole, seal, unseal
from segloop.io.dicom.header import text
from segloop.io.dicom.refs import PatientRef, StudyRef
from segloop.io.dicom.scanning import patient_of, study_of
from segloop.plan import Frozen

_FEWEST_PER_WRITE = 256
_SHARE_PER_WRITE = 8
_NAMED = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")


class MappedPatient(Frozen):
    """A pseudonym's patient.

    Attributes:
        patient: Who it is.
        frames: Original frames of reference by new UID.
    """

    patient: PatientRef
    frames: dict[str, str] = Field(default_factory=dict)


class MappedStudy(Frozen):
    """A new study UID's study.

    Attributes:
        study: The original.
        alias: The pseudonym of its patient.
    """

    study: StudyRef
    alias: str


class Links(Frozen):
    """What a table holds; `series` and `instances` give the original UID and the new UID of what they are part of.

    Attributes:
        patients: By pseudonym.
        studies: By new UID.
        series: By new UID: original UID, new UID of the study.
        instances: By new UID: original UID, new UID of the series.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_: Literal[1] = Field(default=1, alias="schema")
    patients: dict[str, MappedPatient] = Field(default_factory=dict)
    studies: dict[str, MappedStudy] = Field(default_factory=dict)
    series: dict[str, tuple[str, str]] = Field(default_factory=dict)
    instances: dict[str, tuple[str, str]] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Original:
    """What a file said of itself before it was de-identified; empty where it said nothing.

    Attributes:
        patient: Whose it is.
        study: Its study.
        series: Series instance UID.
        instance: SOP instance UID.
        frame: Frame of reference UID.
    """

    patient: PatientRef
    study: StudyRef
    series: str
    instance: str
    frame: str

    @classmethod
    def of(cls, dataset: Dataset) -> Original:
        """Read from a data set."""
        uids = (text(dataset, k) for k in ("SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"))
        return cls(patient_of(dataset), study_of(dataset), *uids)


@dataclass(frozen=True, slots=True)
class _Copy:
    """The new names of a file: pseudonym and UIDs, empty where the copy has none."""

    alias: str
    study: str
    series: str
    instance: str
    frame: str


@dataclass(slots=True)
class _Draft:
    """A table that is being added to."""

    patients: dict[str, MappedPatient] = field(default_factory=dict)
    studies: dict[str, MappedStudy] = field(default_factory=dict)
    series: dict[str, tuple[str, str]] = field(default_factory=dict)
    instances: dict[str, tuple[str, str]] = field(default_factory=dict)

    @classmethod
    def of(cls, links: Links) -> _Draft:
        return cls(dict(links.patients), dict(links.studies), dict(links.series), dict(links.instances))

    def links(self) -> Links:
        return Links(patients=self.patients, studies=self.studies, series=self.series, instances=self.instances)

    def join(self, links: Links) -> None:
        """Take over another table.

        Raises:
            InputError: `input.two_patients`, `input.duplicate`.
        """
        for uid, told in links.studies.items():
            known = self.studies.get(uid, told)
            # What else a study says of itself may differ from series to series.
            if (known.alias, known.study.uid) != (told.alias, told.study.uid):
                raise InputError("Two mapping tables lead from one study to two.", code="input.two_patients")
        for ours, theirs in ((self.series, links.series), (self.instances, links.instances)):
            if any(ours.get(uid, told) != told for uid, told in theirs.items()):
                raise InputError("Two mapping tables lead from one UID to two.", code="input.duplicate")
            ours.update(theirs)
        self.studies.update(links.studies)
        for alias, mapped in links.patients.items():
            frames = self.patients[alias].frames if alias in self.patients else {}
            self.patients[alias] = MappedPatient(patient=mapped.patient, frames={**frames, **mapped.frames})

    def add(self, original: Original, copy: _Copy) -> None:
        """Note one file; nothing changes when one of its UIDs belongs to something else already."""
        known = self.studies.get(copy.study)
        if known is not None and (known.alias, known.study.uid) != (copy.alias, original.study.uid):
            raise InputError(
                "One study UID stands under two patients, so no result could find back.", code="input.two_patients"
            )
        series, instance = (original.series, copy.study), (original.instance, copy.series)
        if self.series.get(copy.series, series) != series or self.instances.get(copy.instance, instance) != instance:
            raise InputError(
                "One series UID stands in two studies, or one SOP instance UID in two series, so no result could "
                "find back.",
                code="input.duplicate",
            )
        frames = self.patients[copy.alias].frames if copy.alias in self.patients else {}
        if copy.frame:
            frames = {**frames, copy.frame: original.frame}
        self.patients[copy.alias] = MappedPatient(patient=original.patient, frames=frames)
        if copy.study:
            self.studies[copy.study] = MappedStudy(study=original.study, alias=copy.alias)
        if copy.study and copy.series:
            self.series[copy.series] = series
            self.instances[copy.instance] = instance


class MappingTable:
    """An encrypted table on disk, and what is to be added to it.

    Args:
        path: The file; made by the first `save`.
        key: The secret that the copies are made with.

    Raises:
        PrivacyError: `mapping.key`, `mapping.damaged`.
        InputError: `input.unreadable`.
    """

    def __init__(self, path: Path, key: bytes) -> None:
        self._path, self._key = path, key
        self._seen = read_sealed(path)
        self._draft = _Draft.of(_opened(self._seen, key))
        self._waiting: list[tuple[Original, _Copy]] = []

    @property
    def due(self) -> bool:
        """Whether enough was noted for a write to be worth its time; a longer table is written more seldom."""
        return len(self._waiting) >= max(_FEWEST_PER_WRITE, len(self._draft.instances) // _SHARE_PER_WRITE)

    def note(self, original: Original, copy: Dataset) -> None:
        """Note what became of a file; on disk only after `save`.

        Args:
            original: What it said before.
            copy: Its copy; only UIDs and the pseudonym are looked at.

        Raises:
            InputError: `input.two_patients` or `input.duplicate`: a UID belongs to something else already.
        """
        new = _Copy(*(str(copy.get(keyword) or "") for keyword in _NAMED))
        self._draft.add(original, new)
        self._waiting.append((original, new))

    def save(self) -> None:
        """Put everything noted on disk, beside what other processes have put there meanwhile.

        Raises:
            PrivacyError: `mapping.key`, `mapping.damaged`, `mapping.busy`.
            InputError: `input.two_patients` or `input.duplicate`: another process noted something that contradicts.
        """
        if not self._waiting:
            return
        with alone(self._path):
            there = read_sealed(self._path)
            if there and there != self._seen:
                self._draft = _Draft.of(_opened(there, self._key))
                for original, copy in self._waiting:
                    self._draft.add(original, copy)
            content = zlib.compress(self._draft.links().model_dump_json(by_alias=True).encode(), 1)
            sealed = seal(content, self._key)
            replace_whole(sealed, self._path)
            self._seen = sealed
        self._waiting.clear()


def merged(tables: Iterable[Links]) -> Links:
    """What several tables hold, as one.

    Raises:
        InputError: `input.two_patients` or `input.duplicate`: they contradict each other.
    """
    draft = _Draft()
    for links in tables:
        draft.join(links)
    return draft.links()


def read_links(path: Path, key: bytes) -> Links:
    """What a table holds.

    Raises:
        InputError: `input.unreadable`: there is no such file.
        PrivacyError: `mapping.key`, `mapping.damaged`.
    """
    sealed = read_sealed(path)
    if not sealed:
        raise InputError(f"There is no mapping table {path.name}.", expected="a file that `deidentify --mapping` wrote")
    return _opened(sealed, key)


def _opened(sealed: bytes, key: bytes) -> Links:
    if not sealed:
        return Links()
    content = unseal(sealed, key)
    try:
        return Links.model_validate_json(zlib.decompress(content))
    except (ValidationError, zlib.error):
        # Without its cause, which repeats values
        raise PrivacyError(
            "The mapping table is of a kind that this version of segloop does not know.", code="mapping.damaged"
        ) from None
