"""When each stage of a pretrained way down joins, and how fast it then learns."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import training_kit
from segloop.nets import build_unet, deploy
from segloop.train.checkpoint import State
from segloop.train.loop import Run
from segloop.train.optimizer import optimizer_for
from segloop.train.schedule import Clock, Schedule
from segloop.train.unfreezing import Unfreezing, stage_factors

fractions = st.floats(0, 0.99)


@given(fractions, st.integers(1, 8), fractions, st.floats(0.01, 1))
def test_deeper_stages_join_earlier_and_learn_faster(progress: float, stages: int, frozen: float, rate: float) -> None:
    factors = stage_factors(progress, stages, frozen, rate)
    assert len(factors) == stages
    assert list(factors) == sorted(factors)
    assert max(factors) <= rate
    later = stage_factors(min(1.0, progress + 0.05), stages, frozen, rate)
    assert all(b >= a for a, b in zip(factors, later, strict=True))


@given(st.integers(1, 8), fractions, st.floats(0.01, 1))
def test_all_stay_at_first_and_all_have_joined_at_the_end(stages: int, frozen: float, rate: float) -> None:
    expected = tuple(rate * 0.5 ** (stages - 1 - stage) for stage in range(stages))
    assert stage_factors(1.0, stages, frozen, rate) == pytest.approx(expected)
    before = stage_factors(frozen - 1e-6, stages, frozen, rate) if frozen > 1e-3 else (0.0,) * stages
    assert before == (0.0,) * stages


def test_they_join_one_after_the_other() -> None:
    joined = [sum(f > 0 for f in stage_factors(p, 4, 0.2, 0.1)) for p in (0.19, 0.2, 0.27, 0.34, 0.4, 0.5)]
    assert joined == [0, 1, 2, 3, 4, 4]


def test_the_way_down_stays_as_it_is_and_then_moves_stage_by_stage() -> None:
    plan = training_kit.plan(frozen_fraction=0.4, encoder_rate=0.5)
    model = deploy(build_unet(plan.network, seed=1))
    model.compile(
        optimizer_for(plan.training, plan.network, model, pretrained=True),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    run = Run(plan, State(plan="p", seed=0, fold=None), Clock(), Schedule(10), lambda: 0.0)
    callback = Unfreezing(run)
    callback.set_model(model)
    image = np.random.default_rng(0).normal(size=(1, 16, 16, 16, 1)).astype(np.float32)
    labels = (image[..., 0] > 0).astype(np.uint8)
    moved: list[tuple[str, ...]] = []
    for step in range(10):
        run.step = step
        before = {v.path: np.array(v) for v in model.trainable_variables}
        callback.on_train_batch_begin(step)
        model.train_on_batch(image, labels)
        changed = {path.split("_")[0] for path, old in before.items() if not np.array_equal(old, _of(model, path))}
        moved.append(tuple(sorted(part for part in changed if part.startswith("down"))))
        assert any(part.startswith("up") for part in changed)
    # The deepest joins at 0.4, the other at 0.4 + min(0.4, 0.6 / 2) = 0.7.
    assert moved == [()] * 4 + [("down1",)] * 3 + [("down0", "down1")] * 3


def _of(model: keras.Model, path: str) -> np.ndarray:
    return next(np.asarray(v) for v in model.trainable_variables if v.path == path)
