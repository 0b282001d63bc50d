from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import check_kit as kit
from segloop.data import Dataset
from segloop.data.checks.survey import survey
from segloop.errors import InputError
from segloop.io import files
from segloop.volume import Labels, Volume


def kinds(root: Path) -> list[tuple[str, str]]:
    return [(fault.kind, fault.case) for fault in survey(root).faults]


def one_case(root: Path, name: str, suffix: str = ".nii.gz", label_suffix: str = ".nii.gz") -> None:
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    image, label = kit.anatomy(0)
    files.write(Volume(kit.as_mr(image, 0), kit.GRID), root / "imagesTr" / f"{name}{suffix}")
    files.write(Labels(label, kit.GRID), root / "labelsTr" / f"{name}{label_suffix}")
    kit.describe(root, labels={"0": "background", "1": "a", "2": "b", "3": "c", "4": "d"})


def test_a_folder_without_dataset_is_refused_as_by_training(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        survey(tmp_path / "absent")
    assert caught.value.code == "input.empty"
    (tmp_path / "notes.txt").write_text("nothing here")
    with pytest.raises(InputError) as caught:
        survey(tmp_path)
    assert caught.value.code == "dataset.invalid"


def test_a_case_whose_name_ends_in_four_digits_is_no_channel(tmp_path: Path) -> None:
    one_case(tmp_path / "set", "scan_0012")
    assert kinds(tmp_path / "set") == []
    assert [case.id for case in Dataset.load(tmp_path / "set").cases] == ["scan_0012"]


def test_what_training_would_not_find_is_a_fault(tmp_path: Path) -> None:
    one_case(tmp_path / "set", "a", suffix=".nrrd")
    with pytest.raises(InputError):
        Dataset.load(tmp_path / "set")
    assert kinds(tmp_path / "set") == [("description", "")]


@pytest.mark.parametrize("entry", ["imagesTr/a.nii.gz", {"image": "imagesTr/a.nii.gz"}, 3])
def test_an_entry_that_is_none_is_a_fault_and_the_others_are_still_read(tmp_path: Path, entry: object) -> None:
    root = tmp_path / "set"
    for name in ("a", "b"):
        one_case(root, name)
    kit.describe(root, training=[entry, *kit.listing(["b"])])
    found = survey(root)
    assert ("description", "") in [(fault.kind, fault.case) for fault in found.faults]
    assert [case.id for case in found.entries] == ["b"]


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    root = kit.write_mr(tmp_path / "set")
    (root / "imagesTr" / "c01.nii.gz").unlink()
    (root / "labelsTr" / "c02.nii.gz").unlink()
    kit.describe(root, training=kit.listing([*kit.CASES, "c04"]), numTraining=99)
    expected = [("case_count", ""), ("duplicate_id", "c04"), ("missing_image", "c01"), ("missing_label", "c02")]
    assert sorted(kinds(root)) == expected


def test_two_pictures_of_one_name_are_told(tmp_path: Path) -> None:
    root = kit.write_pictures(tmp_path / "set")
    (root / "images" / "c01.jpg").write_bytes(b"a second picture")
    assert kinds(root) == [("duplicate_id", "c01")]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_a_name_that_is_no_text_does_not_stop_the_report(tmp_path: Path) -> None:
    one_case(tmp_path / "set", os.fsdecode(b"caf\xe9"))
    (fault,) = survey(tmp_path / "set").faults
    assert (fault.kind, fault.case) == ("file_name", "caf\\udce9")
    assert json.loads(fault.model_dump_json())["found"] == "U+DCE9"
