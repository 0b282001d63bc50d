"""Draws: replayable, independent of each other, and the same as they were when models were trained on them."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from augment_kit import PATCH, applied, batch, spec
from segloop.data.augment import Augment, uniform
from segloop.plan import AugmentationSpec

LOUD = spec("rotation", "noise", "gamma", mirror_axes=(0, 1, 2))

# What the first version drew with seed 7 for 12 patches of 8 x 12 x 10 voxels of 2 x 1 x 1 mm, all axes mirrored.
GAMMA = [1.0, 1.0, 0.7926302, 1.0, 1.0, 1.0, 1.0, 0.800136, 1.039739, 1.0, 1.0831586, 1.0]
CONTRAST = [1.0, 1.0, 1.1539335, 1.0, 1.0, 1.0, 0.9072464, 1.0, 1.0, 1.2074106, 1.1331948, 0.9096227]
BRIGHTNESS = [-0.0777958, *[0.0] * 11]
NOISE = [0.0] * 5 + [0.0768405] + [0.0] * 3 + [0.0860158, 0.0, 0.0]
START = [514431, 904334, 603901, 875573, 561054, 770182, 688396, 569557, 15195, 266826, 966579, 521016]
BLUR = [0.0] * 4 + [0.8336479, 0.0, 0.0, 0.6406844] + [0.0] * 4
DIAGONAL = [[-0.9540026, -0.9540026, -0.9540026], [0.9753506, 0.9990876, 0.9747182], [1.0, -1.0, 1.0]]
MEANS = [-0.0910106, -0.0105521, 0.0162817, 0.0033146, 0.0507643, -0.0175988]
ELASTIC = [[-0.7117536, -1.9282066, 2.3031745], [0.9891914, 1.1265814, -1.1745201]]
LABELS = [1437, 1357, 1371, 1250, 1442, 1479, 1168, 1398, 1526, 1437, 1142, 1450]


def test_what_is_drawn_by_default_stays_what_it_was() -> None:
    """A run that is resumed with a later version, or compared with an earlier one, sees the same patches."""
    augment = Augment(AugmentationSpec(mirror_axes=(0, 1, 2)), PATCH, (2.0, 1.0, 1.0))
    drawn = augment.draw(7, 12)
    for name, expected in (
        ("gamma", GAMMA),
        ("contrast", CONTRAST),
        ("brightness", BRIGHTNESS),
        ("noise_sd", NOISE),
        ("noise_start", START),
        ("blur_sigma", BLUR),
    ):
        np.testing.assert_allclose(np.asarray(getattr(drawn, name)), expected, atol=2e-7, err_msg=name)
    np.testing.assert_allclose(np.diagonal(np.asarray(drawn.matrix), axis1=1, axis2=2)[:3], DIAGONAL, atol=1e-6)
    assert not np.asarray(drawn.bias_field).any()
    assert (np.asarray(drawn.low_resolution) == 1).all()
    image, label = augment.apply(drawn, *(ops.convert_to_tensor(part) for part in batch(12)))
    np.testing.assert_allclose(np.asarray(image).reshape(12, -1).mean(1)[:6], MEANS, atol=1e-5)
    np.testing.assert_array_equal(np.asarray(label).reshape(12, -1).astype(int).sum(1), LABELS)


def test_a_bent_patch_stays_what_it_was() -> None:
    drawn = Augment(spec("elastic"), PATCH, (2.0, 1.0, 1.0)).draw(7, 2)
    np.testing.assert_allclose(np.asarray(drawn.elastic)[:, 1, 2, 3], ELASTIC, atol=1e-6)


def test_the_same_seed_gives_the_same_patches_and_another_seed_others() -> None:
    augment = Augment(LOUD, PATCH)
    images, labels = batch()
    one, same, other = (applied(augment, seed, images, labels)[0] for seed in (5, 5, 6))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 0.1


def test_one_after_the_other_and_all_together_make_the_same_patches() -> None:
    everything = AugmentationSpec(mirror_axes=(0, 1, 2), low_resolution_probability=0.5, bias_field_probability=0.5)
    images, labels = batch(6)
    together = applied(Augment(everything, PATCH), 3, images, labels)
    apart = applied(Augment(everything, PATCH, apart=True), 3, images, labels)
    np.testing.assert_allclose(apart[0], together[0], atol=1e-5)
    np.testing.assert_array_equal(apart[1], together[1])


def test_a_part_of_a_draw_is_that_part_of_the_patches() -> None:
    augment = Augment(LOUD, PATCH)
    images, labels = batch(5)
    whole, _ = applied(augment, 2, images, labels)
    part = augment.draw(2, 5).part(1, 3)
    image, _ = augment.apply(part, ops.convert_to_tensor(images[1:3]), ops.convert_to_tensor(labels[1:3]))
    np.testing.assert_allclose(np.asarray(image), whole[1:3], atol=1e-6)


def test_uniform_numbers_are_uniform_and_independent() -> None:
    one, two = (np.asarray(uniform(seed, 0, (50_000,))) for seed in (1, 2))
    assert one.min() >= 0
    assert one.max() < 1
    assert one.mean() == pytest.approx(0.5, abs=0.01)
    assert one.var() == pytest.approx(1 / 12, abs=0.002)
    for other in (two, np.roll(one, 1), np.asarray(uniform(1, 1, (50_000,)))):
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.02
