"""Results about pseudonymised copies, linked to the original study again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydicom import DataElement, Dataset, FileDataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID

from segloop.errors import InputError, PrivacyError
from segloop.io.deid.copies import Refused, keep, written
from segloop.io.deid.elements import MALFORMED
from segloop.io.deid.keys import new_uid
from segloop.io.deid.mapping import Links, MappedStudy
from segloop.io.dicom.header import quiet
from segloop.io.dicom.refs import PatientRef, StudyRef

_REFERENCES = {
    "StudyInstanceUID": "study",
    "SeriesInstanceUID": "series",
    "ReferencedSOPInstanceUID": "instance",
    "FrameOfReferenceUID": "frame",
    "ReferencedFrameOfReferenceUID": "frame",
}
_STANDARD_UIDS = "1.2.840.10008."
_MARKS = (
    "PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence",
    "LongitudinalTemporalInformationModified",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reidentified:
    """What came of a set of results.

    Attributes:
        written: The results as objects of their original studies.
        refused: Those that stay as they are, with the reason.
    """

    written: tuple[Path, ...]
    refused: tuple[Refused, ...]


@dataclass(slots=True)
class _Set:
    """Results of one pseudonymised study that may refer to each other: their instances and series."""

    instances: set[str] = field(default_factory=set)
    series: set[str] = field(default_factory=set)


def reidentify(
    results: Sequence[Path],
    out: Path,
    key: bytes,
    links: Links,
    progress: Callable[[int, int], None] | None = None,
) -> Reidentified:
    """Write results about copies as objects of the original studies, as `OUT/SOP-UID.dcm`.

    Patient, study, references and frame of reference become the original's. The object's own instance and series UIDs
    become new ones, the same each time, since it is another object than the one without identity. What stands inside an
    encapsulated document or is drawn into pixels is left as it is.

    Args:
        results: SEG, SR, RTSTRUCT, encapsulated PDF or the like; those that refer to each other in one call.
        out: Folder to write to; made when absent.
        key: The secret that the copies were made with.
        links: The mapping table, from `read_links`.
        progress: Told how many files are done, of how many.

    Returns:
        What was written, and what was refused: `mapping.unknown`: its study, or something that it refers to, is not in
        the table. `identity.mismatch`: it refers to another patient than its own. `mapping.copy`: it is a copy itself.
        `input.unreadable`.
    """
    sets = _sets(results)
    done, refused = list[Path](), list[Refused]()
    for number, source in enumerate(results, start=1):
        try:
            dataset = _read(source, f"{number} of {len(results)}")
            try:
                _Relinking(links, key, sets.get(str(dataset.get("StudyInstanceUID", "")), _Set())).relink(dataset)
                with quiet():
                    content = written(dataset)
            except MALFORMED:
                # Without its cause, which could repeat the value
                raise InputError(f"File {number} of {len(results)} has values that do not fit their type.") from None
            done.append(keep(content, out / f"{dataset.SOPInstanceUID}.dcm"))
        except (InputError, PrivacyError) as fault:
            refused.append(Refused(source, fault.code, fault.message))
        if progress is not None:
            progress(number, len(results))
    return Reidentified(tuple(done), tuple(refused))


def _sets(results: Sequence[Path]) -> dict[str, _Set]:
    """The results by their pseudonymised study; what cannot be read is told of later."""
    sets: dict[str, _Set] = {}
    for path in results:
        try:
            with quiet():
                uids = dcmread(path, specific_tags=["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
        except (OSError, InvalidDicomError, *MALFORMED):
            continue
        found = sets.setdefault(str(uids.get("StudyInstanceUID", "")), _Set())
        found.instances.add(str(uids.get("SOPInstanceUID", "")))
        found.series.add(str(uids.get("SeriesInstanceUID", "")))
    return sets


def _read(path: Path, which: str) -> FileDataset:
    try:
        with quiet():
            dataset = dcmread(path)
            dataset.decode()
    except (OSError, InvalidDicomError, *MALFORMED):
        raise InputError(f"File {which} cannot be read as DICOM.") from None
    if not dataset.get("SOPInstanceUID") or dataset.file_meta.get("TransferSyntaxUID") is None:
        raise InputError(f"File {which} has no transfer syntax or no SOP instance UID.")
    return dataset


@dataclass(slots=True)
class _Relinking:
    """One result's way back.

    Attributes:
        links: The mapping table.
        key: What the result's own new UIDs are derived with.
        beside: The results of the same study.
    """

    links: Links
    key: bytes
    beside: _Set

    def relink(self, dataset: FileDataset) -> None:
        """Change the data set in place.

        Raises:
            PrivacyError: See `reidentify`.
        """
        study = self._study(dataset)
        for item in _walk(dataset):
            item.pop("SpecificCharacterSet", None)
            for element in item:
                if element.VR == "UI":
                    self._uids(element, study.alias)
        _identify(dataset, self.links.patients[study.alias].patient, study.study)
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID

    def _study(self, dataset: Dataset) -> MappedStudy:
        """The study of a result, if the result is one and names the same patient."""
        study = self.links.studies.get(str(dataset.get("StudyInstanceUID", "")))
        if study is None:
            raise _unknown("its study")
        if str(dataset.get("PatientID", "")).strip() != study.alias:
            raise PrivacyError(
                "The result's patient is not the one of its study.", code="identity.mismatch", found="PatientID"
            )
        if dataset.SOPInstanceUID in self.links.instances or dataset.get("SeriesInstanceUID", "") in self.links.series:
            raise PrivacyError(
                "This is a pseudonymised copy, or stands in the series of one; its original needs no way back.",
                code="mapping.copy",
                expected="a result about the copies",
            )
        return study

    def _uids(self, element: DataElement, alias: str) -> None:
        several = isinstance(element.value, (list, tuple)) or element.VM > 1
        old = [str(uid) for uid in (element.value if several else [element.value] if element.value else [])]
        new = [UID(self._uid(uid, element.keyword, alias)) for uid in old]
        if [str(uid) for uid in new] != old:
            element.value = new if several else new[0]

    def _uid(self, uid: str, keyword: str, alias: str) -> str:
        wanted = _REFERENCES.get(keyword)
        for kind, original, owner in self._known(uid, alias):
            if owner != alias:
                raise PrivacyError(
                    "The result refers to another patient than its own.", code="identity.mismatch", found=keyword
                )
            # A structure set refers to its study as if it were an instance
            if wanted in (None, kind) or (wanted, kind) == ("instance", "study"):
                return original
        if uid in self.beside.instances or uid in self.beside.series:
            return new_uid(f"result\0{uid}", self.key)
        if wanted is not None and uid and not uid.startswith(_STANDARD_UIDS):
            raise _unknown(keyword)
        return uid

    def _known(self, uid: str, alias: str) -> Iterator[tuple[str, str, str]]:
        """What the table says of a UID: kind, original, pseudonym of its patient."""
        links = self.links
        if uid in links.studies:
            yield "study", links.studies[uid].study.uid, links.studies[uid].alias
        if uid in links.series:
            yield "series", links.series[uid][0], links.studies[links.series[uid][1]].alias
        if uid in links.instances:
            original, series = links.instances[uid]
            yield "instance", original, links.studies[links.series[series][1]].alias
        if uid in links.patients[alias].frames:
            yield "frame", links.patients[alias].frames[uid], alias


def _identify(dataset: Dataset, patient: PatientRef, study: StudyRef) -> None:
    """Patient and study attributes as the original has them, in UTF-8; what it lacks is empty or goes."""
    needed = {
        "PatientName": patient.name,
        "PatientID": patient.id,
        "PatientBirthDate": patient.birth_date,
        "PatientSex": patient.sex,
        "StudyID": study.id,
        "StudyDate": study.date,
        "StudyTime": study.time,
        "AccessionNumber": study.accession_number,
        "ReferringPhysicianName": study.referring_physician,
    }
    optional = {"IssuerOfPatientID": patient.issuer, "StudyDescription": study.description}
    for keyword in (*optional, *_MARKS):
        dataset.pop(keyword, None)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    with quiet():
        for keyword, value in {**needed, **{k: v for k, v in optional.items() if v}}.items():
            setattr(dataset, keyword, value)


def _walk(dataset: Dataset) -> Iterator[Dataset]:
    yield dataset
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value or ():
                yield from _walk(item)


def _unknown(what: str) -> PrivacyError:
    return PrivacyError(
        f"The mapping table does not know {what}, so the result is not linked to anybody.",
        code="mapping.unknown",
        found=what,
        expected="copies that were made with this table, and results that refer to those and to each other",
        hint="Give all results of a study together, with the table that its copies were noted in.",
    )
