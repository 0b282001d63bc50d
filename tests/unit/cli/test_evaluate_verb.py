"""`segloop evaluate`: which cases it is told to score."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import tiny_models
import training_kit
from segloop.cli import main
from segloop.cli.verbs.evaluate import _listed


@pytest.mark.parametrize(
    ("content", "code"), [(None, "input.unreadable"), (b"\xff\xfe\x00", "input.unreadable"), (b" \n\n", "usage")]
)
def test_a_list_without_cases_is_an_error_and_not_an_empty_score(
    content: bytes | None, code: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training_kit.write_dataset(tmp_path / "data", cases=1)
    if content is not None:
        (tmp_path / "ids.txt").write_bytes(content)
    words = ["evaluate", str(tiny_models.bundle().path), str(tmp_path / "data"), "--cases", str(tmp_path / "ids.txt")]
    assert main([*words, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == code


def test_a_list_may_come_from_any_editor_and_counts_each_case_once(tmp_path: Path) -> None:
    path = tmp_path / "ids.txt"
    path.write_bytes("\ufeff病例一\r\nc1 \r\n\r\n病例一\r\n".encode())
    assert _listed(path) == ("病例一", "c1")


@pytest.mark.parametrize("words", [["train"], ["cross-validate"], ["predict", "model"], ["explain", "model"]])
def test_a_file_where_a_folder_is_to_be_is_refused_first(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    more = ["--label", "1"] if words[0] == "explain" else []
    assert main([*words, str(tmp_path / "data"), "-o", str(tmp_path / "file"), *more]) == 2
    assert "is a file" in capsys.readouterr().err


def test_a_folder_for_the_scores_is_refused_before_anything_is_scored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "model", str(tmp_path / "data"), "-o", str(tmp_path)]) == 2
    assert "is a folder" in capsys.readouterr().err


def test_a_fold_is_one_of_the_bundles_own_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    training_kit.write_dataset(tmp_path / "data", cases=6)
    shutil.copytree(tiny_models.bundle().path, tmp_path / "bundle")
    manifest = tmp_path / "bundle" / "manifest.json"
    document = json.loads(manifest.read_text("utf-8"))
    document["provenance"] |= {"fold": 0, "folds": 2}
    manifest.write_text(json.dumps(document), "utf-8")
    words = ["evaluate", str(tmp_path / "bundle"), str(tmp_path / "data"), "--fold", "2"]
    assert main(words) == 2
    assert "0 to 1" in capsys.readouterr().err
    assert main([*words, "--folds", "3"]) == 2
    assert "labels.mismatch" in capsys.readouterr().err
