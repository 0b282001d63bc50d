import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny_models
from segloop.errors import InputError
from segloop.plan import Normalisation
from segloop.prep import Chain, Decision
from segloop.prep.values import normalise
from segloop.volume import Geometry, Labels, Volume

DECISION = Decision.of(tiny_models.plan())


def _one_hot(array, values=(0, 1, 5)):
    return np.stack([array == v for v in values], -1).astype(np.float32) * 20


def _ball(geometry):
    """Label 5 within a ball off the centre, label 1 in a half space beside it, on any grid."""
    points = geometry.to_lps(np.moveaxis(np.indices(geometry.shape), 0, -1))
    middle = geometry.to_lps((np.asarray(geometry.shape, float) - 1) / 2)
    array = np.where(points[..., 0] > middle[0] + 4, 1, 0).astype(np.uint8)
    array[np.linalg.norm(points - middle - [-3, 2, 1], axis=-1) < 7] = 5
    return array


@pytest.mark.parametrize(("permutation", "flips"), tiny_models.ORIENTATIONS)
def test_however_an_image_is_stored_the_network_sees_the_same_array(permutation, flips):
    volume = Volume(tiny_models.image((9, 11, 7)), Geometry((9, 11, 7), (2.0, 0.7, 1.3)))
    chain = Chain(tiny_models.plan())
    expected = chain.prepare(volume)
    got = chain.prepare(tiny_models.stored(volume, permutation, flips))
    assert got.array.tobytes() == expected.array.tobytes()
    assert got.geometry.same_grid(expected.geometry)


@settings(max_examples=40, deadline=None)
@given(
    orientation=st.sampled_from(tiny_models.ORIENTATIONS),
    seed=st.integers(0, 10_000),
    spacing=st.tuples(*[st.sampled_from((0.7, 1.0, 2.5))] * 3),
)
def test_oblique_images_keep_every_voxel_at_its_place_in_the_patient(orientation, seed, spacing):
    """Values that are a function of patient position stay that function on the network's grid and on the way back."""
    geometry = tiny_models.oblique((12, 14, 10), spacing, seed).transposed(*orientation)
    ramp = geometry.to_lps(np.moveaxis(np.indices(geometry.shape), 0, -1)) @ [0.31, -0.17, 0.23]
    prepared = Chain(tiny_models.plan()).prepare(Volume(ramp.astype(np.float32), geometry))
    grid = prepared.geometry
    expected = grid.to_lps(np.moveaxis(np.indices(grid.shape), 0, -1)) @ [0.31, -0.17, 0.23]
    # Beyond its outermost voxels an image is continued flat, so the ramp ends there.
    inside = (slice(2, -2),) * 3
    np.testing.assert_allclose(prepared.array[..., 0][inside], expected[inside], atol=1e-3)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 0.7, 0.7), (5.0, 0.7, 0.7), (3.0, 1.0, 0.5)])
@pytest.mark.parametrize(("permutation", "flips"), tiny_models.ORIENTATIONS[::7])
def test_labels_come_back_where_they_were(spacing, permutation, flips):
    geometry = Geometry((14, 30, 28), spacing).transposed(permutation, flips)
    labels = Labels(_ball(geometry), geometry, {1: "one", 5: "five"})
    chain = Chain(tiny_models.plan())
    there = chain.labels(labels)
    restore = chain.grid(geometry)
    back = restore.labels(_one_hot(there.array), DECISION)
    assert back.dtype == np.uint8
    for value in (1, 5):
        one, other = labels.array == value, back == value
        assert 2 * (one & other).sum() / (one.sum() + other.sum()) > 0.97
    if spacing == (1.0, 1.0, 1.0):
        np.testing.assert_array_equal(back, labels.array)


def test_labels_on_the_networks_grid_lie_where_the_image_shows_them():
    geometry = Geometry((10, 30, 28), (3.0, 0.8, 0.8))
    mask = _ball(geometry)
    chain = Chain(tiny_models.plan())
    there = chain.labels(Labels(mask, geometry, {}))
    image = chain.prepare(Volume((mask == 5).astype(np.float32), geometry)).array[..., 0]
    inside = there.array == 5
    assert image[inside].min() > 0.3
    assert image[~inside].max() < 0.7


def test_labels_are_the_most_probable_class_slab_by_slab(monkeypatch):
    geometry = Geometry((23, 20, 18), (0.7, 1.4, 1.0)).transposed((2, 0, 1), (True, False, True))
    restore = Chain(tiny_models.plan()).grid(geometry)
    logits = np.random.default_rng(0).normal(size=(*restore.grids.target.shape, 3)).astype(np.float32)
    whole = restore.labels(logits, DECISION)
    probabilities = restore.probabilities(logits, DECISION)
    assert probabilities.shape == (*geometry.shape, 3)
    np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-5)
    np.testing.assert_array_equal(whole, np.array([0, 1, 5], np.uint8)[probabilities.argmax(-1)])
    monkeypatch.setattr("segloop.prep.chain._SLAB_BYTES", 1)
    assert (restore.labels(logits, DECISION) != whole).mean() < 1e-3
    assert restore.labels(logits, Decision((0, 1, 300))).dtype == np.uint16


def test_scores_of_another_shape_are_refused():
    restore = Chain(tiny_models.plan()).grid(Geometry((4, 4, 4)))
    with pytest.raises(ValueError, match=r"\(4, 4, 4\)"):
        restore.labels(np.zeros((4, 4, 5, 3), np.float32), DECISION)


def test_a_single_slice_goes_there_and_back():
    geometry = Geometry((1, 20, 20), (5.0, 1.0, 1.0))
    labels = Labels(_ball(geometry), geometry, {})
    chain = Chain(tiny_models.plan())
    there = chain.labels(labels)
    assert there.array.shape == (5, 20, 20)
    np.testing.assert_array_equal(chain.grid(geometry).labels(_one_hot(there.array), DECISION), labels.array)


def test_two_dimensional_plans_leave_the_slice_distance_alone():
    chain = Chain(tiny_models.plan(2, 3))
    colour = np.random.default_rng(0).integers(0, 255, (4, 10, 12, 3), np.uint8)
    prepared = chain.prepare(Volume(colour, Geometry((4, 10, 12), (6.0, 2.0, 2.0))))
    assert prepared.array.shape == (4, 20, 24, 3)
    assert prepared.geometry.spacing_mm == (6.0, 1.0, 1.0)


def test_without_a_spacing_each_image_keeps_its_own():
    chain = Chain(tiny_models.plan(preparation__spacing_mm=None))
    assert chain.prepare(Volume(np.ones((3, 4, 5)), Geometry((3, 4, 5), (9.0, 2.0, 0.1)))).array.shape == (3, 4, 5, 1)


@pytest.mark.parametrize("value", [0, 7, -1e6])
def test_a_constant_image_becomes_zeros(value):
    assert not normalise(np.full((3, 4, 5), value, np.float32), Normalisation()).any()


def test_zscore_clips_to_percentiles_then_standardises():
    values = np.random.default_rng(0).normal(500, 30, (20, 20, 20)).astype(np.float32)
    values[0, 0, 0] = 1e6
    got = normalise(values, Normalisation())
    assert got.dtype == np.float32
    assert got.mean() == pytest.approx(0, abs=1e-4)
    assert got.std() == pytest.approx(1, abs=1e-4)
    assert got.max() < 3


def test_zscore_does_not_depend_on_the_images_unit():
    values = tiny_models.image()
    np.testing.assert_allclose(
        normalise(values * np.float32(1e-9), Normalisation()), normalise(values, Normalisation()), atol=1e-4
    )


def test_window_and_scale_use_fixed_values():
    values = np.array([-2000.0, 0.0, 100.0, 3000.0], np.float32)
    window = Normalisation(kind="window", window=(-100, 200), mean=50, sd=25)
    np.testing.assert_allclose(normalise(values, window), [-6, -2, 2, 6])
    np.testing.assert_allclose(normalise(values, Normalisation(kind="scale", window=(0, 200))), [0, 0, 0.5, 1])


@pytest.mark.parametrize("fault", [np.nan, np.inf, -np.inf, 1e300])
def test_voxels_that_are_no_numbers_are_refused_and_counted(fault):
    array = np.zeros((3, 3, 3))
    array[1, 1, :2] = fault
    with pytest.raises(InputError) as caught:
        Chain(tiny_models.plan()).prepare(Volume(array, Geometry((3, 3, 3))))
    assert caught.value.code == "input.unreadable"
    assert caught.value.found == 2


def test_complex_voxels_are_no_image():
    with pytest.raises(InputError) as caught:
        Chain(tiny_models.plan()).prepare(Volume(np.zeros((3, 3, 3), complex), Geometry((3, 3, 3))))
    assert caught.value.code == "input.not_an_image"


def test_another_number_of_channels_is_refused():
    with pytest.raises(InputError) as caught:
        Chain(tiny_models.plan()).prepare(Volume(np.zeros((3, 3, 3, 2)), Geometry((3, 3, 3))))
    assert caught.value.code == "input.not_applicable"


def test_an_image_of_another_kind_is_refused_with_every_reason():
    chain = Chain(tiny_models.plan(inputs__extent_mm=[[5, 50], [5, 50], [5, 50]]))
    good = Volume(np.zeros((9, 9, 9)), Geometry((9, 9, 9)))
    chain.require_applicable(good)
    with pytest.raises(InputError) as caught:
        chain.require_applicable(Volume(np.zeros((99, 9, 9)), Geometry((99, 9, 9)), "CT"))
    assert caught.value.code == "input.not_applicable"
    assert len(caught.value.found) == 2
    assert "CT" in caught.value.message
