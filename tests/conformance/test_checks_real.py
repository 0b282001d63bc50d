"""The data check on the real datasets beside this checkout: their own faults are found, and none is invented."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from segloop.data.checks import check
from segloop.io import files

LONE_IMAGE, LONE_LABEL, SOURCE = "hippocampus_118", "hippocampus_010", "hippocampus_011"
SOUND = {
    "hippocampus": {("float_label", "hippocampus_003"), ("float_label", "hippocampus_243")},
    "sarcoma-pet": set(),
    "isbi2012-em": set(),
    "chase-db1": set(),
}


@pytest.mark.parametrize("name", SOUND)
def test_sound_data_have_no_fault(name: str, shared_data: Callable[[str], Path]) -> None:
    faults = check(shared_data(name))
    assert {(fault.kind, fault.case) for fault in faults} == SOUND[name]
    assert {fault.severity for fault in faults} <= {"note"}


def test_the_three_real_faults_are_found_where_they_lie(shared_data: Callable[[str], Path]) -> None:
    faults = check(shared_data("hippocampus") / "broken")
    assert [(fault.kind, fault.case, fault.severity) for fault in faults] == [
        ("missing_image", LONE_LABEL, "error"),
        ("missing_label", LONE_IMAGE, "error"),
        ("label_copied", LONE_LABEL, "error"),
    ]
    assert faults[-1].others == (SOURCE,)


def among_others(root: Path, data: Path) -> Path:
    """Twelve sound cases of the dataset with the broken files among them."""
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
        for path in sorted((data / folder).glob("hippocampus_0*.nii.gz"))[:12]:
            shutil.copy(path, root / folder)
    shutil.copy(data / "broken" / "images" / f"{LONE_IMAGE}.nii.gz", root / "imagesTr")
    shutil.copy(data / "broken" / "labels" / f"{LONE_LABEL}.nii.gz", root / "labelsTr")
    document = json.loads((data / "dataset.json").read_text("utf-8"))
    kept = {key: value for key, value in document.items() if key not in ("training", "numTraining")}
    (root / "dataset.json").write_text(json.dumps(kept), "utf-8")
    return root


def test_the_three_real_faults_are_found_among_sound_cases(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    root = among_others(tmp_path / "set", shared_data("hippocampus"))
    faults = {(fault.kind, fault.case, fault.others) for fault in check(root) if fault.severity == "error"}
    assert faults == {
        ("missing_image", LONE_LABEL, ()),
        ("missing_label", LONE_IMAGE, ()),
        ("label_copied", LONE_LABEL, (SOURCE,)),
    }


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_label_map_mirrored_against_its_image_is_found(
    axis: int, shared_data: Callable[[str], Path], tmp_path: Path
) -> None:
    root = among_others(tmp_path / "set", shared_data("hippocampus"))
    path = root / "labelsTr" / "hippocampus_007.nii.gz"
    labels = files.read_labels(path, {})
    files.write(replace(labels, array=np.flip(labels.array, axis)), path)
    faults = {(fault.kind, fault.case) for fault in check(root) if fault.severity == "error"}
    assert {kind for kind, case in faults if case == "hippocampus_007"} == {"flipped_label"}
    assert {case for _, case in faults} == {"hippocampus_007", LONE_IMAGE, LONE_LABEL}


def test_the_copied_label_map_is_named_under_another_image_too(
    shared_data: Callable[[str], Path], tmp_path: Path
) -> None:
    root = among_others(tmp_path / "set", shared_data("hippocampus"))
    (root / "imagesTr" / f"{LONE_IMAGE}.nii.gz").rename(root / "imagesTr" / f"{LONE_LABEL}.nii.gz")
    errors = {(fault.kind, fault.case) for fault in check(root) if fault.severity == "error"}
    assert ("label_copied", LONE_LABEL) in errors
    assert {case for _, case in errors} == {LONE_LABEL}
