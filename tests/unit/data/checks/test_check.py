"""The check as a whole: many faults at once, any bytes, any script, any format."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import check_kit as kit
from segloop.data import Dataset
from segloop.data.checks import check
from segloop.io import files
from segloop.volume import Labels, Volume


def test_no_fault_hides_another(tmp_path: Path) -> None:
    root = kit.write_mr(tmp_path / "set")
    image, label = kit.get(root, "c02")
    image[0, 0, 0] = np.nan
    kit.put(root, "c02", image, np.where(label == 4, 9, label).astype(np.uint8))
    content = (root / "imagesTr" / "c01.nii.gz").read_bytes()
    (root / "imagesTr" / "c01.nii.gz").write_bytes(content[:999])
    (root / "labelsTr" / "c06.nii.gz").unlink()
    kit.put(root, "c08", *kit.get(root, "c07"))
    kit.describe(root, numTraining=3)
    steps: list[tuple[int, int]] = []
    faults = check(root, progress=lambda done, total: steps.append((done, total)))
    assert {(fault.kind, fault.case) for fault in faults} == {
        ("not_finite", "c02"),
        ("unknown_label", "c02"),
        ("truncated_file", "c01"),
        ("missing_label", "c06"),
        ("duplicate_image", "c08"),
        ("case_count", ""),
    }
    assert [fault.severity for fault in faults] == ["error"] * 5 + ["warning"]
    assert steps == [(number, 12) for number in range(1, 13)]


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_chinese_names_of_files_and_labels_are_no_fault(tmp_path: Path, suffix: str) -> None:
    root = kit.write_mr(tmp_path / "数据集")
    names = [f"患者{number:02d}号" for number in range(len(kit.CASES))]
    for old, new in zip(kit.CASES, names, strict=True):
        for folder in ("imagesTr", "labelsTr"):
            path = root / folder / f"{old}.nii.gz"
            files.write(files.read(path), path.with_name(f"{new}{suffix}"))
            path.unlink()
    listing = [{"image": f"./imagesTr/{n}{suffix}", "label": f"./labelsTr/{n}{suffix}"} for n in names]
    chinese = {"0": "背景", "1": "左肾", "2": "右肾", "3": "主动脉", "4": "膀胱"}
    kit.describe(root, name="腹部", labels=chinese, training=listing)
    assert check(root) == ()
    dataset = Dataset.load(root)
    assert dataset.read(dataset.case("患者03号"))[1].array.any()


def test_chinese_side_names_are_compared_with_the_patient_s_sides(tmp_path: Path) -> None:
    root = kit.write_mr(tmp_path / "set")
    kit.describe(root, labels={"0": "背景", "1": "左肾", "2": "右肾", "3": "主动脉", "4": "膀胱"})
    label = kit.get(root, "c03")[1]
    kit.put(root, "c03", None, np.array([0, 2, 1, 3, 4], np.uint8)[label])
    assert [(fault.kind, fault.case) for fault in check(root)] == [("sides_swapped", "c03")]


def test_an_empty_label_map_among_lesions_is_only_to_be_looked_at(tmp_path: Path) -> None:
    root = kit.write_mr(tmp_path / "set")
    kit.describe(root, labels={"0": "background", "1": "tumour"})
    for number, case in enumerate(kit.CASES):
        kit.put(root, case, None, (kit.get(root, case)[1] == 1).astype(np.uint8) * (number > 0))
    assert [(fault.kind, fault.case, fault.severity) for fault in check(root)] == [("empty_label", "c00", "warning")]


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("three") / "set"
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    for number in range(3):
        image, label = kit.anatomy(number)
        files.write(Volume(kit.as_mr(image, number), kit.GRID), root / "imagesTr" / f"c{number}.nii")
        files.write(Labels(label, kit.GRID), root / "labelsTr" / f"c{number}.nii")
    kit.describe(root, labels={"0": "background", **{str(n): name for n, name in kit.NAMES.items()}})
    return root


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.sampled_from(["imagesTr", "labelsTr"]), st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255))))
def test_whatever_bytes_a_file_holds_the_check_goes_on(
    three: Path, folder: str, changes: list[tuple[int, int]]
) -> None:
    path = three / folder / "c0.nii"
    good = path.read_bytes()
    content = bytearray(good)
    for place, value in changes:
        content[place] = value
    path.write_bytes(bytes(content))
    try:
        faults = check(three)
    finally:
        path.write_bytes(good)
    assert all(fault.case in ("c0", "") for fault in faults if fault.severity == "error")
    # What is caught only by the last net is a bug of the check, not of the file.
    assert not any("please report" in fault.cause for fault in faults)


def test_folders_may_be_links(tmp_path: Path) -> None:
    root = kit.write_mr(tmp_path / "store")
    linked = tmp_path / "set"
    linked.mkdir()
    for folder in ("imagesTr", "labelsTr"):
        (linked / folder).symlink_to(root / folder, target_is_directory=True)
    shutil.copy(root / "dataset.json", linked)
    assert check(linked) == ()
