"""`cross_validate` from a dataset to models, metrics and report: killed on the way, and nothing is done twice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from segloop.cli import main
from segloop.data.dataset import Dataset
from segloop.errors import InputError, PlanError
from segloop.infer import Bundle, Segmenter
from segloop.io import files
from segloop.train.crossval import Length, Validated, cross_validate, evaluate
from segloop.train.folds import make_folds
from segloop.train.postchoice import PostChoice
from segloop.train.scores import read_scores
from segloop.volume import Labels
from training_kit import plan, write_dataset

pytestmark = pytest.mark.timeout(900)

FOLDS = 2
TRAINED = "training on"


class KilledError(Exception):
    """Ends a run in the middle, as a kill would."""


@pytest.fixture(scope="module")
def balls(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write_dataset(tmp_path_factory.mktemp("balls"), cases=6)


@pytest.fixture(scope="module")
def run(balls: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Validated, Path, list[str]]:
    """Killed when the second fold begins, then gone on with; what was told after the kill."""
    out = tmp_path_factory.mktemp("cv") / "run"
    told: list[str] = []

    def validate(resume: bool, listen) -> Validated:
        length = Length(epochs=4, every_case=False)
        folds = make_folds(balls, FOLDS)
        return cross_validate(plan(), balls, out, folds, length=length, resume=resume, runtime="openvino", told=listen)

    def kill(text: str) -> None:
        if text.startswith("fold 1"):
            raise KilledError

    with pytest.raises(KilledError):
        validate(False, kill)
    first = (out / "fold0" / "bundle" / "manifest.json").read_bytes()
    with pytest.raises(InputError, match="--resume"):
        validate(False, told.append)
    found = validate(True, told.append)
    assert (out / "fold0" / "bundle" / "manifest.json").read_bytes() == first
    return found, out, told


def test_only_what_was_missing_is_done_after_a_kill(run: tuple[Validated, Path, list[str]]) -> None:
    _, _, told = run
    assert [text for text in told if TRAINED in text] == ["fold 1: training on 3 cases, 3 held out"]


def test_every_case_is_scored_by_the_model_that_did_not_see_it(
    run: tuple[Validated, Path, list[str]], balls: Dataset
) -> None:
    found, out, _ = run
    scores = read_scores(out / "metrics.json")
    assert [case.id for case in scores.cases] == [case.id for case in balls.cases]
    assert not any(case.training_case for case in scores.cases)
    assert scores.mean_dice == found.mean_dice
    assert scores.mean_dice > 0.8
    assert scores.model.digest == Bundle(found.ensemble).digest
    for fold in make_folds(balls, FOLDS):
        bundle = Bundle(out / f"fold{fold.number}" / "final")
        own = evaluate(bundle, balls, fold.held_out, runtime="openvino")
        expected = {case.id: case.mean_dice for case in own.cases}
        assert {c.id: c.mean_dice for c in scores.cases if c.id in expected} == expected


def test_what_was_chosen_is_in_every_model_and_on_record(run: tuple[Validated, Path, list[str]]) -> None:
    found, out, _ = run
    choice = PostChoice.model_validate_json((out / "postprocessing.json").read_bytes())
    assert choice.cases == 6
    assert choice.trials
    for fold in range(FOLDS):
        assert Bundle(out / f"fold{fold}" / "final").plan == choice.plan
    ensemble = Bundle(found.ensemble)
    assert [member.plan for member, _ in ensemble.members()] == [choice.plan] * FOLDS
    assert ensemble.plan.post == choice.plan.post
    assert ensemble.plan.inference.temperature == 1
    assert ensemble.manifest.metrics["out_of_fold_mean_dice"] == found.mean_dice
    assert ensemble.manifest.intervals == found.intervals
    assert "predicted, through the production `Segmenter`" in ensemble.card
    assert "out-of-fold predictions" in choice.plan.reasons[-1]


def test_the_ensemble_segments_and_no_case_is_new_to_it(run: tuple[Validated, Path, list[str]], balls: Dataset) -> None:
    ensemble = Bundle(run[0].ensemble)
    volume, labels = balls.read(balls.cases[0])
    found = Segmenter(ensemble, "openvino")(volume).labels.array
    assert 2 * (found & labels.array).sum() / (found.sum() + labels.array.sum()) > 0.8
    for case in balls.cases:
        with pytest.raises(InputError) as caught:
            evaluate(ensemble, balls, [case.id], runtime="openvino")
        assert caught.value.code == "bundle.training_case"


def test_the_page_shows_what_was_found(run: tuple[Validated, Path, list[str]]) -> None:
    found, _, _ = run
    page = found.report.read_text("utf-8")
    for fact in found.facts:
        assert fact.name in page
    assert {"Temperature", "Ensemble of folds"} <= {fact.name for fact in found.facts}
    assert "2 models" in page


def test_it_does_not_go_on_with_something_else(
    run: tuple[Validated, Path, list[str]], balls: Dataset, tmp_path: Path
) -> None:
    _, out, _ = run
    length = Length(epochs=4)
    with pytest.raises(PlanError, match="plan changed"):
        cross_validate(plan(batch=1), balls, out, make_folds(balls, FOLDS), length=length, resume=True)
    with pytest.raises(PlanError, match="held_out"):
        cross_validate(plan(), balls, out, make_folds(balls, 3), length=length, resume=True)
    corrected = Dataset.load(shutil.copytree(balls.root, tmp_path / "corrected"))
    label = corrected.cases[0].label
    labels = files.read_labels(label, {})
    files.write(Labels(np.roll(labels.array, 1, 2), labels.geometry), label)
    with pytest.raises(PlanError, match="labels changed"):
        cross_validate(plan(), corrected, out, make_folds(corrected, FOLDS), length=length, resume=True)


def test_metrics_are_compared_case_by_case(
    run: tuple[Validated, Path, list[str]], balls: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = run
    words = ["evaluate", str(out / "fold0" / "final"), str(balls.root), "--fold", "0", "--folds", str(FOLDS)]
    words += ["--runtime", "openvino", "--against", str(out / "metrics.json"), "--json"]
    assert main(words) == 0
    against = json.loads(capsys.readouterr().out)["against"]
    assert (against["cases"], against["difference"]) == (3, 0)
    assert np.allclose(against["ci95"], 0)


@pytest.mark.long
def test_one_command_does_all_of_it(balls: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "plan.json"
    recipe.write_text(plan().to_json(), "utf-8")
    words = ["cross-validate", str(balls.root), "-o", str(tmp_path / "run"), "--plan", str(recipe), "--folds", "2"]
    words += ["--epochs", "3", "--learning-curve", "--runtime", "openvino", "--json"]
    assert main(words) == 0
    document = json.loads(capsys.readouterr().out)
    bundle = Bundle(Path(document["bundle"]))
    assert len(bundle.manifest.provenance.training_images) == 6
    assert bundle.manifest.provenance.fold is None
    assert "trained on every case" in bundle.card
    assert bundle.plan == Bundle(tmp_path / "run" / "fold0" / "final").plan
    assert (tmp_path / "run" / "learning").is_dir()
    assert "More cases" in Path(document["report"]).read_text("utf-8")
    assert main(words) == 2
