"""The objects of a result once more, in another form, for destinations that want them so.

    OUT/…                      as they were asked for: a SEG of bits per label
    OUT/forms/labelmap/…       the same mask as a label map, with reports that point to that
    OUT/signed/1/forms/…       of a signed result

Each form is a whole set with UIDs of its own, since the objects refer to each other.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from segloop import signing
from segloop.report import Findings
from segloop.store import make_folder
from segloop.study import ObjectForm, StudyTask, read_record, write_record
from segloop.workflow import RESULT, StudyResult

FORMS = "forms"


def folder_of(out: Path, edition: int, form: ObjectForm) -> Path:
    """Folder of an edition of a result (0 is the draft) in a form; the usual form lies in the edition's own folder."""
    whole = signing.folder_of(out, edition)
    return whole if form == ObjectForm() else whole / FORMS / form.name


def write_forms(task: StudyTask) -> None:
    """Write draft and signed editions in each form that the task names and that is not there yet.

    Raises:
        InputError: `input.changed`: source or mask are no longer those of the draft.
        PrivacyError: `identity.mismatch`: an object disagrees with its source.
    """
    for edition in range(signing.newest(task.out) + 1):
        for form in task.forms:
            if not (folder_of(task.out, edition, form) / RESULT).exists():
                _write(task, edition, form)


def _write(task: StudyTask, edition: int, form: ObjectForm) -> None:
    whole, folder = signing.folder_of(task.out, edition), folder_of(task.out, edition, form)
    result, found = read_record(StudyResult, whole / RESULT), read_record(Findings, whole / signing.FINDINGS)
    key = read_record(signing.Signing, whole / signing.SIGNATURE).edition if edition else result.key
    if edition:
        # Whoever gets this form has got the edition before it in this form as well.
        before = signing.documents(folder_of(task.out, edition - 1, form))
        found = found.model_copy(update={"predecessors": (*before, *found.predecessors[len(before) :])})
    make_folder(folder)
    own = hashlib.sha256(f"{key}\n{form.name}".encode()).hexdigest()
    written = signing.write_objects(task.source, task.out, found, own, folder, form)
    write_record(result.model_copy(update={"files": written}), folder / RESULT)


def every_folder(out: Path, edition: int) -> tuple[Path, ...]:
    """The folders of all forms of an edition that are there."""
    whole = signing.folder_of(out, edition)
    return tuple(path.parent for path in (whole / RESULT, *sorted(whole.glob(f"{FORMS}/*/{RESULT}"))) if path.exists())
