"""Geometry, checked as a property over every storage order and over oblique grids."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from segloop.errors import GeometryMismatch, InputError
from segloop.volume import Geometry, Labels, Reorientation, Volume

ORDERS = [
    (permutation, flips)
    for permutation in itertools.permutations(range(3))
    for flips in itertools.product((False, True), repeat=3)
]

angles = st.tuples(*[st.floats(-40, 40)] * 3)
spacings = st.tuples(*[st.floats(0.3, 6)] * 3)


def oblique(degrees: tuple[float, float, float], spacing: tuple[float, float, float] = (3.0, 1.5, 0.75)) -> Geometry:
    turned = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    rows = [tuple(map(float, turned @ axis)) for axis in np.eye(3)[::-1]]
    return Geometry((4, 5, 6), spacing, (-12.5, 40.25, 7.0), (rows[0], rows[1], rows[2]))


def test_default_axes_run_to_superior_posterior_left():
    assert Geometry((2, 3, 4)).axis_codes == "SPL"


def test_voxel_index_maps_to_lps_by_hand():
    grid = Geometry((2, 3, 4), (5.0, 2.0, 1.0), (10.0, 20.0, 30.0))
    np.testing.assert_allclose(grid.to_lps(np.array([1, 2, 3])), [10 + 3 * 1, 20 + 2 * 2, 30 + 1 * 5])


@given(degrees=angles, spacing=spacings)
def test_index_and_point_are_inverse(degrees, spacing):
    grid = oblique(degrees, spacing)
    index = np.array([[0, 0, 0], [3, 4, 5], [1.5, 0.25, 2]])
    np.testing.assert_allclose(grid.to_index(grid.to_lps(index)), index, atol=1e-9)


@given(degrees=angles, spacing=spacings)
def test_affine_round_trip(degrees, spacing):
    grid = oblique(degrees, spacing)
    assert Geometry.from_affine(grid.affine, grid.shape).same_grid(grid, 1e-6)


@pytest.mark.parametrize(("permutation", "flips"), ORDERS)
def test_every_voxel_keeps_its_place_in_the_patient_through_any_storage_order(permutation, flips):
    grid = oblique((10, -20, 30))
    image = np.arange(4 * 5 * 6).reshape(grid.shape)
    turn = Reorientation(permutation, flips)
    turned, turned_grid = turn.array(image), turn.geometry(grid)
    where = {int(image[i]): grid.to_lps(np.array(i)) for i in np.ndindex(image.shape)}
    for index in np.ndindex(turned.shape):
        np.testing.assert_allclose(turned_grid.to_lps(np.array(index)), where[int(turned[index])], atol=1e-9)
    np.testing.assert_array_equal(turn.inverse.array(turned), image)
    assert turn.inverse.geometry(turned_grid).same_grid(grid, 1e-9)


@pytest.mark.parametrize(("permutation", "flips"), ORDERS)
def test_reorienting_undoes_any_storage_order(permutation, flips):
    patient = Volume(np.arange(4 * 5 * 6).reshape(4, 5, 6), oblique((10, -20, 30)))
    turn = Reorientation(permutation, flips)
    stored = Volume(turn.array(patient.array), turn.geometry(patient.geometry))
    again = stored.reoriented(patient.geometry.axis_codes)
    np.testing.assert_array_equal(again.array, patient.array)
    assert again.geometry.same_grid(patient.geometry, 1e-9)


def test_channels_stay_last():
    image = Volume(np.zeros((2, 3, 4, 3)), Geometry((2, 3, 4)))
    assert image.reoriented("LPS").array.shape == (4, 3, 2, 3)
    assert image.channels == 3


@pytest.mark.parametrize(
    "faulty",
    [
        {"spacing_mm": (0.0, 1.0, 1.0)},
        {"spacing_mm": (1.0, float("nan"), 1.0)},
        {"origin_mm": (float("inf"), 0.0, 0.0)},
        {"direction": ((0.0, 0.0, 1.0), (0.0, 1.0, 0.2), (1.0, 0.0, 0.0))},
    ],
)
def test_impossible_geometry_is_refused(faulty):
    with pytest.raises(InputError) as caught:
        Geometry((2, 2, 2), **faulty)
    assert caught.value.code == "geometry.invalid"


def test_a_shift_of_a_tenth_of_a_millimetre_is_another_grid():
    grid = Geometry((3, 3, 3))
    moved = Geometry((3, 3, 3), origin_mm=(0.1, 0.0, 0.0))
    assert not grid.same_grid(moved)
    with pytest.raises(GeometryMismatch):
        grid.require_same_grid(moved, "mask")


def test_pixels_cannot_be_changed_in_place():
    image = Volume(np.zeros((1, 2, 2)), Geometry((1, 2, 2)))
    with pytest.raises(ValueError, match="read-only"):
        image.array[0, 0, 0] = 1


def test_array_and_geometry_must_agree():
    with pytest.raises(GeometryMismatch):
        Volume(np.zeros((2, 2, 2)), Geometry((2, 2, 3)))


def test_labels_hold_whole_numbers_and_cross_a_process():
    with pytest.raises(InputError):
        Labels(np.zeros((1, 1, 1), np.float32), Geometry((1, 1, 1)))
    labels = Labels(np.ones((1, 1, 1), np.uint8), Geometry((1, 1, 1)), {1: "肝脏"})
    copy = pickle.loads(pickle.dumps(labels))
    assert dict(copy.names) == {1: "肝脏"}
    assert copy.array[0, 0, 0] == 1
