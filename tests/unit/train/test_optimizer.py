"""Parts of a network at rates of their own, in an optimiser that otherwise is AdamW."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from segloop.errors import PlanError
from segloop.nets import build_unet
from segloop.plan import NetworkSpec, TrainingSpec
from segloop.train import checkpoint
from segloop.train.checkpoint import State
from segloop.train.optimizer import AveragingAdamW, StagedAdamW, optimizer_for, stages

GROUPS = {"first/kernel": 0, "first/bias": 0, "second/kernel": 1, "second/bias": 1}
OPTIONS = {
    "learning_rate": 1e-2,
    "weight_decay": 1e-2,
    "global_clipnorm": 1.0,
    "use_ema": True,
    "ema_momentum": 0.9,
}


def _model(optimizer: keras.optimizers.Optimizer, dtype: str = "float32") -> keras.Model:
    inputs = keras.Input((6,))
    x = inputs
    for seed, name in enumerate(("first", "second", "third")):
        draw = keras.initializers.HeNormal(seed=seed)
        x = keras.layers.Dense(5, "tanh", kernel_initializer=draw, name=name, dtype=dtype)(x)
    model = keras.Model(inputs, keras.layers.Dense(1, name="last", kernel_initializer="ones", dtype="float32")(x))
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.build(model.trainable_variables)
    model.compile(optimizer, loss="mse", jit_compile=False)
    return model


def _train(model: keras.Model, first: int, last: int) -> None:
    for step in range(first, last):
        draw = np.random.default_rng(step)
        x = draw.normal(size=(8, 6)).astype(np.float32)
        model.train_on_batch(x, x.sum(1, keepdims=True))


def _values(model: keras.Model, *names: str) -> list[np.ndarray]:
    return [np.array(v) for v in model.trainable_variables if not names or v.path.split("/")[0] in names]


def _equal(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_with_all_factors_one_it_is_adamw() -> None:
    plain, staged = _model(AveragingAdamW(**OPTIONS)), _model(StagedAdamW(groups=GROUPS, **OPTIONS))
    _train(plain, 0, 6)
    _train(staged, 0, 6)
    for ours, theirs in zip(staged.trainable_variables, plain.trainable_variables, strict=True):
        np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), atol=1e-6, err_msg=ours.path)
    averages = [m.optimizer._model_variables_moving_average for m in (staged, plain)]
    for ours, theirs in zip(*averages, strict=True):
        np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), atol=1e-6)


def test_the_average_spans_a_tenth_of_the_steps_until_its_decay_spans_fewer() -> None:
    model = _model(AveragingAdamW(**OPTIONS | {"ema_momentum": 0.4}))
    expected: list[np.ndarray] = []
    for step in range(12):
        _train(model, step, step + 1)
        decay = min(0.4, (1 + step) / (10 + step)) if step else 0.0
        new = _values(model)
        expected = [decay * old + (1 - decay) * now for old, now in zip(expected or new, new, strict=True)]
        for ours, theirs in zip(model.optimizer._model_variables_moving_average, expected, strict=True):
            np.testing.assert_allclose(np.asarray(ours), theirs, atol=1e-6)
    assert model.optimizer.get_config()["ema_momentum"] == 0.4


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_what_is_frozen_stays_bit_for_bit_and_moves_at_its_lower_rate_afterwards(dtype: str) -> None:
    model = _model(StagedAdamW(groups=GROUPS, **OPTIONS), dtype)
    model.optimizer.factors.assign([0.0, 1.0])
    before, others = _values(model, "first"), _values(model, "second", "third", "last")
    _train(model, 0, 5)
    assert _equal(_values(model, "first"), before)
    assert not any(np.array_equal(a, b) for a, b in zip(_values(model, "second", "third", "last"), others, strict=True))

    steps = []
    for factor in (0.1, 1.0):
        twin = _model(StagedAdamW(groups=GROUPS, **OPTIONS), dtype)
        twin.optimizer.factors.assign([0.0, 1.0])
        _train(twin, 0, 5)
        twin.optimizer.factors.assign([factor, 1.0])
        start = _values(twin, "first")
        _train(twin, 5, 6)
        steps.append([b - a for a, b in zip(start, _values(twin, "first"), strict=True)])
    for slow, full in zip(*steps, strict=True):
        assert np.abs(full).max() > 0
        np.testing.assert_allclose(slow, full / 10, atol=1e-6)


def test_a_variable_that_joins_late_starts_with_settled_moments() -> None:
    model = _model(StagedAdamW(groups=GROUPS, **OPTIONS))
    model.optimizer.factors.assign([0.0, 0.0])
    _train(model, 0, 30)
    model.optimizer.factors.assign([1.0, 1.0])
    before = _values(model, "first")
    _train(model, 30, 31)
    moved = max(np.abs(b - a).max() for a, b in zip(before, _values(model, "first"), strict=True))
    # A first Adam step with moments of zero, but the bias correction of the 31st, would be 3.2 times the rate.
    assert moved < 2 * OPTIONS["learning_rate"]


def test_a_restored_training_goes_on_as_if_never_stopped(tmp_path: Path) -> None:
    whole, first, second = (_model(StagedAdamW(groups=GROUPS, **OPTIONS)) for _ in range(3))
    for model in (whole, first):
        model.optimizer.factors.assign([0.0, 0.5])
    _train(whole, 0, 8)
    _train(first, 0, 4)
    checkpoint.save(tmp_path, State(plan="p", seed=0, fold=None), first)
    checkpoint.restore(tmp_path, second)
    np.testing.assert_array_equal(np.asarray(second.optimizer.factors), [0.0, 0.5])
    _train(second, 4, 8)
    assert _equal(_values(second), _values(whole))


def test_the_way_down_is_staged_only_where_weights_come_from_elsewhere_and_the_plan_says_so() -> None:
    spec = NetworkSpec(features=(4, 8), kernels=((3, 3, 3),) * 2, strides=((1, 1, 1), (2, 2, 2)), deep_supervision=1)
    model, frozen = build_unet(spec), TrainingSpec(frozen_fraction=0.2)
    assert type(optimizer_for(TrainingSpec(), spec, model, pretrained=True)) is AveragingAdamW
    assert isinstance(optimizer_for(frozen, spec, model, pretrained=True), StagedAdamW)
    found = stages(frozen, spec, model)
    assert {path.split("_")[0]: stage for path, stage in found.items()} == {"down0": 0, "down1": 1}
    with pytest.raises(PlanError, match="drawn"):
        optimizer_for(frozen, spec, model, pretrained=False)
