"""Gradients per layer: measured without a trace, and a warning when they vanish or explode."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from segloop.train.board import Gradients
from segloop.train.checkpoint import Notice, State
from segloop.train.compiling import compiled
from segloop.train.gradients import EXPLODE, VANISH, LayerGradient, gradient_notices, layer_gradients
from segloop.train.running import Run
from segloop.train.schedule import Clock, Schedule
from training_kit import plan

CLIP, EPSILON = 12.0, 1e-7


@pytest.fixture
def network() -> keras.Model:
    return compiled(plan(), 0, "float32")


@pytest.fixture(scope="module")
def batch() -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    image = draw.normal(size=(1, 16, 16, 16, 1)).astype(np.float32)
    return image, (image[..., 0] > 0.5).astype(np.uint8)


def notices(network: keras.Model, batch: tuple[np.ndarray, np.ndarray]) -> tuple[Notice, ...]:
    return gradient_notices(layer_gradients(network, *batch), 50, clip=CLIP, epsilon=EPSILON)


def test_a_healthy_network_gets_no_warning_and_is_left_as_it_was(network: keras.Model, batch: tuple) -> None:
    before = [ops.convert_to_numpy(v).copy() for v in (*network.variables, *network.optimizer.variables)]
    layers = layer_gradients(network, *batch)
    assert {g.layer for g in layers} == {v.path.rsplit("/", 1)[0] for v in network.trainable_variables}
    assert sum(g.weights for g in layers) == network.count_params()
    assert all(0 < g.norm < CLIP for g in layers)
    assert gradient_notices(layers, 50, clip=CLIP, epsilon=EPSILON) == ()
    after = (*network.variables, *network.optimizer.variables)
    assert all(np.array_equal(old, ops.convert_to_numpy(new)) for old, new in zip(before, after, strict=True))


def test_the_norm_is_that_of_the_losss_slope(network: keras.Model, batch: tuple) -> None:
    image, labels = batch
    slopes, small = [], 1e-2
    for variable in (v for v in network.trainable_variables if v.path.startswith("logits0/")):
        base = ops.convert_to_numpy(variable).copy()
        for i in range(base.size):
            offset = (np.arange(base.size) == i).reshape(base.shape) * small
            losses = []
            for sign in (1, -1):
                variable.assign(base + sign * offset)
                losses.append(float(network.loss[0](labels, network(image))))
            slopes.append((losses[0] - losses[1]) / (2 * small))
        variable.assign(base)
    found = next(g for g in layer_gradients(network, image, labels) if g.layer == "logits0")
    assert found.weights == len(slopes)
    assert found.norm == pytest.approx(np.linalg.norm(slopes), rel=0.02)


def test_a_scale_of_zero_makes_the_gradients_before_it_vanish(network: keras.Model, batch: tuple) -> None:
    dead = next(v for v in network.trainable_variables if v.path == "down1_1_norm/gamma")
    dead.assign(np.zeros(dead.shape))
    (found,) = notices(network, batch)
    assert found.kind == VANISH
    # What lies before the dead scale and reaches the loss by it alone; the first stage has a skip connection.
    assert {"down1_0_conv", "down1_0_norm", "down1_1_conv"} <= set(found.layers)
    assert "down0_0_conv" not in found.layers
    assert "no longer learn" in found.text


def test_the_warning_is_logged_and_kept_with_the_checkpoint(
    network: keras.Model, batch: tuple, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dead = next(v for v in network.trainable_variables if v.path == "up0_1_norm/gamma")
    dead.assign(np.zeros(dead.shape))
    run = Run(plan(), State(plan="", seed=0, fold=None), Clock(), Schedule(100), lambda: 0.0, step=50)
    watch = Gradients(run, batch, tmp_path)
    watch.set_model(network)
    watch.on_epoch_end(4)
    watch.on_train_end()
    said = capsys.readouterr().err
    assert "gradients vanish" in said
    assert "step_number=50" in said
    assert "dropped" not in said
    (notice,) = run.snapshot().notices
    assert notice.kind == VANISH
    assert notice.layers[0] in said
    assert "down0_0_conv" in notice.layers


def test_a_huge_scale_makes_the_gradients_before_it_explode(network: keras.Model, batch: tuple) -> None:
    huge = next(v for v in network.trainable_variables if v.path == "up0_1_norm/gamma")
    huge.assign(np.full(huge.shape, 1e6))
    (found,) = notices(network, batch)
    assert found.kind == EXPLODE
    assert "down0_0_conv" in found.layers
    assert "learning_rate" in found.text


def test_a_gradient_that_is_not_finite_has_exploded() -> None:
    layers = [LayerGradient("a", 1.0, 10), LayerGradient("b", float("nan"), 10)]
    (found,) = gradient_notices(layers, 5, clip=CLIP, epsilon=EPSILON)
    assert (found.kind, found.layers) == (EXPLODE, ("b",))


def test_the_borders_are_where_they_are_said_to_be() -> None:
    def kinds(norm: float, weights: int) -> list[str]:
        found = gradient_notices([LayerGradient("a", norm, weights)], 5, clip=CLIP, epsilon=EPSILON)
        return [notice.kind for notice in found]

    assert kinds(0.99e-7 * 10, 100) == [VANISH]  # 0.99e-7 for each of 100 weights
    assert kinds(1.01e-7 * 10, 100) == []
    assert kinds(119.0, 100) == []
    assert kinds(121.0, 100) == [EXPLODE]


def test_a_layer_is_named_once() -> None:
    dead = [LayerGradient("a", 0.0, 10), LayerGradient("b", 1.0, 10)]
    first = gradient_notices(dead, 5, clip=CLIP, epsilon=EPSILON)
    assert gradient_notices(dead, 6, clip=CLIP, epsilon=EPSILON, known=first) == ()
    later = [*dead, LayerGradient("c", 0.0, 10)]
    (second,) = gradient_notices(later, 7, clip=CLIP, epsilon=EPSILON, known=first)
    assert second.layers == ("c",)
