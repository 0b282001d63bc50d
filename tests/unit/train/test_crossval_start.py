"""A cross-validation whose trainings start from another model: from one that has seen none of its cases."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

import tiny_models
from segloop.cli import main
from segloop.errors import InputError, PlanError
from segloop.train.crossval import Length, cross_validate
from segloop.train.folds import make_folds
from segloop.train.stages import Stages, Start
from training_kit import plan, write_dataset


@pytest.mark.long
def test_every_training_starts_there_and_none_is_done_twice(tmp_path: Path) -> None:
    balls, source, told = write_dataset(tmp_path / "balls", 3), tiny_models.bundle(), list[str]()
    folds = make_folds(balls, 3)
    length, start = Length(epochs=1), Start(source)
    recipe = plan(steps_per_epoch=2, batch=1)
    run = Stages(recipe, balls, tmp_path / "run", folds, length, start, 0, "1.0", "", "tensorflow", told.append, None)
    run.begin(resume=False)
    fold = folds[0]
    sides = (fold.training, fold.held_out)
    made = run.train(run.folder(0), sides, 0, "fold 0").manifest.provenance
    assert made.init == f"tiny 1.0 {source.digest}"
    assert set(made.training_images) == {"tiny/a", *fold.training}
    assert len(told) == 1
    run.train(run.folder(0), sides, 0, "fold 0")
    assert len(told) == 1
    other = Stages(
        recipe, balls, tmp_path / "run", folds, length, Start(), 0, "1.0", "", "tensorflow", told.append, None
    )
    with pytest.raises(PlanError, match="start changed"):
        other.begin(resume=True)


def test_a_model_that_has_seen_a_case_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    balls, source = write_dataset(tmp_path / "balls", 3), tiny_models.bundle()
    images = {"other/x": balls.digest(balls.case("c1"))}
    provenance = source.manifest.provenance.model_copy(update={"training_images": images})
    known = SimpleNamespace(manifest=source.manifest.model_copy(update={"provenance": provenance}))
    with pytest.raises(InputError, match="c1") as caught:
        cross_validate(plan(), balls, tmp_path / "run", make_folds(balls, 3), init=known)
    assert caught.value.code == "dataset.leak"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "status"),
    [(["--init", "no-such-model"], "model.unknown", 4), (["--encoder", "resnet50"], "usage", 2)],
)
def test_a_start_that_cannot_be_is_refused(
    arguments: list[str], code: str, status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_dataset(tmp_path / "data", cases=3)
    words = ["cross-validate", str(tmp_path / "data"), "-o", str(tmp_path / "run"), "--folds", "3", *arguments]
    assert main([*words, "--json"]) == status
    assert json.loads(capsys.readouterr().out)["error"]["code"] == code
