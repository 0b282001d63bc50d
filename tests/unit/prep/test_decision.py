"""Scores to probabilities to labels: temperature, bias, thresholds, painting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny_models
from segloop.plan import Plan, Region
from segloop.prep import Chain, Decision
from segloop.volume import Geometry


def _scores(outputs: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 3, (outputs, 3, 4, 5)).astype(np.float32)


def _regions() -> Plan:
    plan = tiny_models.plan()
    regions = [Region(name="both", labels=(1, 5), paints=1), Region(name="inner", labels=(5,), paints=5)]
    document = plan.model_dump(mode="json", by_alias=True)
    document["regions"] = [region.model_dump() for region in regions]
    document["network"]["classes"] = 2
    return Plan.parse(document)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    regions=st.booleans(),
    temperature=st.sampled_from((0.5, 1.0, 2.5)),
    bias=st.sampled_from(((), (1.5, -0.7), (0.0, 3.0))),
)
def test_deciding_scores_and_deciding_probabilities_agree(
    seed: int, regions: bool, temperature: float, bias: tuple[float, ...]
) -> None:
    decision = Decision((1, 5) if regions else (0, 1, 5), regions, temperature, bias)
    scores = _scores(len(decision.values), seed)
    expected = decision.labels(decision.probabilities(scores.copy()))
    np.testing.assert_array_equal(decision.from_scores(scores.copy()), expected)
    assert set(np.unique(expected)) <= {0, 1, 5}


def test_a_higher_temperature_makes_probabilities_less_certain_and_changes_no_label() -> None:
    scores = _scores(3)
    cold, warm = Decision((0, 1, 5)), Decision((0, 1, 5), temperature=3.0)
    sure, unsure = cold.probabilities(scores.copy()), warm.probabilities(scores.copy())
    assert (unsure.max(0) < sure.max(0)).all()
    np.testing.assert_allclose(unsure.sum(0), 1, atol=1e-6)
    np.testing.assert_array_equal(warm.from_scores(scores), cold.from_scores(scores))
    expected = np.exp(scores / 3) / np.exp(scores / 3).sum(0)
    np.testing.assert_allclose(unsure, expected, rtol=1e-5)


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
def test_the_bias_of_a_threshold_is_that_threshold(threshold: float) -> None:
    bias = (-float(np.log(threshold / (1 - threshold))),)
    scores = _scores(2)
    alone = Decision((0, 7), temperature=1.3, bias=bias)
    probability = alone.probabilities(scores.copy())[1]
    np.testing.assert_array_equal(alone.from_scores(scores.copy()) == 7, probability > threshold)
    region = Decision((7,), regions=True, temperature=1.3, bias=bias)
    probability = region.probabilities(scores[1:].copy())[0]
    np.testing.assert_array_equal(region.from_scores(scores[1:].copy()) == 7, probability > threshold)


def test_regions_paint_in_their_order_and_need_more_than_one_half() -> None:
    scores = np.array([[1.0, 1.0, -1.0, -1.0, 0.0], [-1.0, 1.0, 1.0, -1.0, 0.0]], np.float32).reshape(2, 1, 1, 5)
    assert Decision((1, 5), regions=True).from_scores(scores).ravel().tolist() == [1, 5, 5, 0, 0]
    assert Decision((5, 1), regions=True).from_scores(scores).ravel().tolist() == [5, 1, 1, 0, 0]


def test_far_scores_of_regions_neither_overflow_nor_leave_0_to_1() -> None:
    scores = np.array([-1e4, -80.0, 0.0, 80.0, 1e4], np.float32).reshape(1, 1, 1, 5)
    with np.errstate(over="raise", invalid="raise"):
        found = Decision((1,), regions=True).probabilities(scores).ravel()
    np.testing.assert_allclose(found, [0, 0, 0.5, 1, 1], atol=1e-7)


def test_the_plan_says_what_outputs_mean() -> None:
    plan = tiny_models.plan().changed({"inference.temperature": 1.4, "inference.logit_bias": [0.1, 0.2]})
    assert Decision.of(plan) == Decision((0, 1, 5), temperature=1.4, bias=(0.1, 0.2))
    assert Decision.of(_regions()) == Decision((1, 5), regions=True)
    assert Decision((0, 300)).dtype is np.uint16


def test_regions_are_decided_on_the_source_grid() -> None:
    plan = _regions()
    geometry = Geometry((10, 11, 12), (0.6, 1.7, 1.0))
    restore, decision = Chain(plan).grid(geometry), Decision.of(plan)
    logits = np.random.default_rng(1).normal(size=(*restore.grids.target.shape, 2)).astype(np.float32) * 3
    labels, probabilities = restore.labels(logits, decision), restore.probabilities(logits, decision)
    assert probabilities.shape == (10, 11, 12, 2)
    expected = np.where(probabilities[..., 1] > 0.5, 5, np.where(probabilities[..., 0] > 0.5, 1, 0))
    np.testing.assert_array_equal(labels, expected)
