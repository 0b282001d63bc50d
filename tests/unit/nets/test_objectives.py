"""Loss and metric against numbers worked out by hand or by NumPy."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from segloop.nets import DiceCrossEntropy, StreamingDice, deep_supervision


def _one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    return np.eye(classes, dtype=np.float32)[labels]


def test_a_sure_and_right_prediction_costs_nothing() -> None:
    labels = np.array([[[0, 1], [2, 1]]], np.uint8)
    assert float(DiceCrossEntropy(3)(labels, 50 * _one_hot(labels, 3))) == pytest.approx(0, abs=1e-6)


def test_the_loss_equals_its_formula() -> None:
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 3, (2, 4, 5)).astype(np.uint8)
    logits = draw.normal(size=(2, 4, 5, 3)).astype(np.float32)
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    t = _one_hot(labels, 3)
    entropy = -np.log((p * t).sum(-1)).mean()
    overlap, total = (p * t).sum((0, 1, 2))[1:], (p + t).sum((0, 1, 2))[1:]
    expected = 2.0 * (1 - ((2 * overlap + 1) / (total + 1)).mean()) + 0.5 * entropy
    loss = DiceCrossEntropy(3, dice_weight=2.0, cross_entropy_weight=0.5)(labels, logits)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_a_batch_without_the_label_costs_nothing_when_none_is_found() -> None:
    labels = np.zeros((1, 8, 8), np.uint8)
    assert float(DiceCrossEntropy(2)(labels, 50 * _one_hot(labels, 2))) == pytest.approx(0, abs=1e-6)


def test_a_coarser_prediction_is_compared_with_thinned_labels() -> None:
    labels = np.arange(64).reshape(1, 4, 4, 4).astype(np.uint8) % 2
    coarse = labels[:, ::2, ::2, ::2]
    logits = np.random.default_rng(0).normal(size=(1, 2, 2, 2, 2)).astype(np.float32)
    loss = DiceCrossEntropy(2)
    assert float(loss(labels, logits)) == pytest.approx(float(loss(coarse, logits)))


def test_streaming_dice_pools_over_batches() -> None:
    draw = np.random.default_rng(0)
    labels, found = draw.integers(0, 3, (2, 3, 6, 6))
    metric = StreamingDice(3)
    for i in range(3):
        metric.update_state(labels[i : i + 1], _one_hot(found[i : i + 1], 3))
    for c in (1, 2):
        expected = 2 * ((labels == c) & (found == c)).sum() / ((labels == c).sum() + (found == c).sum())
        assert float(metric.per_label()[c - 1]) == pytest.approx(expected)
    assert float(metric.result()) == pytest.approx(np.mean(np.asarray(metric.per_label())))


def test_a_label_neither_seen_nor_found_counts_one() -> None:
    metric = StreamingDice(3)
    labels = np.ones((1, 4, 4), np.uint8)
    metric.update_state(labels, _one_hot(labels, 3))
    np.testing.assert_allclose(np.asarray(metric.per_label()), [1, 1])


def test_streaming_dice_refuses_weights() -> None:
    with pytest.raises(ValueError, match="sample_weight"):
        StreamingDice(2).update_state(np.zeros((1, 2, 2)), np.zeros((1, 2, 2, 2)), np.ones(1))


def test_supervision_weights_halve_and_add_up_to_one() -> None:
    weights = deep_supervision(4)
    assert sum(weights) == pytest.approx(1)
    assert all(b == pytest.approx(a / 2) for a, b in pairwise(weights))
