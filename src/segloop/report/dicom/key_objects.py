"""Key object selections: which images of a study show the result, and which earlier objects are withdrawn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydicom import Dataset
from pydicom.uid import UID

from segloop.errors import InputError, PrivacyError
from segloop.io.dicom.refs import SeriesRef
from segloop.io.dicom.rejection import KEY_OBJECTS, REJECTIONS
from segloop.report.concepts import Concept
from segloop.report.dicom.attestation import by_study, observers, person_observer
from segloop.report.dicom.common import link, new_dataset, save
from segloop.report.findings import Findings
from segloop.report.overlay import KeyImage
from segloop.report.signature import Observer, Reference

SERIES_NUMBER, REJECTION_SERIES_NUMBER = 9006, 9007

Withdrawal = Literal["replaced", "unsafe"]

_OF_INTEREST = Concept("113000", "DCM", "Of Interest")
_DESCRIPTION = Concept("113012", "DCM", "Key Object Description")
# Without pixels, so told as composite objects and not as images: reports, documents, radiotherapy objects.
_WITHOUT_PIXELS = ("1.2.840.10008.5.1.4.1.1.88.", "1.2.840.10008.5.1.4.1.1.104.", "1.2.840.10008.5.1.4.1.1.481.")
_WITHDRAWALS: dict[Withdrawal, tuple[str, str]] = {
    "replaced": ("113001", "Superseded by a newer result of the same study."),
    "unsafe": ("113037", "Withdrawn: not to be used for this patient."),
}
# Which letters of `Geometry.axis_codes` an acquisition axis has when its slices are images of this plane.
_ACROSS = {"axial": "SI", "coronal": "PA", "sagittal": "LR"}
_GROWING = "SPL"


def write_key_objects(
    images: Sequence[KeyImage],
    series: SeriesRef,
    findings: Findings,
    objects: Sequence[Reference],
    uid: str,
    path: Path,
) -> Path:
    """Write a key object selection "Of Interest" of the source images that the report shows, and of the results.

    A key image in the plane of acquisition is an image of the source; the other planes are cut through many and name
    none.

    Args:
        images: What the report shows, as `key_images` gives them.
        series: The source.
        findings: What was found.
        objects: The results to point to: SEG, SR and what else there is.
        uid: SOP instance UID of the selection.
        path: File to write.

    Raises:
        InputError: `input.empty` when nothing was found: then there is nothing of interest.

    Source: DICOM PS3.16 TID 2010 and CID 7010; PS3.3 A.35.4 (Key Object Selection Document IOD).
    """
    if not findings.present:
        raise InputError("Nothing was found, so no image is a key image; leave the selection out.", code="input.empty")
    shown, frames = _source_images(images, series)
    named = [*shown, *objects]
    described = f"Key images and results of {findings.model.title}"
    dataset = _selection(_OF_INTEREST, described, named, observers(findings), uid, frames)
    link(dataset, series, findings, "key objects", SERIES_NUMBER)
    return save(dataset, path)


def write_rejection(
    superseded: Sequence[Reference],
    series: SeriesRef,
    findings: Findings,
    uid: str,
    path: Path,
    *,
    reason: Withdrawal = "replaced",
    observer: Observer | None = None,
) -> Path:
    """Write the note by which every object of an earlier result is withdrawn.

    A replaced result is "Rejected for Quality Reasons": of the four titles that withdraw, "Incorrect Modality Worklist
    Entry" and "Data Retention Policy Expired" state what is not so, and "Rejected for Patient Safety Reasons" is for
    what must not be seen again at all, such as a result about another patient. An archive hides what is rejected for
    quality, and may keep it for those who ask how a report came about. Why it is rejected stands in the description:
    the reasons of CID 7011 are faults of an acquisition, and none fits.

    Args:
        superseded: The objects that are withdrawn, results of the same study.
        series: The source of the new result.
        findings: The new result; gives dates and equipment.
        uid: SOP instance UID of the note.
        path: File to write.
        reason: `replaced` by a newer result, or `unsafe`: rejected for patient safety reasons.
        observer: Who withdraws them; None where it is nobody but the model with a newer result.

    Raises:
        InputError: `input.empty` when nothing is withdrawn.
        PrivacyError: `identity.mismatch` when an image of the source or an object of another study would be withdrawn.

    Source: IHE Radiology Technical Framework, Imaging Object Change Management, RAD-66; DICOM PS3.16 TID 2010, CID 7010
        and CID 7011.
    """
    if not superseded:
        raise InputError("A rejection note withdraws at least one object; leave it out.", code="input.empty")
    images = {file.sop_instance_uid for file in series.files}
    wrong = [r for r in superseded if r.study_uid != series.study_uid or r.sop_instance_uid in images]
    if wrong:
        raise PrivacyError(
            f"{len(wrong)} of the objects to be withdrawn are images of the source, or of another study.",
            code="identity.mismatch",
            found=len(wrong),
            expected="earlier results of the same study",
        )
    code, described = _WITHDRAWALS[reason]
    person = None if observer is None else person_observer(observer.name, observer.organisation)
    # Whoever signed the result is not who withdraws it.
    seen_by = (person, observers(findings)[1])
    dataset = _selection(Concept(code, "DCM", REJECTIONS[code]), described, superseded, seen_by, uid, {})
    link(dataset, series, findings, "rejection note", REJECTION_SERIES_NUMBER)
    return save(dataset, path)


def reference_to(dataset: Dataset) -> Reference:
    """A reference to an object that was written or read."""
    return Reference(
        sop_class_uid=str(dataset.SOPClassUID),
        sop_instance_uid=str(dataset.SOPInstanceUID),
        series_uid=str(dataset.SeriesInstanceUID),
        study_uid=str(dataset.StudyInstanceUID),
    )


def _source_images(images: Iterable[KeyImage], series: SeriesRef) -> tuple[list[Reference], dict[str, list[int]]]:
    """References to the source images shown, and the frames of a multi-frame one."""
    slices = set[int]()
    across = "" if series.geometry is None else series.geometry.axis_codes[0]
    for image in images:
        if across and across in _ACROSS[image.plane]:
            index = image.number - 1 if across in _GROWING else image.count - image.number
            places = range(image.count) if series.regrid is None else series.regrid.places
            slices.add(int(np.abs(np.asarray(places) - index).argmin()))
    found, frames = dict[str, Reference](), dict[str, list[int]]()
    every = series.images
    for z in sorted(slices):
        file, frame = every[z]
        found[file.sop_instance_uid] = Reference(
            sop_class_uid=file.sop_class_uid,
            sop_instance_uid=file.sop_instance_uid,
            series_uid=series.series_uid,
            study_uid=series.study_uid,
        )
        if frame:
            frames.setdefault(file.sop_instance_uid, []).append(frame)
    return list(found.values()), frames


def _selection(
    title: Concept,
    described: str,
    named: Sequence[Reference],
    seen_by: Sequence[Any | None],
    uid: str,
    frames: dict[str, list[int]],
) -> Dataset:
    """The document before it is linked to its source."""
    import highdicom as hd

    root = hd.sr.ContainerContentItem(name=_coded(title), is_content_continuous=False, template_id="2010")
    root.ContentSequence = hd.sr.ContentSequence()
    for context in seen_by:
        if context is not None:
            root.ContentSequence.extend(context)
    root.ContentSequence.append(
        hd.sr.TextContentItem(
            name=_coded(_DESCRIPTION), value=described, relationship_type=hd.sr.RelationshipTypeValues.CONTAINS
        )
    )
    dataset = new_dataset(KEY_OBJECTS, uid, "KO")
    dataset.update(root)
    references = [_reference(one, frames.get(one.sop_instance_uid)) for one in named]
    dataset.ContentSequence = [*root.ContentSequence, *references]
    dataset.ReferencedPerformedProcedureStepSequence = []
    dataset.CurrentRequestedProcedureEvidenceSequence = by_study(named)
    return dataset


def _reference(named: Reference, frames: list[int] | None) -> Dataset:
    """A content item; template 2010 wants it without a concept name, which the library insists on."""
    referenced, item = Dataset(), Dataset()
    referenced.ReferencedSOPClassUID = UID(named.sop_class_uid)
    referenced.ReferencedSOPInstanceUID = UID(named.sop_instance_uid)
    if frames:
        referenced.ReferencedFrameNumber = frames
    item.RelationshipType = "CONTAINS"
    item.ValueType = "COMPOSITE" if named.sop_class_uid.startswith(_WITHOUT_PIXELS) else "IMAGE"
    item.ReferencedSOPSequence = [referenced]
    return item


def _coded(concept: Concept) -> Any:
    import highdicom as hd

    return hd.sr.CodedConcept(concept.value, concept.scheme, concept.meaning)
