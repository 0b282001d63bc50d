"""Classes to channels: labels, regions, what does not count; and Dice over them."""

from __future__ import annotations

import numpy as np
import pytest

import tiny_models
from segloop.nets import StreamingDice, Targets
from segloop.plan import IGNORED, Plan

CLASSES = np.array([[[0, 1, 2, IGNORED]]], np.uint8)
REGIONS = Targets(2, ((1, 2), (2,)), labels=2, ignore=True)


def test_labels_get_a_channel_each_and_ignored_voxels_none() -> None:
    target, counted = Targets(3, ignore=True).hot(CLASSES, (1, 1, 4, 3))
    np.testing.assert_array_equal(target[0, 0], [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]])
    np.testing.assert_array_equal(np.asarray(counted).ravel(), [1, 1, 1, 0])
    assert Targets(3).hot(CLASSES[..., :3], (1, 1, 3, 3))[1] is None


def test_regions_hold_all_of_their_labels() -> None:
    target, counted = REGIONS.hot(CLASSES, (1, 1, 4, 2))
    np.testing.assert_array_equal(target[0, 0], [[0, 0], [1, 0], [1, 1], [0, 0]])
    np.testing.assert_array_equal(np.asarray(counted).ravel(), [1, 1, 1, 0])


def test_logits_are_decided_by_the_largest_or_by_one_half() -> None:
    logits = np.array([[[[-1.0, -3.0], [2.0, -1.0], [3.0, 5.0]]]], np.float32)
    np.testing.assert_array_equal(REGIONS.found(logits)[0, 0], [[0, 0], [1, 0], [1, 1]])
    np.testing.assert_array_equal(Targets(2).found(logits)[0, 0], [[1, 0], [1, 0], [0, 1]])


def test_the_plan_says_which() -> None:
    plan = tiny_models.plan()
    assert Targets.of(plan) == Targets(3)
    document = plan.model_dump(mode="json", by_alias=True)
    document["training"]["ignore_label"] = 9
    document["network"]["classes"] = 2
    document["regions"] = [
        {"name": "both", "labels": [5, 1], "paints": 1},
        {"name": "five", "labels": [5], "paints": 5},
    ]
    document["training"]["label_shares"] = [1, 3]
    regional = Plan.parse(document)
    assert Targets.of(regional) == REGIONS
    assert regional.found_names == ("both", "five")
    assert regional.found_classes == ((1, 2), (2,))


def test_streaming_dice_of_regions_leaves_out_what_does_not_count() -> None:
    metric = StreamingDice(2, targets=REGIONS)
    logits = np.full((1, 1, 4, 2), -5.0, np.float32)
    logits[0, 0, 1:, 0] = 5  # the whole region, and the voxel that nobody could tell
    logits[0, 0, 0, 1] = 5
    metric.update_state(CLASSES, logits)
    assert np.asarray(metric.per_label()) == pytest.approx([1, 0])
