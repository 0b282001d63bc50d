"""Seg-Grad-CAM: the formula, the windows, the place, and a sanity check that can fail."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import tiny_models
from segloop.errors import InputError
from segloop.infer.engine import run_network
from segloop.infer.explain import Explainer, Tiles, entropy_map
from segloop.infer.runtimes.tensorflow import TensorFlow
from segloop.infer.sanity import check_explanation
from segloop.prep import Chain
from segloop.volume import Geometry, Labels, Volume


@pytest.fixture(scope="module")
def volume() -> Volume:
    return Volume(tiny_models.image((16, 20, 18)), Geometry((16, 20, 18)), "MR")


@pytest.fixture(scope="module")
def explainer() -> Explainer:
    return Explainer(tiny_models.bundle())


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("mode", ["whole", "window"])
def test_the_shares_of_all_windows_add_up_to_one_and_blend_the_logits_as_inference_does(dims, mode):
    bundle = tiny_models.bundle(dims, 1)
    plan = bundle.plan.changed({"inference.mode": mode, "inference.patch": [8 if dims == 3 else 1, 8, 12]})
    array = tiny_models.image((3 if dims == 2 else 15, 21, 18), seed=2)[..., None]
    tiles = Tiles(plan, array)
    total = np.zeros(tiles.shape)
    for place, share in tiles:
        total[place] += share
    assert np.allclose(total, 1, atol=1e-5)
    ours = Explainer(bundle)
    ours.plan = plan
    expected = run_network(plan, TensorFlow(ours.network), array)
    inside = np.zeros(array.shape[:3], bool)
    inside[1:, 5:9, 3:] = True
    assert ours.score(array, 5, inside) == pytest.approx(float(expected[inside][:, 2].sum()), rel=1e-4, abs=1e-2)


def test_the_map_is_the_formula_of_the_paper_where_it_is_known_by_hand(explainer, volume):
    # At the last features the logits are a product with one matrix, so the gradient of their sum is that matrix.
    array = Chain(explainer.plan).prepare(volume).array
    tiles = Tiles(explainer.plan, array)
    inside = np.zeros(array.shape[:3], bool)
    inside[4:9, 3:15, 6:11] = True
    head = explainer.network.get_layer("logits0")
    tap = keras.Model(explainer.network.inputs, head.input)
    (place, _), *others = tiles
    assert not others
    features = np.asarray(tap(tiles.batch(place)))[0]
    kernel = np.asarray(head.kernel)[0, 0, 0]
    alpha = kernel[:, 2] * inside.sum() / np.prod(features.shape[:3])
    expected = tiles.cropped(np.maximum(features @ alpha, 0))
    assert np.allclose(explainer.heat(array, 5, inside, "decoder0"), expected, rtol=1e-4, atol=1e-6)


def test_the_map_follows_the_patient_however_the_image_is_stored(explainer, volume):
    upright = explainer(volume, 5)
    assert upright.heat.array.max() == pytest.approx(1, abs=1e-3)
    assert upright.heat.array.min() >= 0
    for way in (7, 22, 41):
        turned = tiny_models.stored(volume, *tiny_models.ORIENTATIONS[way])
        found = explainer(turned, 5).heat.reoriented("SPL")
        assert found.geometry.same_grid(volume.geometry)
        assert np.allclose(found.array, upright.heat.array, atol=1e-4)


def test_every_stage_explains_and_an_unknown_one_is_refused(explainer, volume):
    assert explainer.stages == ("bottleneck", "decoder0")
    maps = [explainer(volume, 1, stage=stage).heat.array for stage in explainer.stages]
    assert not np.allclose(*maps)
    with pytest.raises(InputError, match="no stage"):
        explainer(volume, 1, stage="decoder7")
    with pytest.raises(InputError, match="no label"):
        explainer(volume, 3)


@pytest.mark.parametrize(
    ("edge", "expected"), [(3, "decoder0"), (4, "decoder1"), (7, "decoder1"), (8, "decoder2"), (16, "bottleneck")]
)
def test_the_stage_suits_the_size_of_the_largest_part_of_what_is_explained(edge, expected):
    ours = Explainer(tiny_models.bundle())
    ours.plan = ours.plan.changed(
        {
            "network.features": [4, 8, 8, 8],
            "network.kernels": [[3, 3, 3]] * 4,
            "network.strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2], [2, 2, 2]],
        }
    )
    inside = np.zeros((40, 20, 20), bool)
    inside[:edge, :edge, :edge] = True
    assert ours.stage_for(inside) == expected
    inside[22::4, 1::4, 1::4] = True  # many small parts beside it
    assert ours.stage_for(inside) == expected


def test_the_stage_of_a_network_of_slices_is_chosen_within_a_slice():
    ours = Explainer(tiny_models.bundle(2, 1))
    cell = np.prod(ours.plan.network.strides[-1])
    assert cell == 4
    flat = np.zeros((9, 12, 12), bool)
    flat[:, :3, :3] = True  # 81 voxels, but 9 in any slice
    assert ours.stage_for(flat) == "decoder0"
    flat[2, :4, :4] = True
    assert ours.stage_for(flat) == "bottleneck"


def test_an_empty_region_is_refused_and_a_given_one_is_used(explainer, volume):
    nothing = Labels(np.zeros(volume.geometry.shape, np.uint8), volume.geometry)
    with pytest.raises(InputError) as fault:
        explainer(volume, 5, nothing)
    assert fault.value.code == "explain.empty"
    part = nothing.array.copy()
    part[3:5, 4:6, 7:9] = 1
    found = explainer(volume, 5, Labels(part, volume.geometry))
    assert found.region_voxels == 8


def test_entropy_is_one_for_a_draw_and_zero_for_certainty():
    p = np.array([[[[0.5, 0.5], [1.0, 0.0], [0.9, 0.1]]]], np.float32)
    assert np.allclose(entropy_map(p)[0, 0], [1, 0, 0.469], atol=1e-3)
    assert np.allclose(entropy_map(p[..., :1], regions=True)[0, 0], [1, 0, 0.469], atol=1e-3)


class Edges(Explainer):
    """A map of the image's own edges: pretty, and without any relation to the network."""

    def heat(self, array, label, inside, stage):
        return np.abs(np.gradient(array[..., 0])[0]).astype(np.float32)


def test_the_check_fails_a_map_that_does_not_come_from_the_network(volume):
    bundle = tiny_models.bundle()

    class Nowhere(Explainer):
        def heat(self, array, label, inside, stage):
            far = np.zeros(array.shape[:3], np.float32)
            far[:2, :4, :4] = 1
            return far

    assert not check_explanation(bundle, volume, 5, explainer=Nowhere(bundle)).passed


@pytest.mark.long
@pytest.mark.parametrize("case", ["001", "003", "006"])
def test_the_shipped_models_explanation_passes_its_check_and_a_map_of_edges_does_not(shared_data, case):
    from segloop.io import files
    from segloop.registry import Registry

    bundle = Registry().load("hippocampus-mr")
    volume = files.read(shared_data("hippocampus") / "imagesTr" / f"hippocampus_{case}.nii.gz")
    for value in (1, 2):
        sound = check_explanation(bundle, volume, value)
        assert sound.passed, sound
        edges = check_explanation(bundle, volume, value, explainer=Edges(bundle))
        assert edges.deletion < sound.deletion
