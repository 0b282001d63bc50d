from __future__ import annotations

import numpy as np
from keras import ops

from segloop.data.doubt import Doubt
from segloop.data.feed import Example, Memory
from segloop.data.patches import Patches
from segloop.plan import Plan

EDGE = 16


def plan(probability: float = 1.0, batch: int = 4, **augmentation: object) -> Plan:
    """A cascade for a left and a right organ."""
    labels = [{"value": 3, "name": "left organ"}, {"value": 4, "name": "right organ"}]
    network = {"classes": 3, "features": (4, 8), "kernels": ((3, 3, 3),) * 2, "strides": ((1, 1, 1), (2, 2, 2))}
    patch = (EDGE,) * 3
    training = {"patch": patch, "batch": batch, "augmentation": {"doubt_probability": probability, **augmentation}}
    common = {"name": "two", "labels": labels, "training": training, "inference": {"patch": patch}}
    stage = {**network, "deep_supervision": 1}
    return Plan.parse({**common, "network": {**stage, "channels": 3}, "coarse": {**common, "network": stage}})


def guided(batch: int) -> np.ndarray:
    """Noise with a box of the left label below and one of the right label above."""
    images = np.random.default_rng(0).normal(size=(batch, EDGE, EDGE, EDGE, 3)).astype(np.float32)
    images[..., 1:] = 0
    images[:, 2:8, 4:12, 4:12, 1] = 1
    images[:, 10:14, 4:12, 4:12, 2] = 1
    return images


def changed(recipe: Plan, batch: int, key: int = 5) -> np.ndarray:
    swapped = ops.zeros((batch,), "bool")
    return np.asarray(
        Doubt(recipe)(ops.convert_to_tensor(key), ops.convert_to_tensor(guided(batch)), swapped, batch, 0)
    )


def test_guides_are_worn_swollen_holed_or_withheld_and_images_left_alone() -> None:
    batch = 128
    after, before = changed(plan(), batch), guided(batch)
    np.testing.assert_array_equal(after[..., 0], before[..., 0])
    size, whole = after[..., 1].sum((1, 2, 3)), before[0, ..., 1].sum()
    assert set(np.unique(after[..., 1:])) <= {0.0, 1.0}
    withheld = size == 0
    worn = ((after[..., 1] <= before[..., 1]).all((1, 2, 3))) & ~withheld & (size < whole)
    swollen = ((after[..., 1] >= before[..., 1]).all((1, 2, 3))) & (size > whole)
    # A hole may lie beside a label and leave it whole.
    assert 0.02 < withheld.mean() < 0.2
    assert 0.3 < worn.mean() < 0.75
    assert 0.2 < swollen.mean() < 0.4
    once, twice, wider = 4 * 6 * 6, 2 * 4 * 4, 8 * 10 * 10
    assert {once, twice, wider} <= set(size.tolist())


def test_nothing_is_doubted_at_probability_0_and_half_of_it_at_one_half() -> None:
    np.testing.assert_array_equal(changed(plan(0.0), 16), guided(16))
    same = (changed(plan(0.5), 256) == guided(256)).all((1, 2, 3, 4)).mean()
    assert 0.4 < same < 0.7


def test_the_guides_of_left_and_right_change_places_in_a_mirror() -> None:
    recipe = plan(0.0, mirror_axes=(2,), swap_labels=((3, 4),))
    swapped = ops.convert_to_tensor(np.array([True, False]))
    after = np.asarray(Doubt(recipe)(ops.convert_to_tensor(0), ops.convert_to_tensor(guided(2)), swapped, 2, 0))
    np.testing.assert_array_equal(after[0, ..., [1, 2]], guided(1)[0, ..., [2, 1]])
    np.testing.assert_array_equal(after[1], guided(2)[1])


def test_a_part_of_a_batch_is_doubted_as_the_whole_is() -> None:
    recipe, key = plan(), ops.convert_to_tensor(9)
    whole = changed(recipe, 8, key=9)
    part = Doubt(recipe)(key, ops.convert_to_tensor(guided(8)[3:6]), ops.zeros((3,), "bool"), 8, 3)
    np.testing.assert_array_equal(np.asarray(part), whole[3:6])


def test_the_feed_keeps_guides_and_labels_together() -> None:
    """Guides that are the labels themselves stay so through geometry, whatever happens to the image's values."""
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[4:10, 5:15, 2:8] = 1
    labels[4:10, 5:15, 12:18] = 2
    image = np.random.default_rng(0).normal(size=(20, 20, 20, 1))
    stacked = np.concatenate([image, np.stack([labels == 1, labels == 2], -1)], -1).astype(np.float32)
    still = dict.fromkeys(("rotation_probability", "scale_probability", "elastic_probability"), 0.0)
    loud = {"contrast_probability": 1.0, "noise_probability": 1.0, "brightness_probability": 1.0}
    swap = {"mirror_axes": (2,), "swap_labels": ((3, 4),)}
    recipe = plan(0.0, **still, **loud, **swap)
    memory, patches = Memory.of([Example("a", stacked, labels)], recipe), Patches(recipe, 1, 1)
    for number in range(3):
        found, target = (
            np.asarray(part) for part in patches(ops.convert_to_tensor(number), memory.pool, memory.places)
        )
        np.testing.assert_array_equal(found[..., 1] == 1, target == 1)
        np.testing.assert_array_equal(found[..., 2] == 1, target == 2)
