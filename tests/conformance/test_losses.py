"""Every loss a Plan can name: the same promises for each, whatever its terms."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tiny_models
from segloop.nets import DiceCrossEntropy, SegmentationLoss, Targets, make_loss, set_progress
from segloop.plan import IGNORED, Plan

KINDS: dict[str, dict[str, Any]] = {
    "dice + cross-entropy": {},
    "dice": {"cross_entropy_weight": 0.0},
    "cross-entropy": {"dice_weight": 0.0},
    "generalised dice": {"loss": {"overlap": "generalised_dice"}},
    "tversky": {"cross_entropy_weight": 0.0, "loss": {"overlap": "tversky"}},
    "focal tversky": {"cross_entropy_weight": 0.0, "loss": {"overlap": "focal_tversky"}},
    "boundary": {"loss": {"extra": "boundary"}},
    "hausdorff": {"loss": {"extra": "hausdorff", "iterations": 2}},
    "cldice": {"loss": {"extra": "cldice", "iterations": 2}},
}
SIZE = 12


def recipe(kind: str, *, dims: int = 3, regions: bool = False, ignore: bool = False) -> Plan:
    """Labels 1 and 5 (classes 1 and 2), or the regions of both and of 5 alone."""
    document = tiny_models.plan(dims).model_dump(mode="json", by_alias=True)
    document["training"] |= KINDS[kind] | {"ignore_label": 9 if ignore else None}
    if regions:
        document["regions"] = [
            {"name": "both", "labels": [1, 5], "paints": 1},
            {"name": "inner", "labels": [5], "paints": 5},
        ]
        document["network"]["classes"] = 2
    return Plan.parse(document)


def truth(dims: int = 3, *, noise: bool = False) -> np.ndarray:
    """A ball of class 1 with a smaller one of class 2 inside it; the second image of the batch has class 1 alone."""
    space = (SIZE,) * dims
    far = np.linalg.norm(np.moveaxis(np.indices(space), 0, -1) - (SIZE - 1) / 2, axis=-1)
    one = (far < 4.5).astype(np.uint8)
    two = np.where(far < 2.3, 2, one).astype(np.uint8)
    labels = np.stack([two, one])
    return np.random.default_rng(0).permuted(labels, axis=1) if noise else labels


def hot(labels: np.ndarray, plan: Plan) -> np.ndarray:
    """What the outputs should be, in NumPy."""
    if plan.regions:
        return np.stack([(labels == 1) | (labels == 2), labels == 2], -1).astype(np.float32)
    return np.eye(3, dtype=np.float32)[labels]


def ready(plan: Plan) -> keras.losses.Loss:
    """The loss at the end of training, with all of its terms."""
    loss = make_loss(plan)
    if isinstance(loss, SegmentationLoss):
        loss.progress.assign(1.0)
    return loss


def value_and_slope(loss: keras.losses.Loss, labels: np.ndarray, logits: np.ndarray) -> tuple[float, np.ndarray]:
    variable = tf.Variable(logits)
    with tf.GradientTape() as tape:
        value = loss(tf.constant(labels), variable)
    return float(value), np.asarray(tape.gradient(value, variable))


cases = pytest.mark.parametrize(
    ("kind", "regions"), [(kind, regions) for kind in KINDS for regions in (False, True)], ids=str
)


@cases
def test_better_predictions_cost_less_and_a_perfect_one_next_to_nothing(kind: str, regions: bool) -> None:
    plan = recipe(kind, regions=regions)
    loss, labels = ready(plan), truth()
    direction = 2 * hot(labels, plan) - 1
    costs = [float(loss(labels, scale * direction)) for scale in (-4.0, -1.0, 0.0, 1.0, 4.0)]
    assert all(better < worse - 1e-4 for worse, better in pairwise(costs))
    assert float(loss(labels, 40 * direction)) == pytest.approx(0, abs=1e-4)


@cases
def test_gradients_are_finite_on_every_mask(kind: str, regions: bool) -> None:
    plan = recipe(kind, regions=regions, ignore=True)
    loss = ready(plan)
    draw = np.random.default_rng(0)
    channels = plan.network.classes
    masks = {
        "empty": np.zeros_like(truth()),
        "full": np.full_like(truth(), 2),
        "some": truth(noise=True),
        "ignored": np.full_like(truth(), IGNORED),
    }
    for name, scale in (("empty", 0), ("empty", 200), ("full", 0), ("full", 200), ("some", 200), ("ignored", 3)):
        logits = (scale * draw.normal(size=(*truth().shape, channels))).astype(np.float32)
        value, slope = value_and_slope(loss, masks[name], logits)
        assert np.isfinite(value), (name, scale)
        assert np.isfinite(slope).all(), (name, scale)
    assert not np.any(slope)  # where everything is ignored there is nothing to learn


@cases
def test_ignored_voxels_change_nothing(kind: str, regions: bool) -> None:
    plan = recipe(kind, regions=regions, ignore=True)
    loss, labels = ready(plan), truth()
    labels[:, :4] = IGNORED
    draw = np.random.default_rng(1)
    logits = draw.normal(size=(*labels.shape, plan.network.classes)).astype(np.float32)
    value, slope = value_and_slope(loss, labels, logits)
    assert not slope[:, :4].any()
    assert slope[:, 5:].any()
    other = logits.copy()
    other[:, :4] = 5 * draw.normal(size=other[:, :4].shape)
    assert float(loss(labels, other)) == pytest.approx(value, rel=1e-6)


@cases
def test_half_precision_logits_are_computed_in_full(kind: str, regions: bool) -> None:
    plan = recipe(kind, regions=regions)
    loss = ready(plan)
    half = tf.cast(np.random.default_rng(0).normal(size=(*truth().shape, plan.network.classes)), tf.bfloat16)
    value = loss(truth(), half)
    assert value.dtype == tf.float32
    assert float(value) == pytest.approx(float(loss(truth(), tf.cast(half, tf.float32))), rel=1e-6)


@cases
def test_coarser_outputs_are_compared_with_thinned_labels(kind: str, regions: bool) -> None:
    plan = recipe(kind, regions=regions)
    coarse = make_loss(plan, 1)
    if isinstance(coarse, SegmentationLoss):
        coarse.progress.assign(1.0)
        assert coarse.extra is None
    labels = truth()
    logits = np.random.default_rng(0).normal(size=(2, *(SIZE // 2,) * 3, plan.network.classes)).astype(np.float32)
    assert float(coarse(labels, logits)) == pytest.approx(float(coarse(labels[:, ::2, ::2, ::2], logits)))


@pytest.mark.parametrize("kind", KINDS)
def test_it_overfits_one_patch(kind: str) -> None:
    plan = recipe(kind, dims=2, regions=kind in ("tversky", "hausdorff", "cldice"))
    labels = truth(dims=2)
    draw = np.random.default_rng(0)
    image = (labels - 1.0 + draw.normal(0, 0.15, labels.shape))[..., None]
    keras.utils.set_random_seed(0)
    network = keras.Sequential(
        [keras.layers.Conv2D(12, 3, padding="same", activation="tanh"), keras.layers.Conv2D(plan.network.classes, 1)]
    )
    network.compile(keras.optimizers.Adam(0.03), loss=make_loss(plan))
    for step in range(60):
        set_progress(network, step / 60)
        network.train_on_batch(image, labels)
    targets = Targets.of(plan)
    found = np.asarray(targets.found(network(image)))[..., targets.first :]
    wanted = hot(labels, plan)[..., targets.first :]
    dice = 2 * (found * wanted).sum((0, 1, 2)) / (found + wanted).sum((0, 1, 2))
    assert dice.min() > 0.85


@pytest.mark.parametrize("kind", [kind for kind, changes in KINDS.items() if changes.get("loss", {}).get("extra")])
def test_a_further_term_grows_over_the_first_half_of_the_training(kind: str) -> None:
    plan = recipe(kind)
    loss, labels = make_loss(plan), truth()
    logits = np.random.default_rng(0).normal(size=(*labels.shape, 3)).astype(np.float32)
    costs = []
    for progress in (0.0, 0.25, 0.5, 1.0):
        loss.progress.assign(progress)
        costs.append(float(loss(labels, logits)))
    plain = float(make_loss(recipe("dice + cross-entropy"))(labels, logits))
    assert costs[0] == pytest.approx(plain, rel=1e-5)
    assert costs[1] - plain == pytest.approx((costs[2] - plain) / 2, rel=1e-3)
    assert costs[2] == costs[3] != costs[1]


def test_the_plain_loss_stays_the_one_it_was_and_agrees_with_the_general_one() -> None:
    plan = recipe("dice + cross-entropy")
    plain, general = make_loss(plan), SegmentationLoss(plan)
    assert type(plain) is DiceCrossEntropy
    assert type(make_loss(recipe("dice + cross-entropy", ignore=True))) is SegmentationLoss
    labels = truth()
    logits = np.random.default_rng(0).normal(size=(*labels.shape, 3)).astype(np.float32)
    first, slope = value_and_slope(plain, labels, logits)
    second, other = value_and_slope(general, labels, logits)
    assert first == pytest.approx(second, rel=1e-6)
    np.testing.assert_allclose(slope, other, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_a_loss_survives_its_configuration(kind: str) -> None:
    loss = make_loss(recipe(kind, regions=True, ignore=True))
    again = type(loss).from_config(loss.get_config())
    labels = truth()
    logits = np.random.default_rng(0).normal(size=(*labels.shape, 2)).astype(np.float32)
    assert float(loss(labels, logits)) == float(again(labels, logits))
