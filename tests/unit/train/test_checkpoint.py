"""Checkpoints hold all of a training, are replaced whole, and refuse what does not belong."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from segloop.errors import InputError, PlanError, ServiceError
from segloop.train import checkpoint
from segloop.train.checkpoint import Point, State

STATE = State(plan="sha256:1", seed=3, fold=1, step=7, seconds=1.5, total=70, history=(Point(step=5, loss=0.5),))


def _model(width: int = 4) -> keras.Model:
    layers = [keras.Input((3,)), keras.layers.Dense(width, name="one"), keras.layers.Dense(1, name="two")]
    model = keras.Sequential(layers, name="m")
    optimizer = keras.optimizers.AdamW(0.1, use_ema=True)
    optimizer.build(model.trainable_variables)
    model.compile(optimizer, loss="mse", jit_compile=False)
    return model


def _train(model: keras.Model, steps: int) -> None:
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(8, 3)), draw.normal(size=(8, 1))
    for _ in range(steps):
        model.train_on_batch(x, y)


def test_training_goes_on_exactly_where_it_stopped(tmp_path: Path) -> None:
    whole, first, second = _model(), _model(), _model()
    first.set_weights(whole.get_weights())
    _train(whole, 6)
    _train(first, 3)
    checkpoint.save(tmp_path, STATE, first)
    checkpoint.restore(tmp_path, second)
    _train(second, 3)
    for a, b in zip(
        whole.variables + whole.optimizer.variables, second.variables + second.optimizer.variables, strict=True
    ):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-6)


def test_the_state_comes_back(tmp_path: Path) -> None:
    assert checkpoint.peek(tmp_path) is None
    checkpoint.save(tmp_path, STATE, _model())
    assert checkpoint.peek(tmp_path) == STATE
    assert [file.name for file in tmp_path.iterdir()] == [checkpoint.FILE]


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, STATE, _model())
    file = tmp_path / checkpoint.FILE
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(InputError, match=checkpoint.FILE):
        checkpoint.peek(tmp_path)


def test_another_network_is_refused(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, STATE, _model())
    with pytest.raises(PlanError, match="another network"):
        checkpoint.restore(tmp_path, _model(width=5))


def test_another_plan_seed_or_fold_is_refused_by_name() -> None:
    checkpoint.require_same_run(STATE, "sha256:1", 3, 1)
    with pytest.raises(PlanError, match="fold 1 before, None now"):
        checkpoint.require_same_run(STATE, "sha256:1", 3, None)
    with pytest.raises(PlanError, match="plan"):
        checkpoint.require_same_run(STATE, "sha256:2", 3, 1)


def test_other_cases_are_refused_where_they_were_noted() -> None:
    noted = STATE.model_copy(update={"cases": "sha256:a"})
    checkpoint.require_same_run(noted, "sha256:1", 3, 1, "sha256:a")
    checkpoint.require_same_run(STATE, "sha256:1", 3, 1, "sha256:a")
    with pytest.raises(PlanError, match="not those it began with") as caught:
        checkpoint.require_same_run(noted, "sha256:1", 3, 1, "sha256:b")
    assert caught.value.found == ["cases"]


def test_a_failed_write_keeps_the_older_checkpoint(tmp_path: Path) -> None:
    model = _model()
    checkpoint.save(tmp_path, STATE, model)
    (tmp_path / f".{checkpoint.FILE}.tmp").mkdir()
    with pytest.raises(ServiceError, match="kept"):
        checkpoint.save(tmp_path, STATE.model_copy(update={"step": 8}), model)
    assert checkpoint.peek(tmp_path) == STATE
