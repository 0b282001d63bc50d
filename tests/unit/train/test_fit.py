"""`fit` from files to a bundle that the production `Segmenter` loads, with resume and time budget."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from segloop.data import shelf
from segloop.data.dataset import Dataset
from segloop.errors import ModelError, PlanError
from segloop.infer.bundle import Bundle
from segloop.infer.engine import Segmenter
from segloop.train import checkpoint, fit
from segloop.train.precision import instruction_set, policy, threads
from training_kit import plan, write_dataset


@pytest.fixture(scope="module")
def balls(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write_dataset(tmp_path_factory.mktemp("balls"))


def test_a_run_learns_and_leaves_everything_it_promises(balls: Dataset, tmp_path: Path) -> None:
    told = []
    result = fit(plan(), balls, tmp_path, fold=0, command="segloop train", progress=lambda *a: told.append(a))
    assert result.steps == 40
    assert result.dice["ball"] > 0.8
    bundle = Bundle(result.bundle)
    held = balls.split(5)[0][1]
    provenance = bundle.manifest.provenance
    assert set(provenance.training_images) == {case.id for case in balls.cases} - set(held)
    assert provenance.training_voxels == {
        case.id: balls.voxels_digest(case) for case in balls.cases if case.id not in held
    }
    assert (provenance.fold, provenance.folds, provenance.steps) == (0, 5, 40)
    assert provenance.instruction_set == instruction_set()
    assert provenance.threads == threads()
    volume, labels = balls.read(balls.case(held[0]))
    found = Segmenter(bundle, runtime="tensorflow")(volume).labels.array
    overlap = 2 * (found & labels.array).sum() / (found.sum() + labels.array.sum())
    assert overlap > 0.8
    assert {epoch for epoch, *_ in told} - {0} == {1, 2, 3, 4}
    assert [epoch for epoch, *_ in told] == sorted(epoch for epoch, *_ in told)
    assert told[-1][:2] == (4, 4)
    assert list((tmp_path / "logs").rglob("events*"))
    report = result.report.read_text("utf-8")
    assert "<polyline" in report
    assert "http" not in report
    for heading in ("## Data", "## Metrics", "## Intended use", "## Limits"):
        assert heading in bundle.card


def test_cases_that_are_too_many_for_memory_are_learnt_from_a_file(
    balls: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelf, "MEMORY_BYTES", 1000)
    result = fit(plan(), balls, tmp_path, fold=0)
    assert result.dice["ball"] > 0.8
    assert {path.name for path in tmp_path.iterdir()} == {
        "bundle",
        "checkpoint",
        "logs",
        "report.html",
        "augmentation.png",
    }


def test_a_resumed_run_goes_on_counting_and_refuses_another_plan(balls: Dataset, tmp_path: Path) -> None:
    first = plan(epochs=2)
    fit(first, balls, tmp_path, seed=1)
    saved = checkpoint.peek(tmp_path / "checkpoint")
    assert saved is not None
    assert saved.step == 20
    result = fit(first, balls, tmp_path, seed=1, epochs=3, resume=True)
    assert result.steps == 30
    assert Bundle(result.bundle).manifest.provenance.steps == 30
    with pytest.raises(PlanError, match="resumed"):
        fit(plan(epochs=2, learning_rate=1e-3), balls, tmp_path, seed=1, resume=True)


@pytest.mark.long
def test_a_time_budget_is_met_from_the_start_of_the_command(balls: Dataset, tmp_path: Path) -> None:
    started = time.monotonic()
    result = fit(plan(), balls, tmp_path, fold=1, time_budget_s=60.0, started=started)
    assert time.monotonic() - started == pytest.approx(60, rel=0.25)
    assert result.steps > 10
    state = checkpoint.peek(tmp_path / "checkpoint")
    assert state is not None
    assert state.step == state.total == result.steps


@pytest.mark.long
def test_a_finished_run_given_more_time_goes_on(balls: Dataset, tmp_path: Path) -> None:
    first = fit(plan(), balls, tmp_path, fold=1, time_budget_s=20.0)
    same = fit(plan(), balls, tmp_path, fold=1, time_budget_s=20.0, resume=True)
    longer = fit(plan(), balls, tmp_path, fold=1, time_budget_s=first.seconds + same.seconds + 25.0, resume=True)
    assert same.steps == first.steps
    assert longer.steps > first.steps


def test_a_diverging_run_stops_with_its_code_and_keeps_the_checkpoint(balls: Dataset, tmp_path: Path) -> None:
    healthy = plan(epochs=3)
    fit(healthy, balls, tmp_path)
    before = checkpoint.peek(tmp_path / "checkpoint")
    with np.load(tmp_path / "checkpoint" / checkpoint.FILE) as archive:
        arrays = {name: archive[name] for name in archive.files}
    poisoned = next(name for name in arrays if name.startswith("weight/") and "kernel" in name)
    arrays[poisoned] = np.full_like(arrays[poisoned], np.nan)
    np.savez(tmp_path / "checkpoint" / checkpoint.FILE, **arrays)
    with pytest.raises(ModelError, match="became nan") as fault:
        fit(healthy, balls, tmp_path, epochs=6, resume=True)
    assert fault.value.code == "train.diverged"
    assert checkpoint.peek(tmp_path / "checkpoint") == before


def test_a_fold_that_does_not_exist_is_refused(balls: Dataset, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="no fold 5"):
        fit(plan(), balls, tmp_path, fold=5)


def test_precision_asked_for_is_taken() -> None:
    assert policy("float32") == "float32"
    assert policy("auto") in {"float32", "mixed_bfloat16"}
