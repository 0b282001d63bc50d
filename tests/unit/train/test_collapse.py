"""A network that has given up is noticed, said so in words, and ended with the checkpoint from before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from segloop.data.dataset import Dataset
from segloop.data.feed import Example
from segloop.errors import ModelError
from segloop.infer.bundle import Bundle
from segloop.infer.engine import Segmenter
from segloop.plan import IGNORED
from segloop.train import checkpoint, fit
from segloop.train.checkpoint import State
from segloop.train.collapse import COLLAPSED, GOOD, MISSED, Collapse, Look, advice, probe
from segloop.train.loop import Run
from segloop.train.schedule import Clock, Schedule
from training_kit import plan, write_cases

GOOD_LOOK = Look(np.array([40.0]), np.array([50.0]), 40.0, 50.0, 1000.0)
NOTHING = Look(np.array([0.0]), np.array([50.0]), 0.0, 50.0, 1000.0)
EVERYTHING = Look(np.array([1000.0]), np.array([50.0]), 1000.0, 50.0, 1000.0)


def _run(total: int = 1000) -> Run:
    return Run(plan(), State(plan="", seed=0, fold=None), Clock(), Schedule(total), lambda: 0.0)


@pytest.mark.parametrize(
    ("look", "fault", "missed"),
    [
        (GOOD_LOOK, None, ()),
        (NOTHING, "nothing", (0,)),
        (EVERYTHING, "everything", ()),
        # Both labels are there and one is found.
        (Look(np.array([40.0, 0.0]), np.array([50.0, 9.0]), 40.0, 59.0, 1000.0), None, (1,)),
        # A label is found, but not where one is.
        (Look(np.array([0.0, 30.0]), np.array([50.0, 0.0]), 30.0, 50.0, 1000.0), None, (0,)),
        # Nothing to find.
        (Look(np.array([0.0]), np.array([0.0]), 0.0, 0.0, 1000.0), None, ()),
        # Foreground everywhere is what the experts say as well.
        (Look(np.array([1000.0]), np.array([990.0]), 1000.0, 990.0, 1000.0), None, ()),
    ],
)
def test_what_is_a_collapse_and_what_is_not(look: Look, fault: str | None, missed: tuple[int, ...]) -> None:
    assert look.fault == fault
    assert look.missed == missed


@pytest.mark.parametrize("look", [NOTHING, EVERYTHING], ids=["nothing", "everything"])
def test_a_stretch_is_warned_of_once_and_a_long_one_ends_the_training(look: Look, tmp_path: Path) -> None:
    run = _run()
    watcher = Collapse(run, None, [], tmp_path)
    for run.step in range(50, 450, 50):
        watcher.judge(look)
    (notice,) = run.notices
    assert notice.kind == COLLAPSED
    assert notice.step == 150
    assert "--set" in notice.text
    run.step = 450
    with pytest.raises(ModelError, match="never found any before") as fault:
        watcher.judge(look)
    assert fault.value.code == "train.collapsed"
    assert "learning_rate" in str(fault.value)


def test_finding_something_begins_the_count_anew(tmp_path: Path) -> None:
    run = _run()
    watcher = Collapse(run, None, [], tmp_path)
    for run.step in range(50, 1001, 50):
        watcher.judge(GOOD_LOOK if run.step % 350 == 0 else NOTHING)
    assert len(run.notices) == 3


def test_the_checkpoint_from_before_the_collapse_is_what_is_left(tmp_path: Path) -> None:
    run, newest = _run(), tmp_path / checkpoint.FILE
    watcher = Collapse(run, None, [], tmp_path)

    def save(text: str) -> None:
        (tmp_path / "tmp").write_text(text, "utf-8")
        (tmp_path / "tmp").replace(newest)

    for run.step in range(50, 451, 50):
        save(f"step {run.step}")
        watcher.judge(GOOD_LOOK if run.step <= 100 else NOTHING)
    run.step = 550
    save("step 550")
    with pytest.raises(ModelError, match="last one at which it did better"):
        watcher.judge(NOTHING)
    assert newest.read_text("utf-8") == "step 100"
    assert not (tmp_path / GOOD).exists()


def test_a_label_that_is_missed_among_others_is_named(tmp_path: Path) -> None:
    run = _run()
    run.plan = plan().changed(
        {
            "labels": [{"value": 1, "name": "liver"}, {"value": 2, "name": "tumour"}],
            "network.classes": 3,
        }
    )
    watcher = Collapse(run, None, [], tmp_path)
    for run.step in range(50, 1001, 50):
        watcher.judge(Look(np.array([40.0, 0.0]), np.array([50.0, 9.0]), 40.0, 59.0, 1000.0))
    (notice,) = run.notices
    assert notice.kind == MISSED
    assert "no tumour" in notice.text
    assert "label_shares" in notice.text


def test_advice_fits_the_plan() -> None:
    blind = plan(dice_weight=0.0, foreground_fraction=0.1)
    assert "dice_weight=1" in advice(blind, "nothing")
    assert "foreground_fraction=0.5" in advice(blind, "nothing")
    eager = plan(cross_entropy_weight=0.0, loss={"overlap": "tversky"}, foreground_fraction=1.0)
    text = advice(eager, "everything")
    assert "cross_entropy_weight=1" in text
    assert "alpha=0.5" in text
    assert "foreground_fraction=0.5" in text


def test_probes_are_full_batches_in_which_every_label_lies() -> None:
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[0, 0, 0], labels[19, 19, 19], labels[0, 19, :] = 1, 1, IGNORED
    examples = [Example(str(i), np.zeros((20, 20, 20, 1), np.float32), labels * (i == 2)) for i in range(4)]
    (batch,) = probe(examples, plan(patch=(8, 8, 8), batch=3).changed({"inference.patch": [8, 8, 8]}))
    image, target = batch
    assert image.shape == (3, 8, 8, 8, 1)
    assert (target == 1).any(axis=(1, 2, 3)).all()
    assert probe(examples[:2], plan()) == []


def _needles(folder: Path) -> Dataset:
    """27 voxels a little brighter than the noise in 8,000."""
    draw = np.random.default_rng(0)
    pairs = []
    for _ in range(4):
        labels = np.zeros((20, 20, 20), bool)
        z, y, x = draw.integers(3, 15, 3)
        labels[z : z + 3, y : y + 3, x : x + 3] = True
        pairs.append((draw.normal(0, 10, labels.shape) + 12 * labels, labels))
    return write_cases(folder, pairs, labels={"0": "background", "1": "ball"})


@pytest.mark.long
def test_plain_cross_entropy_gives_up_on_a_tiny_label_and_dice_on_focused_patches_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segloop.train.collapse._STEPS_BETWEEN", 10)
    dataset = _needles(tmp_path / "data")
    blind = plan(dice_weight=0.0, foreground_fraction=0.0, epochs=10, augmentation={"mirror_axes": [0, 1, 2]})
    with pytest.raises(ModelError, match="calls every voxel background") as fault:
        fit(blind, dataset, tmp_path / "blind")
    assert fault.value.code == "train.collapsed"
    state = checkpoint.peek(tmp_path / "blind" / "checkpoint")
    assert state is not None
    assert state.step < 100
    seeing = blind.changed(
        {"training.dice_weight": 1.0, "training.foreground_fraction": 1.0, "training.learning_rate": 4e-3}
    )
    result = fit(seeing, dataset, tmp_path / "seeing")
    assert result.steps == 100
    assert not (tmp_path / "seeing" / "checkpoint" / GOOD).exists()
    volume, truth = dataset.read(dataset.cases[0])
    found = Segmenter(Bundle(result.bundle), runtime="tensorflow")(volume).labels.array
    assert (found & truth.array).any()
