"""The objects of a signed result, key objects and rejection notes, before the validators and readers of others."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pydicom
import pytest

from results import Made, mask_for, write_all, write_series
from segloop.errors import InputError, PrivacyError
from segloop.io.dicom import opened, read_rejection, read_series, scan, scan_files
from segloop.io.dicom.own import is_own_object
from segloop.report import (
    Observer,
    Reference,
    Signature,
    derive_uid,
    key_images,
    reference_to,
    verify_against_source,
    write_key_objects,
    write_rejection,
    write_rtstruct,
)
from segloop.volume import Labels

Peer = Callable[[str], Path]
SIGNATURE = Signature(
    observer="王^小东",
    organisation="Department of Radiology",
    signed_at=datetime(2026, 11, 22, 17, 5, 9, tzinfo=timezone(timedelta(hours=8))),
)
OBSERVER = Observer(name="Li^Wei=李^伟")
GRIDS = {
    "axial": ((0, 0, 1), (0, 1, 0), (1, 0, 0)),
    "sagittal": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
    "coronal": ((0, 1, 0), (0, 0, -1), (1, 0, 0)),
}


def _references(made: Made) -> tuple[Reference, ...]:
    return tuple(reference_to(pydicom.dcmread(path, stop_before_pixels=True)) for path in made.objects)


def _in_sequence(folder: Path, part: bool = False) -> tuple[Made, Made]:
    """A draft, and the signed result that takes its place, with its key objects and the note that withdraws."""
    series = write_series(folder / "source", directions=((1, 0, 0), (0, 0, -1), (0, 1, 0)))
    full = mask_for(read_series(series))
    labels = Labels(np.where(full.array == 2, 0, full.array), full.geometry, full.names) if part else full
    draft = write_all(series, folder / "draft", labels)
    earlier = _references(draft)
    made = write_all(series, folder / "out", labels, signature=SIGNATURE, predecessors=earlier)
    write_rtstruct(labels, series, made.findings, derive_uid("key", "rtstruct"), made.folder / "rtstruct.dcm")
    images = key_images(made.volume, made.labels, made.findings.labels)
    uid = derive_uid("key", "key objects")
    write_key_objects(images, series, made.findings, _references(made), uid, made.folder / "keys.dcm")
    path = made.folder / "rejection.dcm"
    write_rejection(earlier, series, made.findings, derive_uid("key", "rejection"), path, observer=OBSERVER)
    return draft, made


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[Made, Made]:
    return _in_sequence(tmp_path_factory.mktemp("signed"))


@pytest.fixture(scope="module")
def draft(results: tuple[Made, Made]) -> Made:
    return results[0]


@pytest.fixture(scope="module")
def made(results: tuple[Made, Made]) -> Made:
    return results[1]


def _sr_validator(java: Path) -> list[str | Path]:
    """PixelMed's, with the limits lifted that its own style sheets exceed."""
    jars = sorted(Path("/usr/share/java").glob("*.jar"), key=lambda jar: "pixelmed" not in jar.name)
    limits = [f"-Djdk.xml.xpath{name}OpLimit=0" for name in ("Expr", "Total")] + ["-Djdk.xml.xpathExprGrpLimit=0"]
    return [java, "-cp", os.pathsep.join(map(str, jars)), *limits, "com.pixelmed.validate.DicomSRValidator"]


def _said(command: list[str | Path]) -> str:
    done = subprocess.run(command, check=False, capture_output=True, timeout=900)
    return (done.stdout + done.stderr).decode(errors="replace")


def _texts(dataset: pydicom.Dataset) -> list[str]:
    found: list[str] = []
    dataset.walk(lambda _, e: found.append(str(e.value)) if e.keyword == "TextValue" else None)
    return found


def _named(items: pydicom.Sequence) -> set[str]:
    """Every object that a hierarchical reference names."""
    return {
        str(item.ReferencedSOPInstanceUID)
        for study in items
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }


@pytest.mark.peer
def test_validators_find_no_error(made: Made, require_peer: Peer) -> None:
    for path in made.objects:
        said = _said([require_peer("dciodvfy"), "-new", path])
        assert said.strip()
        assert "Error" not in said, path.name
    assert "Error" not in _said([require_peer("dcentvfy"), *[i.path for i in made.series.files], *made.objects])


@pytest.mark.peer
@pytest.mark.parametrize("name", ["sr.dcm", "keys.dcm", "rejection.dcm"])
def test_another_reader_shows_the_document(made: Made, require_peer: Peer, name: str) -> None:
    said = _said([require_peer("dsrdump"), made.folder / name])
    # A rejection note names who rejects; the other two name who signed.
    assert ("李^伟" if name == "rejection.dcm" else "王^小东") in said
    assert not [line for line in said.splitlines() if line.startswith(("E:", "F:"))]
    if name == "sr.dcm":
        assert "2026-11-22 17:05:09 +08:00, 王^小东, Department of Radiology" in said


@pytest.mark.peer
@pytest.mark.long
@pytest.mark.timeout(1000)
@pytest.mark.parametrize("part", [False, True], ids=["all labels", "a label absent"])
def test_documents_follow_their_templates(tmp_path: Path, require_peer: Peer, part: bool) -> None:
    java = require_peer("java")
    require_peer("/usr/share/java/pixelmed.jar")
    _, made = _in_sequence(tmp_path, part)
    for name in ("sr.dcm", "keys.dcm", "rejection.dcm"):
        said = _said([*_sr_validator(java), made.folder / name])
        assert "Root Template Validation Complete" in said
        assert "Error" not in said, name


def test_a_signed_report_is_final_and_verified_and_names_who_signed(made: Made) -> None:
    report = pydicom.dcmread(made.folder / "sr.dcm")
    assert (report.CompletionFlag, report.PreliminaryFlag, report.VerificationFlag) == ("COMPLETE", "FINAL", "VERIFIED")
    (observer,) = report.VerifyingObserverSequence
    assert observer.VerifyingObserverName == "王^小东"
    assert observer.VerifyingOrganization == "Department of Radiology"
    assert observer.VerificationDateTime == "20261122170509+0800"
    people = [i for i in report.ContentSequence if i.ValueType == "PNAME"]
    assert [str(i.PersonName) for i in people] == ["王^小东"]
    assert not [text for text in _texts(report) if "draft" in text or "not reviewed" in text]
    assert "For research use only. Not for diagnosis." in _texts(report)


def test_other_objects_say_that_they_are_signed(made: Made, draft: Made) -> None:
    assert pydicom.dcmread(made.folder / "report.dcm").VerificationFlag == "VERIFIED"
    assert "signed" in pydicom.dcmread(made.folder / "seg.dcm").ContentDescription
    structures = pydicom.dcmread(made.folder / "rtstruct.dcm")
    assert (structures.ApprovalStatus, structures.ReviewerName) == ("APPROVED", "王^小东")
    assert (structures.ReviewDate, structures.ReviewTime) == ("20261122", "170509")
    assert pydicom.dcmread(draft.folder / "report.dcm").VerificationFlag == "UNVERIFIED"
    assert "automatic draft" in pydicom.dcmread(draft.folder / "seg.dcm").ContentDescription


def test_documents_name_the_earlier_ones_of_their_own_kind(made: Made, draft: Made) -> None:
    for name in ("sr.dcm", "report.dcm"):
        before = pydicom.dcmread(draft.folder / name)
        assert "PredecessorDocumentsSequence" not in before
        after = pydicom.dcmread(made.folder / name)
        assert _named(after.PredecessorDocumentsSequence) == {before.SOPInstanceUID}
        assert after.SOPInstanceUID != before.SOPInstanceUID


def test_a_name_without_parts_is_a_name(tmp_path: Path) -> None:
    series = write_series(tmp_path / "source", shape=(3, 16, 16))
    signature = SIGNATURE.model_copy(update={"observer": "Wang"})
    report = pydicom.dcmread(write_all(series, tmp_path / "out", signature=signature).folder / "sr.dcm")
    assert report.VerifyingObserverSequence[0].VerifyingObserverName == "Wang"


@pytest.mark.parametrize("reverse", [False, True], ids=["growing", "falling"])
@pytest.mark.parametrize("plane", GRIDS)
def test_key_objects_point_to_the_slice_that_the_report_shows_and_to_the_results(
    tmp_path: Path, plane: str, reverse: bool
) -> None:
    along, down, across = (np.array(d) for d in GRIDS[plane])
    directions = (-along if reverse else along, down, across)
    # An even number of slices, so that counting from the wrong end finds another one.
    series = write_series(
        tmp_path / "source", directions=tuple(tuple(d.tolist()) for d in directions), shape=(8, 24, 20)
    )
    made = write_all(series, tmp_path / "out")
    images = key_images(made.volume, made.labels, made.findings.labels)
    path = write_key_objects(images, series, made.findings, _references(made), "2.25.8", tmp_path / "keys.dcm")
    dataset = pydicom.dcmread(path)
    areas = (made.labels.array == 4).sum(axis=(1, 2))
    named = [i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for i in dataset.ContentSequence[-5:]]
    shown = next(z for z, file in enumerate(series.files) if file.sop_instance_uid == named[0])
    assert areas[shown] == areas.max()
    assert named[1:] == [reference.sop_instance_uid for reference in _references(made)]
    assert _named(dataset.CurrentRequestedProcedureEvidenceSequence) == set(named)
    assert (dataset.Modality, dataset.ConceptNameCodeSequence[0].CodeValue) == ("KO", "113000")
    assert is_own_object(dataset)
    assert read_rejection(path) is None
    verify_against_source([path, *made.objects], series)


def test_key_objects_name_the_frames_of_a_multiframe_source(tmp_path: Path, shared_data: Callable[[str], Path]) -> None:
    series = scan(shared_data("dicom-geometry/philips-enhanced-multiframe/dicom"))[0]
    made = write_all(series, tmp_path)
    images = key_images(made.volume, made.labels, made.findings.labels)
    path = write_key_objects(images, series, made.findings, _references(made), "2.25.8", tmp_path / "keys.dcm")
    (first, *_) = [i for i in pydicom.dcmread(path).ContentSequence if i.ValueType == "IMAGE"]
    areas = (made.labels.array == 4).sum(axis=(1, 2))
    frame = first.ReferencedSOPSequence[0].ReferencedFrameNumber
    assert areas[series.files[0].frames.index(frame)] == areas.max()


def test_key_objects_of_a_resampled_series_name_the_slice_nearest_to_what_is_shown(tmp_path: Path) -> None:
    even = write_series(tmp_path / "source", shape=(8, 24, 20))
    places = (0.0, 2.5, 5.0, 7.5, 13.1, 15.0, 17.5, 20.0)
    for place, instance in zip(places, even.files, strict=True):
        dataset = pydicom.dcmread(instance.path)
        dataset.ImagePositionPatient = [*dataset.ImagePositionPatient[:2], f"{40.25 + place:.2f}"]
        dataset.save_as(instance.path)
    with opened(tmp_path / "source") as found:
        (series,) = scan_files(found, uneven="resample")
        assert series.regrid is not None
        volume = read_series(series)
        array = np.zeros(volume.array.shape, np.uint8)
        shown = 5
        array[shown, 4:9, 4:9] = 4
        made = write_all(series, tmp_path / "out", Labels(array, volume.geometry, {4: "Lesion"}))
        images = key_images(made.volume, made.labels, made.findings.labels)
        path = write_key_objects(images, series, made.findings, _references(made), "2.25.8", tmp_path / "keys.dcm")
        named = pydicom.dcmread(path).ContentSequence[-5].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        depth = volume.geometry.to_lps(np.array([shown, 0.0, 0.0]))[2]
        nearest = int(np.abs(np.array(places) + 40.25 - depth).argmin())
        assert nearest != shown
        assert named == series.files[nearest].sop_instance_uid


def test_nothing_found_gives_no_key_objects(made: Made, tmp_path: Path) -> None:
    empty = made.findings.model_copy(update={"present": ()})
    with pytest.raises(InputError) as caught:
        write_key_objects((), made.series, empty, _references(made), "2.25.8", tmp_path / "keys.dcm")
    assert caught.value.code == "input.empty"


def test_a_rejection_note_withdraws_every_object_of_the_earlier_result(made: Made, draft: Made) -> None:
    note = read_rejection(made.folder / "rejection.dcm")
    assert note is not None
    assert (note.code, note.meaning) == ("113001", "Rejected for Quality Reasons")
    assert note.sop_instance_uids == {reference.sop_instance_uid for reference in _references(draft)}
    assert {(s.study_uid, s.series_uid) for s in note.series} == {
        (reference.study_uid, reference.series_uid) for reference in _references(draft)
    }
    assert not note.sop_instance_uids & {reference.sop_instance_uid for reference in _references(made)}
    verify_against_source(made.objects, made.series)
    dataset = pydicom.dcmread(made.folder / "rejection.dcm")
    assert "Superseded by a newer result of the same study." in _texts(dataset)


def test_an_unsafe_result_is_withdrawn_for_patient_safety(made: Made, draft: Made, tmp_path: Path) -> None:
    path = tmp_path / "note.dcm"
    write_rejection(_references(draft), made.series, made.findings, "2.25.9", path, reason="unsafe")
    note = read_rejection(pydicom.dcmread(path))
    assert note is not None
    assert note.code == "113037"


def test_a_note_names_the_person_who_withdraws_and_not_who_signed(made: Made, draft: Made, tmp_path: Path) -> None:
    path = tmp_path / "note.dcm"
    told = []
    for person in (None, Observer(name="Li^Wei"), Observer(name="Li^Wei", organisation="Children's Hospital")):
        write_rejection(_references(draft), made.series, made.findings, "2.25.9", path, observer=person)
        items = [i for i in pydicom.dcmread(path).ContentSequence if i.RelationshipType == "HAS OBS CONTEXT"]
        kinds = [i.ConceptCodeSequence[0].CodeMeaning for i in items if i.ValueType == "CODE"]
        organisations = [i.TextValue for i in items if i.ConceptNameCodeSequence[0].CodeValue == "121009"]
        told.append((kinds, [str(i.PersonName) for i in items if i.ValueType == "PNAME"], organisations))
    assert made.findings.signature is not None
    assert told == [
        (["Device"], [], []),
        (["Person", "Device"], ["Li^Wei"], []),
        (["Person", "Device"], ["Li^Wei"], ["Children's Hospital"]),
    ]


@pytest.mark.parametrize("kind", ["image", "study", "nothing"])
def test_only_earlier_results_of_the_study_can_be_withdrawn(made: Made, draft: Made, tmp_path: Path, kind: str) -> None:
    first = _references(draft)[0]
    superseded = {
        "image": (first.model_copy(update={"sop_instance_uid": made.series.files[0].sop_instance_uid}),),
        "study": (first.model_copy(update={"study_uid": "1.2.3"}),),
        "nothing": (),
    }[kind]
    with pytest.raises(InputError if kind == "nothing" else PrivacyError):
        write_rejection(superseded, made.series, made.findings, "2.25.9", tmp_path / "note.dcm")
    assert not (tmp_path / "note.dcm").exists()


@pytest.mark.parametrize("what", ["an image of the source", "the new result"])
def test_a_note_that_withdraws_what_is_in_force_is_not_sent(made: Made, tmp_path: Path, what: str) -> None:
    dataset = pydicom.dcmread(made.folder / "rejection.dcm")
    new = pydicom.dcmread(made.folder / "seg.dcm", stop_before_pixels=True).SOPInstanceUID
    uid = made.series.files[0].sop_instance_uid if what == "an image of the source" else new
    dataset.ContentSequence[-1].ReferencedSOPSequence[0].ReferencedSOPInstanceUID = uid
    dataset.save_as(tmp_path / "rejection.dcm")
    others = [path for path in made.objects if path.name != "rejection.dcm"]
    with pytest.raises(PrivacyError, match="ReferencedSOPInstanceUID"):
        verify_against_source([tmp_path / "rejection.dcm", *others], made.series)


def test_notes_of_others_are_understood_and_damaged_ones_refused(made: Made, tmp_path: Path) -> None:
    dataset = pydicom.dcmread(made.folder / "rejection.dcm")
    dataset.ConceptNameCodeSequence[0].CodingSchemeVersion = "01"
    dataset.ConceptNameCodeSequence[0].CodeMeaning = "rejected"
    assert read_rejection(dataset) == read_rejection(made.folder / "rejection.dcm")
    dataset.ConceptNameCodeSequence[0].CodingSchemeDesignator = "99OTHER"
    assert read_rejection(dataset) is None
    dataset.ConceptNameCodeSequence[0].CodingSchemeDesignator = "DCM"
    del dataset.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    with pytest.raises(InputError, match="without their study and series") as caught:
        read_rejection(dataset)
    assert caught.value.code == "input.unreadable"
    del dataset.ContentSequence
    with pytest.raises(InputError, match="names no object"):
        read_rejection(dataset)


def test_what_is_no_rejection_note_is_none_and_what_is_no_dicom_is_refused(made: Made, tmp_path: Path) -> None:
    for path in made.objects:
        assert (read_rejection(path) is None) == (path.name != "rejection.dcm")
    (tmp_path / "x.dcm").write_bytes(b"nothing")
    with pytest.raises(InputError):
        read_rejection(tmp_path / "x.dcm")


def test_equal_input_gives_equal_bytes(made: Made, tmp_path: Path) -> None:
    draft = _references(Made(made.series, made.volume, made.labels, made.findings, made.folder.parent / "draft"))
    path = tmp_path / "rejection.dcm"
    write_rejection(draft, made.series, made.findings, derive_uid("key", "rejection"), path, observer=OBSERVER)
    assert (tmp_path / "rejection.dcm").read_bytes() == (made.folder / "rejection.dcm").read_bytes()
