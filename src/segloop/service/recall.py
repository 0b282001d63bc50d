"""Word that earlier forms of a result are not to be used: a rejection note for archives, a message for the rest."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from segloop.io import dicom
from segloop.report import Findings, Observer, derive_uid, verify_against_source, write_rejection
from segloop.service.decisions import SERVICE, Decision
from segloop.signing import FINDINGS, reference
from segloop.store import make_folder
from segloop.study import read_record
from segloop.workflow import RESULT, StudyResult


def rejection_note(
    decision: Decision, folders: Sequence[Path], series: dicom.SeriesRef, folder: Path, replaced: bool
) -> Path:
    """Write the note that withdraws every DICOM object in some folders of results; the same note at every try.

    Args:
        decision: Why; the note has its date, and names the person whose decision it is.
        folders: Folders of the editions that are withdrawn, in order; each with its objects and `result.json`.
        series: The source.
        folder: Folder to write to.
        replaced: Whether something newer takes the place; else the objects are withdrawn for the patient's safety.

    Raises:
        InputError: The result's files are not there.
        PrivacyError: `identity.mismatch`: note or object is not of this patient and study.
    """
    objects = [
        reference(one / name)
        for one in folders
        for name in read_record(StudyResult, one / RESULT).files.values()
        if name.endswith(".dcm")
    ]
    # The findings lie in the folder of the edition, also where the objects are in a form of their own below it.
    said = next(path for path in (folders[-1], *folders[-1].parents) if (path / FINDINGS).exists())
    findings = read_record(Findings, said / FINDINGS).model_copy(update={"created": decision.decided})
    named = hashlib.sha256("\n".join(one.sop_instance_uid for one in objects).encode()).hexdigest()
    make_folder(folder)
    path = folder / f"rejection-{decision.number}-{named[:8]}.dcm"
    uid = derive_uid(f"{decision.identifier} {named}", "rejection")
    by_person = decision.actor != SERVICE
    observer = Observer(name=decision.actor, organisation=decision.organisation) if by_person else None
    reason: Literal["replaced", "unsafe"] = "replaced" if replaced else "unsafe"
    write_rejection(objects, series, findings, uid, path, reason=reason, observer=observer)
    verify_against_source([path], series)
    return path
