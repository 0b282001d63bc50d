"""`segloop check`: exit status, the document, the copy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import check_kit as kit
from segloop.cli.main import main
from segloop.plan import Plan


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return kit.write_mr(tmp_path / "数据")


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, dict[str, object]]:
    status = main(["check", *map(str, arguments), "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_a_dataset_without_fault_ends_with_0(capsys: pytest.CaptureFixture[str], root: Path) -> None:
    status, document = run(capsys, root)
    assert status == 0
    assert document == {
        "schema": 1,
        "dataset": str(root),
        "errors": 0,
        "warnings": 0,
        "notes": 0,
        "faults": [],
        "fixed": None,
    }
    assert main(["check", str(root)]) == 0
    assert "No fault found." in capsys.readouterr().out


def test_a_warning_alone_ends_with_0(capsys: pytest.CaptureFixture[str], root: Path) -> None:
    kit.describe(root, numTraining=3)
    status, document = run(capsys, root)
    assert (status, document["errors"], document["warnings"]) == (0, 0, 1)


def test_an_error_ends_with_2_and_both_fault_and_error_stand_in_the_document(
    capsys: pytest.CaptureFixture[str], root: Path
) -> None:
    (root / "labelsTr" / "c04.nii.gz").write_bytes(b"")
    status, document = run(capsys, root)
    assert status == 2
    (fault,) = document["faults"]
    assert (fault["kind"], fault["case"], fault["file"]) == ("empty_file", "c04", "labelsTr/c04.nii.gz")
    assert document["error"]["code"] == "dataset.faulty"
    assert main(["check", str(root)]) == 2
    shown = capsys.readouterr()
    assert "c04" in shown.out
    assert "Copy or export the file again." in shown.out
    assert shown.err.startswith("segloop: dataset.faulty: The dataset has 1 fault")


def test_the_copy_decides_the_status(capsys: pytest.CaptureFixture[str], root: Path, tmp_path: Path) -> None:
    (root / "labelsTr" / "c04.nii.gz").unlink()
    status, document = run(capsys, root, "--fix", tmp_path / "out")
    assert status == 0
    assert document["errors"] == 1
    assert document["fixed"]["left_out"] == ["c04"]
    assert run(capsys, tmp_path / "out")[0] == 0
    kit.put(root, "c06", None, np.ones(kit.SHAPE, np.uint8))
    status, document = run(capsys, root, "--fix", tmp_path / "second")
    assert status == 2
    assert [fault["kind"] for fault in document["fixed"]["left"]] == ["full_label"]


def test_a_plan_is_checked_and_mended(capsys: pytest.CaptureFixture[str], root: Path, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(kit.plan(**{"training.augmentation.mirror_axes": [1, 2]}).to_json(), "utf-8")
    status, document = run(capsys, root, "--plan", path)
    assert (status, [fault["kind"] for fault in document["faults"]]) == (2, ["mirroring"])
    assert run(capsys, root, "--plan", path, "--fix", tmp_path / "out")[0] == 0
    assert Plan.load(tmp_path / "out" / "plan.json").training.augmentation.mirror_axes == (1,)


def test_sides_that_are_exchanged_when_mirrored_are_no_fault(
    capsys: pytest.CaptureFixture[str], root: Path, tmp_path: Path
) -> None:
    path = tmp_path / "plan.json"
    swapped = {"training.augmentation.mirror_axes": [1, 2], "training.augmentation.swap_labels": [[1, 2]]}
    path.write_text(kit.plan(**swapped).to_json(), "utf-8")
    assert run(capsys, root, "--plan", path)[0] == 0


def test_an_output_that_cannot_be_is_refused_before_the_check(capsys: pytest.CaptureFixture[str], root: Path) -> None:
    status, document = run(capsys, root, "--fix", root / "out")
    assert (status, document["error"]["code"]) == (2, "usage")
    assert "faults" not in document


def test_a_folder_without_dataset_is_input_empty(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, document = run(capsys, tmp_path / "absent", "--fix", tmp_path / "out")
    assert (status, document["error"]["code"]) == (2, "input.empty")
    assert not (tmp_path / "out").exists()


def test_many_faults_of_one_kind_are_counted(capsys: pytest.CaptureFixture[str], root: Path) -> None:
    for number in range(30):
        (root / "labelsTr" / f"extra{number:02d}.nii.gz").write_bytes(b"x")
    assert main(["check", str(root)]) == 2
    assert "and 10 more of missing_image" in capsys.readouterr().out
