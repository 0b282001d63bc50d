"""Signing: the draft stays, the signed form is the same at every try, and nothing changed is signed unseen."""

from __future__ import annotations

import hashlib
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pydicom
import pytest
from pydicom import dcmread

import service_kit as kit
from segloop.cli import main
from segloop.errors import InputError
from segloop.io import files
from segloop.report.messages.hl7 import parse
from segloop.signing import begin, complete, documents, folder_of, sign
from segloop.study import Asked, StudyTask, read_record
from segloop.volume import Labels
from segloop.workflow import LABELS, StudyResult

WHO = ("Li^Wei=李^伟", "Children's Hospital")
OBJECTS = {"seg.dcm", "rtstruct.dcm", "sr.dcm", "report.dcm", "capture.dcm", "key_objects.dcm"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study in `in` and its draft in `out`."""
    root = tmp_path_factory.mktemp("draft")
    kit.study(root / "in", 4)
    bundle = kit.paper_bundle(root / "bundle")
    task = StudyTask(source=root / "in", out=root / "out", model=str(bundle), language="zh-CN", rtstruct=True)
    for step in kit.REAL:
        step.run(task)
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    shutil.copytree(made, tmp_path / "copy")
    return tmp_path / "copy"


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.is_file()}


def uids(folder: Path) -> set[str]:
    return {str(dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in folder.glob("*.dcm")}


def test_every_object_gets_a_signed_form_and_the_draft_stays(root: Path) -> None:
    before = digests(root / "out")
    number = sign(root / "in", root / "out", *WHO)
    folder = folder_of(root / "out", number)
    assert number == 1
    assert digests(root / "out") == before
    assert {path.name for path in folder.glob("*.dcm")} == OBJECTS
    assert not uids(root / "out") & uids(folder)
    draft, signed = dcmread(root / "out" / "sr.dcm"), dcmread(folder / "sr.dcm")
    assert (draft.VerificationFlag, signed.VerificationFlag) == ("UNVERIFIED", "VERIFIED")
    assert signed.PreliminaryFlag == "FINAL"
    assert str(signed.VerifyingObserverSequence[0].VerifyingObserverName) == WHO[0]
    (study,) = signed.PredecessorDocumentsSequence
    named = [one.ReferencedSOPInstanceUID for s in study.ReferencedSeriesSequence for one in s.ReferencedSOPSequence]
    assert named == [draft.SOPInstanceUID]
    result = read_record(StudyResult, folder / "result.json")
    assert result.signature is not None
    assert set(result.files.values()) == OBJECTS | {"report.pdf", "overlay.png", "oru.hl7", "fhir.json"}
    assert all((folder / name).exists() for name in result.files.values())
    assert read_record(StudyResult, root / "out" / "result.json").signature is None


def test_the_messages_are_final_and_of_another_number(root: Path) -> None:
    folder = folder_of(root / "out", sign(root / "in", root / "out", *WHO, "Left kidney absent."))
    draft, final = (parse((where / "oru.hl7").read_bytes()) for where in (root / "out", folder))
    assert [one.first("OBR").get(25) for one in (draft, final)] == ["P", "F"]
    assert {one.get(11) for one in final.all("OBX")} == {"F"}
    assert draft.control_id != final.control_id
    assert final.first("OBR").raw(32).startswith("&Li&Wei^20")
    notes = [one.get(3) for one in final.all("NTE")]
    assert "Note on signing: Left kidney absent." in notes
    assert not any("draft" in note for note in notes)
    resources = [entry["resource"] for entry in json.loads((folder / "fhir.json").read_bytes())["entry"]]
    by_kind = {one["resourceType"]: one for one in resources}
    assert by_kind["DiagnosticReport"]["status"] == by_kind["DocumentReference"]["docStatus"] == "final"
    drafts = [entry["resource"] for entry in json.loads((root / "out" / "fhir.json").read_bytes())["entry"]]
    assert [one["identifier"][0] for one in resources] == [one["identifier"][0] for one in drafts]


def test_a_try_that_was_broken_off_writes_the_same_objects(root: Path) -> None:
    number = sign(root / "in", root / "out", *WHO)
    folder = folder_of(root / "out", number)
    before = digests(folder)
    for path in folder.iterdir():
        if path.name not in ("signature.json", "seg.dcm"):
            path.unlink()
    assert sign(root / "in", root / "out", *WHO) == number
    assert digests(folder) == before


def test_the_same_words_again_change_nothing_and_other_words_correct(root: Path) -> None:
    out = root / "out"
    assert sign(root / "in", out, *WHO) == 1
    first = digests(folder_of(out, 1))
    assert sign(root / "in", out, *WHO) == 1
    assert sign(root / "in", out, *WHO, "Measured again.") == 2
    assert sign(root / "in", out, "Wang^Fang", WHO[1]) == 3
    assert digests(folder_of(out, 1)) == first
    numbers = {parse((folder_of(out, n) / "oru.hl7").read_bytes()).control_id for n in range(4)}
    assert len(numbers) == 4
    for n in (2, 3):
        result = read_record(StudyResult, folder_of(out, n) / "result.json")
        assert result.signature is not None
        assert result.signature.corrects == dcmread(folder_of(out, n - 1) / "sr.dcm").SOPInstanceUID
        message = parse((folder_of(out, n) / "oru.hl7").read_bytes())
        assert message.first("OBR").get(25) == "C"
        bundle = json.loads((folder_of(out, n) / "fhir.json").read_bytes())
        (document,) = [e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == "DocumentReference"]
        replaced = document["relatesTo"][0]["target"]["identifier"]["value"]
        assert replaced == f"urn:oid:{documents(folder_of(out, n - 1))[1].sop_instance_uid}"
        assert document["docStatus"] == "amended"
    assert not set.intersection(*(uids(folder_of(out, n)) for n in (1, 2)))


def test_another_person_takes_over_what_was_never_finished(root: Path) -> None:
    begin(root / "out", "Wang^Fang", "Elsewhere", "", datetime(2026, 1, 1, tzinfo=UTC))
    assert sign(root / "in", root / "out", *WHO) == 1
    signed = dcmread(folder_of(root / "out", 1) / "sr.dcm")
    assert str(signed.VerifyingObserverSequence[0].VerifyingObserverName) == WHO[0]


def test_images_that_changed_are_not_signed(root: Path) -> None:
    victim = next((root / "in").iterdir())
    dataset = pydicom.dcmread(victim)
    dataset.PixelData = bytes(len(dataset.PixelData))
    dataset.save_as(victim)
    with pytest.raises(InputError, match="images") as caught:
        sign(root / "in", root / "out", *WHO)
    assert caught.value.code == "input.changed"
    assert not (folder_of(root / "out", 1) / "result.json").exists()


def test_another_study_is_not_signed_for_this_one(root: Path) -> None:
    other = kit.study(root / "other", 4, "1.2.826.0.1.3680043.8.498.4")
    for path, name in zip(other, sorted(path.name for path in (root / "in").iterdir()), strict=True):
        path.rename(path.with_name(name))
    with pytest.raises(InputError) as caught:
        sign(root / "other", root / "out", *WHO)
    assert caught.value.code == "input.changed"


def test_a_mask_that_changed_is_not_signed(root: Path) -> None:
    labels = files.read_labels(root / "out" / LABELS, {1: "one"})
    array = labels.array[:, :, ::-1].copy()
    files.write(Labels(array, labels.geometry, labels.names), root / "out" / LABELS)
    with pytest.raises(InputError, match="mask") as caught:
        sign(root / "in", root / "out", *WHO)
    assert caught.value.code == "input.changed"


def test_a_draft_that_was_made_anew_meanwhile_is_not_signed_unseen(root: Path) -> None:
    number = begin(root / "out", *WHO, "", datetime.now(UTC))
    kit.write(root / "in", kit.slice_of(5))
    task = StudyTask(source=root / "in", out=root / "out", model=str(root / "bundle"))
    for step in kit.REAL:
        step.run(task)
    with pytest.raises(InputError, match="anew"):
        complete(root / "in", root / "out", number)


@pytest.mark.parametrize(
    ("observer", "organisation"),
    [("", "H"), ("^", "H"), ("Li\\Wei", "H"), ("Li^Wei", ""), ("Li^Wei", "H" * 65), ("L" * 65, "H")],
)
def test_a_name_that_dicom_does_not_allow_is_refused(root: Path, observer: str, organisation: str) -> None:
    with pytest.raises(InputError) as caught:
        sign(root / "in", root / "out", observer, organisation)
    assert caught.value.code == "usage"
    assert not (root / "out" / "signed").exists()


def test_nothing_is_signed_without_a_draft(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"result\.json"):
        sign(tmp_path, tmp_path, *WHO)


def test_the_command_says_what_it_wrote(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["sign", str(root / "in"), str(root / "out"), "--observer", WHO[0], "--organisation", WHO[1], "--json"]
    assert main(words) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["number"] == 1
    assert document["signature"]["observer"] == WHO[0]
    assert Path(document["folder"], document["files"]["sr"]).exists()


def test_what_was_asked_for_is_all_that_shapes_a_result(tmp_path: Path) -> None:
    task = StudyTask(source=tmp_path, out=tmp_path, model="m", paper="letter", explain=3)
    assert task.asked == Asked(paper="letter", explain=3)
    assert task.asked.settings_digest == task.settings_digest
