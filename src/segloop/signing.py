"""The life of a result after its draft: signed, and signed again to correct it.

    OUT/result.json, seg.dcm, sr.dcm, …      the draft, never touched again
    OUT/signed/1/result.json, seg.dcm, …     the signed form of every object
    OUT/signed/2/…                           a correction of it

What is about to be done stands in `signed/N/signature.json` before anything is written, and `signed/N/result.json`
comes last. Every UID and message number derives from the draft's key and that record, so a try that was broken off is
repeated with the same objects.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from segloop import report
from segloop.errors import InputError
from segloop.io import dicom, files
from segloop.plan import Frozen
from segloop.report import Findings, Reference, Signature
from segloop.store import make_folder
from segloop.study import (
    InferenceRecord,
    ObjectForm,
    SelectionRecord,
    StudyTask,
    file_digest,
    read_record,
    study_key,
    write_record,
)
from segloop.workflow import HEAT, LABELS, RESULT, StudyResult

SIGNED, SIGNATURE, FINDINGS = "signed", "signature.json", "findings.json"


class Signing(Frozen):
    """`signature.json`: a signature about to be put under a result.

    Attributes:
        key: Key of the draft.
        signature: Who signs, and which signed report is corrected by that.
        note: What the person adds to the report.
    """

    schema_: Literal[1] = Field(default=1, alias="schema")
    key: str
    signature: Signature
    note: str = Field(default="", max_length=1024)

    @property
    def edition(self) -> str:
        """Hex SHA-256 that the signed objects' UIDs derive from, as the draft's from its key."""
        return hashlib.sha256(self.model_dump_json(by_alias=True).encode()).hexdigest()


def sign(source: Path, out: Path, observer: str, organisation: str, note: str = "") -> int:
    """Sign a draft, or correct what was signed before; returns the number of the signed form, its folder's name.

    The same observer, organisation and note once more change nothing; a try that was broken off is finished.

    Args:
        source: Folder, zip or file that holds the study.
        out: Folder of the draft, as `process_study` left it.
        observer: Who signs, as a DICOM person name (`Family^Given`).
        organisation: For which organisation.
        note: A sentence added to the report.

    Raises:
        InputError: `usage`: a name that DICOM does not allow; `input.changed`: source or mask are no longer those of
            the draft; `input.unreadable`: there is no finished draft.
        PrivacyError: `identity.mismatch`: an object disagrees with its source.
    """
    number = begin(out, observer, organisation, note, datetime.now(UTC))
    complete(source, out, number)
    return number


def begin(out: Path, observer: str, organisation: str, note: str, moment: datetime) -> int:
    """Write down who signs what, on disk when this returns; returns the number of the signed form.

    Raises:
        InputError: As `sign`.
    """
    draft = read_record(StudyResult, out / RESULT)
    last, before = latest(out), newest(out)
    corrects = reference(folder_of(out, before) / "sr.dcm").sop_instance_uid if before else None
    asked = _signing(draft.key, signature_for(observer, organisation, moment, corrects), note)
    for number in range(last, 0, -1):
        known = read_record(Signing, folder_of(out, number) / SIGNATURE)
        if _words(known) == _words(asked) and (number == last or known.signature.signed_at == moment):
            return number
    # One that was broken off has left the folder to nobody, and whoever signs now takes it over.
    number = before + 1
    make_folder(folder_of(out, number))
    write_record(asked, folder_of(out, number) / SIGNATURE)
    return number


def complete(source: Path, out: Path, number: int) -> StudyResult:
    """Write the signed form of every object, unless that was done; the same objects at every try.

    Raises:
        InputError: As `sign`.
        PrivacyError: As `sign`.
    """
    folder = folder_of(out, number)
    if is_complete(out, number):
        return read_record(StudyResult, folder / RESULT)
    draft, asked = read_record(StudyResult, out / RESULT), read_record(Signing, folder / SIGNATURE)
    selection = read_record(SelectionRecord, out / "selection.json")
    if asked.key != selection.key or draft.key != selection.key:
        raise _changed("The study was processed anew after somebody began to sign it")
    found = _signed(read_record(Findings, out / FINDINGS), asked, out, number)
    form = ObjectForm(seg=selection.asked.seg, rtstruct=selection.asked.rtstruct)
    written = write_objects(source, out, found, asked.edition, folder, form)
    write_record(found, folder / FINDINGS)
    result = draft.model_copy(update={"files": written, "warnings": found.warnings, "signature": asked.signature})
    write_record(result, folder / RESULT)
    return result


def write_objects(source: Path, out: Path, found: Findings, key: str, folder: Path, form: ObjectForm) -> dict[str, str]:
    """Write every object and message of a draft's mask once more, as other findings or in another form.

    Args:
        source: Folder, zip or file that holds the study.
        out: Folder of the draft.
        found: What to say.
        key: What the objects' UIDs derive from.
        folder: Folder to write to.
        form: Form of SEG and RTSTRUCT.

    Raises:
        InputError: `input.changed`: source or mask are no longer those of the draft.
        PrivacyError: `identity.mismatch`: an object disagrees with its source.
    """
    selection = read_record(SelectionRecord, out / "selection.json")
    inference = read_record(InferenceRecord, out / "inference.json")
    if file_digest(out / LABELS) != inference.labels_digest:
        raise _changed(f"The mask {LABELS} is not the one that the draft was made from")
    labels = files.read_labels(out / LABELS, {spec.value: spec.name for spec in found.labels})
    explained = selection.asked.explain
    heat = (explained, files.read(out / HEAT)) if explained is not None and (out / HEAT).exists() else None
    with _source(source, selection) as series:
        return report.write_all(
            found,
            labels,
            dicom.read_series(series, selection.reading),
            series,
            key,
            folder,
            language=selection.asked.language,
            paper=selection.asked.paper,
            heat=heat,
            rtstruct=form.rtstruct,
            seg=form.seg,
            draft_key=selection.key,
        )


def write_signed(task: StudyTask) -> None:
    """Write what was begun last: a step like those of the walk, for the process that images are worked on in."""
    complete(task.source, task.out, latest(task.out))


def folder_of(out: Path, number: int) -> Path:
    """Folder of a form of a result: 0 is the draft, 1… the signed ones."""
    return out if number == 0 else out / SIGNED / str(number)


def latest(out: Path) -> int:
    """Number of the newest signed form, finished or not; 0 for a draft."""
    return max((int(path.parent.name) for path in (out / SIGNED).glob(f"*/{SIGNATURE}")), default=0)


def newest(out: Path) -> int:
    """Number of the newest form that is whole; 0 for the draft."""
    last = latest(out)
    return last if last == 0 or is_complete(out, last) else last - 1


def is_complete(out: Path, number: int) -> bool:
    """Whether a form of the result is whole."""
    return (folder_of(out, number) / RESULT).exists()


def reference(path: Path) -> Reference:
    """How other objects refer to a DICOM file.

    Raises:
        InputError: It cannot be read.
    """
    import pydicom

    try:
        return report.reference_to(pydicom.dcmread(path, stop_before_pixels=True))
    except (OSError, AttributeError, ValueError, pydicom.errors.InvalidDicomError) as fault:
        raise InputError(f"{path.name} cannot be read as DICOM ({type(fault).__name__}).") from fault


def documents(folder: Path) -> tuple[Reference, ...]:
    """Structured report and PDF in a folder of objects, for whatever takes their place."""
    return tuple(reference(folder / name) for name in ("sr.dcm", "report.dcm"))


def _signed(draft: Findings, asked: Signing, out: Path, number: int) -> Findings:
    note = (f"Note on signing: {asked.note}",) if asked.note else ()
    return draft.model_copy(
        update={
            "signature": asked.signature,
            "predecessors": (*documents(folder_of(out, number - 1)), *draft.predecessors),
            "warnings": (*draft.warnings, *note),
        }
    )


def signature_for(observer: str, organisation: str, moment: datetime, corrects: str | None = None) -> Signature:
    """A signature that can stand in a DICOM object.

    Raises:
        InputError: `usage`: a name or an organisation that DICOM does not allow.
    """
    from pydicom import config
    from pydicom.valuerep import validate_value

    observer, organisation = person_for(observer), organisation.strip()
    try:
        validate_value("LO", organisation, config.RAISE)
        if "\\" in organisation:
            raise ValueError(organisation)
        return Signature(observer=observer, organisation=organisation, signed_at=moment, corrects=corrects)
    except (ValueError, ValidationError) as fault:
        raise _not_allowed("The organisation") from fault


def person_for(observer: str) -> str:
    """A person's name that can stand in a DICOM object, without spaces around it.

    Raises:
        InputError: `usage`: DICOM does not allow it.
    """
    from pydicom import config
    from pydicom.valuerep import validate_value

    observer = observer.strip()
    try:
        validate_value("PN", observer, config.RAISE)
        if not observer.strip("^= ") or "\\" in observer:
            raise ValueError(observer)
    except ValueError as fault:
        raise _not_allowed("The observer") from fault
    return observer


def _not_allowed(what: str) -> InputError:
    return InputError(
        f"{what} cannot stand in a DICOM object.",
        code="usage",
        expected="Family^Given of at most 64 characters per form, and an organisation of 1 to 64 characters",
        hint="Write the name as Family^Given=form in ideographs, without backslashes.",
    )


def _signing(key: str, signature: Signature, note: str) -> Signing:
    try:
        return Signing(key=key, signature=signature, note=" ".join(note.split()))
    except ValidationError as fault:
        raise InputError("The note is longer than 1024 characters.", code="usage", found=len(note)) from fault


def _words(asked: Signing) -> tuple[str, str, str, str]:
    """What a person says by signing, without when."""
    return asked.key, asked.signature.observer, asked.signature.organisation, asked.note


@contextmanager
def _source(source: Path, selection: SelectionRecord) -> Iterator[dicom.SeriesRef]:
    """The series of the draft, byte for byte the same."""
    with dicom.opened(source, selection.files) as found:
        several = dicom.scan_files(found, uneven=selection.asked.uneven_slices)
        series = next((one for one in several if one.series_uid == selection.series_uid), None)
        digest = selection.asked.settings_digest
        if series is None or study_key(dicom.digests(series), selection.bundle_digest, digest) != selection.key:
            raise _changed("The images are not those that the draft was made from")
        yield series


def _changed(what: str) -> InputError:
    return InputError(
        f"{what}, so it is not signed.",
        code="input.changed",
        hint="Run the study again, look at the new draft, and sign that.",
    )
