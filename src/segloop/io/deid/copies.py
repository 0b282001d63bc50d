"""Copies without identity: each is cleaned, written aside, searched, and only then given its name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from pydicom import Dataset, FileDataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.sequence import Sequence as Items

from segloop.errors import InputError, PrivacyError
from segloop.io.deid import table
from segloop.io.deid.elements import MALFORMED
from segloop.io.deid.engine import Cleaner
from segloop.io.deid.identity import Identities
from segloop.io.deid.keys import date_shift_days, pseudonym
from segloop.io.deid.mapping import MappingTable, Original
from segloop.io.deid.pixels import Cleared, clear_pixels
from segloop.io.deid.profile import BASIC, Profile
from segloop.io.deid.scan import refuse_identity
from segloop.io.dicom.header import quiet

_DIRECTORY = "1.2.840.10008.1.3.10"


@dataclass(frozen=True, slots=True)
class Refused:
    """A file of which no copy was kept.

    Attributes:
        source: The file.
        code: The error's code.
        message: The error's message; it names nobody.
    """

    source: Path
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class _Copy:
    """A cleaned data set, the patient's pseudonym, the file's bytes, and what it said before if that is asked for."""

    dataset: Dataset
    alias: str
    content: bytes
    original: Original | None


@dataclass(frozen=True, slots=True)
class Deidentified:
    """What came of a set of files.

    Attributes:
        written: The copies.
        refused: The files of which there is none, with the reason.
    """

    written: tuple[Path, ...]
    refused: tuple[Refused, ...]


def deidentify(
    sources: Sequence[Path],
    out: Path,
    key: bytes,
    profile: Profile = BASIC,
    progress: Callable[[int, int], None] | None = None,
    mapping: MappingTable | None = None,
) -> Deidentified:
    """Write copies without identity as `OUT/PSEUDONYM/SERIES-UID/SOP-UID.dcm`, all three of them new.

    Args:
        sources: DICOM files, of one patient or many.
        out: Folder for the copies; made when absent.
        key: Secret that pseudonyms, UIDs and date shifts are derived with.
        profile: What is kept and what goes.
        progress: Told how many files are done, of how many.
        mapping: The table in which each copy is noted before it gets its name, so that results find back.

    Returns:
        The copies, and the files that were refused: `pixels.uncleared`, `identity.found`, `identity.document`,
        `input.unreadable`, `input.duplicate`, with a mapping also `input.two_patients`. A refused file leaves nothing
        behind.

    Raises:
        PrivacyError: `mapping.key`, `mapping.damaged`, `mapping.busy`: the table cannot be written; no copy that it
            does not know has its name then.
    """
    shelf, refused = _Shelf(mapping), list[Refused]()
    try:
        for number, source in enumerate(sources, start=1):
            which = f"{number} of {len(sources)}"
            try:
                copy = _copied(source, which, key, profile, note=mapping is not None)
                series = str(copy.dataset.get("SeriesInstanceUID") or "no-series")
                shelf.put(copy, out / copy.alias / series / f"{copy.dataset.SOPInstanceUID}.dcm", which)
            except (InputError, PrivacyError) as fault:
                refused.append(Refused(source, fault.code, fault.message))
            shelf.name_due()
            if progress is not None:
                progress(number, len(sources))
        shelf.name_all()
    finally:
        shelf.clear()
    return Deidentified(tuple(shelf.done), tuple(refused))


def pseudonymise(
    sources: Sequence[Path], out: Path, key: bytes, profile: Profile = BASIC, mapping: MappingTable | None = None
) -> tuple[Path, ...]:
    """Write copies of one patient's files without identity, named by their new SOP instance UIDs; all or none is right.

    Args:
        sources: DICOM files of one patient.
        out: Folder for the copies; made when absent.
        key: Secret that pseudonyms, UIDs and date shifts are derived with.
        profile: What is kept and what goes.
        mapping: The table in which each copy is noted before it gets its name, so that it leads back.

    Raises:
        InputError: `input.two_patients`, `input.unreadable`, `input.duplicate`.
        PrivacyError: `pixels.uncleared`: text is burned into the pixels; `identity.document`: a document inside
            cannot be looked into; `identity.found`: an identity still stands in a copy. `mapping.key`,
            `mapping.damaged`, `mapping.busy`: the table cannot be written. Nothing is written then.
    """
    out.mkdir(parents=True, exist_ok=True)
    shelf = _Shelf(mapping)
    seen: str | None = None
    try:
        for number, source in enumerate(sources, start=1):
            which = f"{number} of {len(sources)}"
            copy = _copied(source, which, key, profile, note=mapping is not None)
            if seen not in (None, copy.alias):
                raise InputError("The files to copy belong to two patients.", code="input.two_patients")
            seen = copy.alias
            shelf.put(copy, out / f"{copy.dataset.SOPInstanceUID}.dcm", which)
        shelf.name_all()
    finally:
        shelf.clear()
    return tuple(shelf.done)


def _copied(source: Path, which: str, key: bytes, profile: Profile, *, note: bool = False) -> _Copy:
    """A file's copy; with what the file said before if that is to be noted."""
    with quiet():
        dataset = _read(source, which)
        try:
            alias = alias_of(dataset, key)
            original = Original.of(dataset) if note else None
            return _Copy(dataset, alias, _cleaned(dataset, alias, key, profile), original)
        except MALFORMED:
            # Without its cause, which could repeat the value
            raise InputError(f"File {which} has values that do not fit their type, so no copy is kept.") from None


def _read(source: Path, which: str) -> FileDataset:
    try:
        dataset = dcmread(source)
    except (OSError, InvalidDicomError, EOFError, ValueError) as fault:
        raise InputError(f"File {which} cannot be read as DICOM.") from fault
    if dataset.file_meta.get("MediaStorageSOPClassUID") == _DIRECTORY:
        raise InputError(f"File {which} is a DICOMDIR; make a new one of the copies.")
    if dataset.file_meta.get("TransferSyntaxUID") is None or not dataset.get("SOPInstanceUID"):
        raise InputError(f"File {which} has no transfer syntax or no SOP instance UID.")
    return dataset


def alias_of(dataset: Dataset, key: bytes) -> str:
    """The pseudonym that a file's patient gets: by id; without one by name and birth date, else by the study."""
    patient, issuer = str(dataset.get("PatientID", "")), str(dataset.get("IssuerOfPatientID", ""))
    if not patient.strip():
        person = f"{dataset.get('PatientName', '')}\\{dataset.get('PatientBirthDate', '')}".strip("\\^ ")
        patient = f"\0{person or dataset.get('StudyInstanceUID', '')}"
    return pseudonym(patient, issuer, key)


def _cleaned(dataset: FileDataset, alias: str, key: bytes, profile: Profile) -> bytes:
    """The copy's bytes, searched after they were written.

    Raises:
        PrivacyError: See `pseudonymise`.
    """
    if "EncapsulatedDocument" in dataset:
        raise PrivacyError(
            "A document is inside this file and cannot be looked into, so no copy is kept.", code="identity.document"
        )
    identities = Identities.of(dataset, profile.options)
    cleared = clear_pixels(dataset, profile)
    syntax = dataset.file_meta.TransferSyntaxUID
    sop_class = str(dataset.get("SOPClassUID", ""))
    Cleaner(profile, key, identities, date_shift_days(alias, key)).clean(dataset, sop_class)
    _mark(dataset, alias, profile, cleared)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.preamble = b"\0" * 128
    content = written(dataset)
    refuse_identity(content, identities)
    return content


def _mark(dataset: Dataset, alias: str, profile: Profile, cleared: Cleared) -> None:
    """Say in the file that, and by which method, the identity was taken out."""
    dataset.PatientName = alias
    dataset.PatientID = alias
    dataset.PatientIdentityRemoved = "YES"
    dataset.LongitudinalTemporalInformationModified = profile.dates
    method = f"segloop: {table.edition()} annex E"
    dataset.DeidentificationMethod = [method, f"text detection: {cleared.reader}"] if cleared.reader else method
    dataset.DeidentificationMethodCodeSequence = Items([_code(*code) for code in profile.codes])
    if cleared.sure:
        dataset.BurnedInAnnotation = "NO"


def _code(value: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
    return code


def written(dataset: FileDataset) -> bytes:
    """A data set as the bytes of a file."""
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def keep(content: bytes, target: Path) -> Path:
    """Put a file on disk, whole or not at all."""
    return _aside(content, target).replace(target)


def _aside(content: bytes, target: Path) -> Path:
    """Write what is to become a file under a name of its own."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_suffix(".tmp")
    temporary.write_bytes(content)
    return temporary


@dataclass(slots=True)
class _Shelf:
    """Copies on their way to their names: none gets its own before the mapping table, if there is one, knows of it.

    Attributes:
        mapping: The table.
        done: The copies, named or about to be.
        aside: Those that are still to be named, and where they are written.
    """

    mapping: MappingTable | None
    done: dict[Path, None] = field(default_factory=dict)
    aside: dict[Path, Path] = field(default_factory=dict)

    def put(self, copy: _Copy, target: Path, which: str) -> None:
        """Write a copy aside, and note what it was made from.

        Raises:
            InputError: `input.duplicate`: another copy with other bytes has its name. See also `MappingTable.note`.
        """
        if target in self.done and self.aside.get(target, target).read_bytes() != copy.content:
            raise InputError(
                f"File {which} has the SOP instance UID of another one and other contents.", code="input.duplicate"
            )
        if self.mapping is not None and copy.original is not None:
            self.mapping.note(copy.original, copy.dataset)
        self.aside[target] = _aside(copy.content, target)
        self.done[target] = None

    def name_due(self) -> None:
        """Name what waits, unless more should be waited for."""
        if self.mapping is None or self.mapping.due:
            self.name_all()

    def name_all(self) -> None:
        """Save the table, then give every copy its name."""
        if self.mapping is not None:
            self.mapping.save()
        while self.aside:
            target, temporary = self.aside.popitem()
            temporary.replace(target)

    def clear(self) -> None:
        """Remove what got no name."""
        for temporary in self.aside.values():
            temporary.unlink(missing_ok=True)
