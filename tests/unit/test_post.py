import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segloop.plan import PostSpec, PostStep
from segloop.post import clean, closing, enclosed, large_components, opening
from segloop.volume import Geometry, Labels

ONE = (1.0, 1.0, 1.0)


def _labels(array, spacing=ONE):
    return Labels(array.astype(np.uint8), Geometry(array.shape, spacing), {1: "one", 2: "two"})


def _clean(array, spacing=ONE, **step):
    return clean(_labels(array, spacing), PostSpec(steps=(PostStep(label=1, **step),))).array


def _ball(radius, size=21, spacing=ONE):
    distance = np.linalg.norm((np.moveaxis(np.indices((size,) * 3), 0, -1) - size // 2) * spacing, axis=-1)
    return (distance <= radius).astype(np.uint8)


ALL = {"opening_mm": 1.5, "closing_mm": 2.0, "fill_holes": True, "largest_component": True, "min_component_ml": 0.001}


@pytest.mark.parametrize("step", [ALL, *[{key: value} for key, value in ALL.items()]])
def test_an_absent_label_stays_absent_and_others_are_untouched(step):
    array = np.zeros((6, 7, 8), np.uint8)
    array[2:4, 2:4, 2:4] = 2
    np.testing.assert_array_equal(_clean(array, **step), array)
    np.testing.assert_array_equal(_clean(np.zeros_like(array), **step), np.zeros_like(array))


@pytest.mark.parametrize("step", [ALL, *[{key: value} for key, value in ALL.items()]])
def test_a_label_that_fills_the_image_stays(step):
    array = np.ones((6, 7, 8), np.uint8)
    np.testing.assert_array_equal(_clean(array, **step), array)


def test_no_steps_give_the_same_object():
    labels = _labels(np.ones((2, 2, 2)))
    assert clean(labels, PostSpec()) is labels


def test_opening_removes_a_thin_bridge_and_specks_but_keeps_the_bodies():
    array = np.zeros((13, 13, 30), np.uint8)
    array[2:11, 2:11, 2:11] = array[2:11, 2:11, 19:28] = 1
    bodies = array.copy()
    array[6, 6, 11:19] = 1
    array[0, 0, 0] = 1
    got = _clean(array, opening_mm=1.5)
    assert not got[6, 6, 12:18].any()
    assert not got[0, 0, 0]
    assert 2 * (got & bodies).sum() / (got.sum() + bodies.sum()) > 0.97


def test_opening_does_not_round_off_what_the_field_of_view_cuts():
    array = np.zeros((10, 12, 12), np.uint8)
    array[:5] = 1
    np.testing.assert_array_equal(_clean(array, opening_mm=3), array)


def test_opening_knows_that_voxels_are_not_cubes():
    """A sheet 2 slices (10 mm) thick survives a radius of 3 mm; one 2 voxels (1.4 mm) thick in the plane does not."""
    thick, thin = np.zeros((9, 20, 20), np.uint8), np.zeros((9, 20, 20), np.uint8)
    thick[3:5] = 1
    thin[:, 8:10] = 1
    spacing = (5.0, 0.7, 0.7)
    np.testing.assert_array_equal(_clean(thick, spacing, opening_mm=3), thick)
    assert not _clean(thin, spacing, opening_mm=3).any()


def test_closing_bridges_a_gap_narrower_than_twice_its_radius_only():
    array = np.zeros((9, 9, 20), np.uint8)
    array[2:7, 2:7, 2:7] = array[2:7, 2:7, 10:15] = 1
    assert _clean(array, closing_mm=2)[4, 4, 7:10].all()
    np.testing.assert_array_equal(_clean(array, closing_mm=1), array)


def test_closing_grows_nothing_towards_the_border():
    array = np.zeros((8, 8, 8), np.uint8)
    array[1:7, 1:7, 1:7] = 1
    array[1, 1, 1] = array[6, 6, 6] = 1
    np.testing.assert_array_equal(_clean(array, closing_mm=4), array)


def test_closing_and_filling_never_overwrite_another_label():
    array = np.zeros((9, 9, 20), np.uint8)
    array[2:7, 2:7, 2:7] = array[2:7, 2:7, 10:15] = 1
    array[3:6, 3:6, 8] = 2
    array[4, 4, 4] = 2
    array[3, 3, 3] = 0
    got = _clean(array, closing_mm=2, fill_holes=True)
    np.testing.assert_array_equal(got == 2, array == 2)
    assert got[4, 4, 7] == 1
    assert got[3, 3, 3] == 1


def test_holes_are_filled_and_bays_are_not():
    array = np.zeros((9, 9, 9), np.uint8)
    array[1:8, 1:8, 1:8] = 1
    array[3:6, 3:6, 3:6] = 0
    array[4, 4, 6:] = 0
    np.testing.assert_array_equal(_clean(array, fill_holes=True), array)
    array[4, 4, 7] = 1
    filled = _clean(array, fill_holes=True)
    assert filled.sum() == 7**3


def test_a_hole_open_over_an_edge_only_is_a_hole():
    """6-connected background: two voxels that touch at an edge are no way out."""
    array = np.ones((1, 5, 5), np.uint8)
    array[0, 1, 1] = 0
    array[0, 0, 0] = 0
    assert enclosed(array == 1).sum() == 1


def test_a_single_slice_is_filled_in_its_plane():
    array = np.zeros((1, 9, 9), np.uint8)
    array[0, 2:7, 2:7] = 1
    array[0, 4, 4] = 0
    assert _clean(array, fill_holes=True)[0, 4, 4] == 1


def test_only_the_largest_of_26_connected_parts_stays():
    array = np.zeros((8, 8, 8), np.uint8)
    array[0:2, 0:2, 0:2] = 1
    array[2, 2, 2] = 1
    array[5:7, 5:7, 5:7] = 1
    got = _clean(array, largest_component=True)
    assert got.sum() == 9
    assert got[2, 2, 2] == 1


def test_parts_below_the_smallest_volume_go():
    array = np.zeros((10, 10, 20), np.uint8)
    array[0:4, 0:4, 0:4] = 1  # 64 voxels of 0.008 ml: 0.512 ml
    array[6:8, 6:8, 6:8] = 1  # 8 voxels: 0.064 ml
    array[6:8, 6:8, 14:19] = 1  # 20 voxels: 0.16 ml
    spacing = (2.0, 2.0, 2.0)
    assert _clean(array, spacing, min_component_ml=0.064).sum() == 92
    assert _clean(array, spacing, min_component_ml=0.1).sum() == 84
    assert _clean(array, spacing, min_component_ml=0.2).sum() == 64
    assert not _clean(array, spacing, min_component_ml=5).any()


def test_steps_run_in_their_order():
    """Opening first takes the bridge away, so that the smaller body falls to the largest-component rule."""
    array = np.zeros((13, 13, 30), np.uint8)
    array[1:12, 1:12, 1:12] = array[3:10, 3:10, 20:27] = 1
    array[6, 6, 12:20] = 1
    assert _clean(array, largest_component=True)[6, 6, 23] == 1
    assert _clean(array, opening_mm=1.5, largest_component=True)[6, 6, 23] == 0
    spec = PostSpec(steps=(PostStep(label=1, largest_component=True), PostStep(label=1, opening_mm=1.5)))
    assert clean(_labels(array), spec).array[6, 6, 23] == 1


def test_labels_are_cleaned_one_by_one():
    array = np.zeros((8, 8, 8), np.uint8)
    array[0, 0, 0] = array[7, 7, 7] = 2
    array[3:6, 3:6, 3:6] = 1
    array[0, 7, 0] = 1
    spec = PostSpec(steps=(PostStep(label=1, largest_component=True),))
    got = clean(_labels(array), spec).array
    assert (got == 2).sum() == 2
    assert (got == 1).sum() == 27


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    radius=st.sampled_from((0.8, 1.0, 2.0, 3.1)),
    spacing=st.tuples(*[st.sampled_from((0.7, 1.0, 2.5))] * 3),
)
def test_opening_only_takes_and_closing_only_adds_and_twice_is_once(seed, radius, spacing):
    mask = np.random.default_rng(seed).random((9, 11, 10)) > 0.35
    opened, closed = opening(mask, radius, spacing), closing(mask, radius, spacing)
    assert not (opened & ~mask).any()
    assert not (mask & ~closed).any()
    np.testing.assert_array_equal(opening(opened, radius, spacing), opened)
    np.testing.assert_array_equal(closing(closed, radius, spacing), closed)


@pytest.mark.parametrize("spacing", [ONE, (2.0, 1.0, 0.5)])
def test_a_ball_keeps_its_shape_but_for_single_voxels(spacing):
    ball = _ball(7, 31, spacing) == 1
    opened = opening(ball, 2.1, spacing)
    assert 2 * (opened & ball).sum() / (opened.sum() + ball.sum()) > 0.95


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_dtype_names_and_grid_stay(dtype):
    labels = Labels(_ball(4).astype(dtype), Geometry((21, 21, 21), (1.0, 2.0, 3.0)), {1: "one"})
    got = clean(labels, PostSpec(steps=(PostStep(label=1, opening_mm=2),)))
    assert got.array.dtype == dtype
    assert got.geometry is labels.geometry
    assert dict(got.names) == {1: "one"}


def test_ties_of_size_keep_exactly_one_part():
    mask = np.zeros((3, 3, 9), bool)
    mask[1, 1, 1] = mask[1, 1, 4] = mask[1, 1, 7] = True
    assert large_components(mask, only_largest=True, min_voxels=0).sum() == 1
