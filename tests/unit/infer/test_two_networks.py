"""A cascade's inference, with networks whose answers are known: the second one repeats what the first one showed it."""

from __future__ import annotations

import numpy as np
import pytest

import tiny_models
from segloop.infer.cascade import Cascade
from segloop.infer.engine import segment
from segloop.infer.mirror import exchanged_inputs
from segloop.prep import Chain
from segloop.volume import Geometry, Labels, Volume


class Repeats:
    """A fine network that takes each guide for the truth."""

    name, precision = "repeats", "float32"

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        assert batch.shape[-1] == 3
        guides = batch[..., 1:]
        assert set(np.unique(guides)) <= {0.0, 1.0}
        return np.concatenate([np.full((*batch.shape[:-1], 1), 0.5, np.float32), guides], -1)


@pytest.mark.parametrize(("permutation", "flips"), tiny_models.ORIENTATIONS[::11])
def test_the_second_network_sees_the_first_ones_labels_in_their_place(
    permutation: tuple[int, ...], flips: tuple[bool, ...]
) -> None:
    volume = Volume(np.clip(tiny_models.image((24, 22, 20)), -3, 3), Geometry((24, 22, 20)))
    volume = tiny_models.stored(volume, permutation, flips)
    plan, first = tiny_models.cascade(), tiny_models.Thresholds()
    assert plan.coarse is not None
    alone, _, _ = segment(plan.coarse, first, volume)
    both, _, seconds = segment(plan, Cascade(first, Repeats()), volume)
    assert {1, 5} <= set(np.unique(both.array))
    np.testing.assert_array_equal(both.array, alone.array)
    assert seconds["network"] > 0


def test_lateral_labels_change_places_in_mirrored_images_on_their_way_in_and_out() -> None:
    mirrored = {
        "training__augmentation__mirror_axes": (2,),
        "training__augmentation__swap_labels": ((1, 5),),
        "inference__mirror_axes": (2,),
    }
    plan = tiny_models.cascade(**mirrored)
    assert exchanged_inputs(plan) == (0, 2, 1)
    assert exchanged_inputs(tiny_models.plan()) == (0,)
    volume = Volume(tiny_models.image((24, 22, 20)), Geometry((24, 22, 20)))
    runtime = Cascade(tiny_models.Thresholds(), Repeats())
    once, twice = (segment(p, runtime, volume)[0].array for p in (tiny_models.cascade(), plan))
    np.testing.assert_array_equal(twice, once)


def test_guides_follow_the_image_onto_the_networks_grid() -> None:
    plan = tiny_models.cascade()
    mask = np.zeros((12, 12, 12), np.uint8)
    mask[3:9, 3:9, 3:6] = 5
    geometry = Geometry(mask.shape, (2.0, 2.0, 2.0))
    chain = Chain(plan)
    prepared = chain.prepare(Volume((mask == 5).astype(np.float32), geometry))
    guided = chain.guided(prepared, Labels(mask, geometry, plan.label_names)).array
    assert guided.shape == (24, 24, 24, 3)
    assert not guided[..., 1].any()
    np.testing.assert_array_equal(guided[..., 2] == 1, guided[..., 0] > 0.5)
