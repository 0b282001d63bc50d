"""The objects of a result in another form: the same mask, whole sets that point to themselves, UIDs of their own."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydicom import Dataset, dcmread

import service_kit as kit
from segloop.forms import every_folder, folder_of, write_forms
from segloop.service.planning import route
from segloop.settings import Settings
from segloop.signing import sign
from segloop.study import ObjectForm, StudyTask

LABELMAP, CONTOURS = ObjectForm(seg="labelmap"), ObjectForm(rtstruct=True)
SEG, LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"


def objects(folder: Path) -> dict[str, Dataset]:
    return {path.name: dcmread(path) for path in folder.glob("*.dcm")}


def referenced(dataset: Dataset) -> set[str]:
    found: set[str] = set()
    for element in dataset.iterall():
        if element.keyword == "ReferencedSOPInstanceUID":
            found.add(str(element.value))
    return found


def test_every_edition_is_there_in_every_form_and_each_is_whole(tmp_path: Path) -> None:
    kit.study(tmp_path / "in", 4)
    bundle, out = kit.paper_bundle(tmp_path / "bundle"), tmp_path / "out"
    task = StudyTask(source=tmp_path / "in", out=out, model=str(bundle), forms=(LABELMAP, CONTOURS))
    for step in kit.REAL:
        step.run(task)
    sign(tmp_path / "in", out, "Li^Wei", "H")
    write_forms(task)
    seen: set[str] = set()
    for edition in (0, 1):
        sets = {form: objects(folder_of(out, edition, form)) for form in (ObjectForm(), LABELMAP, CONTOURS)}
        assert [one["seg.dcm"].SOPClassUID for one in sets.values()] == [SEG, LABEL_MAP, SEG]
        assert ["rtstruct.dcm" in one for one in sets.values()] == [False, False, True]
        for form, made in sets.items():
            own = {str(one.SOPInstanceUID) for one in made.values()}
            assert not own & seen
            seen |= own
            assert str(made["seg.dcm"].SOPInstanceUID) in referenced(made["sr.dcm"])
            assert made["sr.dcm"].VerificationFlag == ("VERIFIED" if edition else "UNVERIFIED")
            if edition:
                before = objects(folder_of(out, 0, form))["sr.dcm"].SOPInstanceUID
                assert before in referenced(made["sr.dcm"]), "the predecessor is the report that the receiver has"
        assert len(every_folder(out, edition)) == 3
    digests = {path: hashlib.sha256(path.read_bytes()).digest() for path in out.rglob("forms/**/*.dcm")}
    (folder_of(out, 1, LABELMAP) / "result.json").unlink()
    write_forms(task)
    assert {path: hashlib.sha256(path.read_bytes()).digest() for path in digests} == digests


def test_a_job_makes_the_forms_that_its_destinations_want_and_is_the_same_job(tmp_path: Path) -> None:
    files = [path.name for path in kit.study(tmp_path / "in", 4)]

    def routed(*goals: dict[str, object]) -> tuple[str, tuple[ObjectForm, ...]]:
        settings: Settings = kit.settings(tmp_path, destination=[{"kind": "folder", "folder": "f", **g} for g in goals])
        (match,) = route(tmp_path / "in", files, settings, tmp_path / "jobs").matches
        return match.key, match.task.forms

    plain = routed({"name": "a"})
    other = routed({"name": "a", "seg": "labelmap"}, {"name": "b"}, {"name": "c", "seg": "labelmap", "rtstruct": True})
    assert plain[1] == ()
    assert other[1] == (LABELMAP, ObjectForm(seg="labelmap", rtstruct=True))
    assert plain[0] == other[0]
