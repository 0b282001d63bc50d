"""Tilted and uneven stacks on a rectangular grid, and masks back on the slices they were read from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from segloop.errors import GeometryMismatch
from segloop.io.dicom.regrid import Regrid
from segloop.volume import Geometry, Labels

ROWS, COLUMNS, COUNT = 24, 20, 6
SPACING = (0.9, 0.7)


def tilted(rotation, degrees: float, step: float, places=None, sideways: float = 0.0) -> Regrid:
    """A stack whose slices are turned by `rotation` and shifted down their columns as a tilted gantry shifts them."""
    axes = Rotation.from_euler("xyz", rotation).as_matrix()
    row, column = axes[:, 0], axes[:, 1]
    normal = np.cross(row, column)
    places = np.arange(COUNT) * step if places is None else np.asarray(places, float)
    shear = np.tan(np.radians(degrees))
    positions = [tuple(np.array([11, -7, 5]) + p * (normal + shear * column + sideways * row)) for p in places]
    source = Geometry(
        (COUNT, ROWS, COLUMNS), (step, *SPACING), positions[0], (tuple(normal), tuple(column), tuple(row))
    )
    return Regrid.between(source, positions, float(places[-1]) / round(places[-1] / step))


def places_of(grid: Regrid) -> np.ndarray:
    """LPS of every source pixel, (n, y, x, 3), by its own header."""
    row, column = np.array(grid.regular.direction[2]), np.array(grid.regular.direction[1])
    y, x = np.mgrid[: grid.source[1], : grid.source[2]]
    plane = y[..., None] * SPACING[0] * column + x[..., None] * SPACING[1] * row
    return np.array(grid.positions)[:, None, None] + plane


angles = st.tuples(*[st.floats(-3.2, 3.2)] * 3)


@settings(max_examples=60, deadline=None)
@given(rotation=angles, degrees=st.floats(-30, 30), step=st.floats(0.5, 6), sideways=st.floats(-0.2, 0.2))
def test_the_grid_holds_every_source_pixel_where_its_header_puts_it(rotation, degrees, step, sideways):
    grid = tilted(rotation, degrees, step, sideways=sideways)
    index = grid.regular.to_index(places_of(grid))
    z, y, x = np.moveaxis(index, -1, 0)
    for k, shift in enumerate(grid.shifts):
        assert np.allclose(z[k], grid.places[k], atol=1e-6)
        assert np.allclose(y[k] - np.arange(ROWS)[:, None], shift[0], atol=1e-6)
        assert np.allclose(x[k] - np.arange(COLUMNS), shift[1], atol=1e-6)
    assert index.min() > -0.01
    assert (index.reshape(-1, 3).max(axis=0) < np.array(grid.regular.shape) - 0.99).all()


@settings(max_examples=60, deadline=None)
@given(
    rotation=angles,
    degrees=st.floats(-30, 30),
    step=st.floats(0.5, 6),
    sideways=st.floats(-0.2, 0.2),
    seed=st.integers(0, 999),
)
def test_a_mask_drawn_on_tilted_slices_comes_back_pixel_for_pixel(rotation, degrees, step, sideways, seed):
    grid = tilted(rotation, degrees, step, sideways=sideways)
    drawn = np.random.default_rng(seed).integers(0, 5, grid.source).astype(np.uint8)
    back = grid.to_source(Labels(grid.labels(drawn), grid.regular))
    # A shift of exactly half a pixel may be rounded to either side.
    if not any(abs(s % 1 - 0.5) < 1e-6 for shift in grid.shifts for s in shift):
        assert (back == drawn).all()


@settings(max_examples=40, deadline=None)
@given(rotation=angles, degrees=st.floats(-30, 30), step=st.floats(0.5, 6), slope=st.tuples(*[st.floats(-9, 9)] * 3))
def test_an_image_that_is_linear_in_the_patient_stays_so(rotation, degrees, step, slope):
    """A mirrored or shifted voxel would show at once."""
    grid = tilted(rotation, degrees, step)
    image = grid.image((places_of(grid) @ np.array(slope)).astype(np.float32))
    z, y, x = np.indices(grid.regular.shape)
    truth = grid.regular.to_lps(np.stack([z, y, x], -1)) @ np.array(slope)
    for k, (down, along) in enumerate(grid.shifts):
        rows = slice(int(np.ceil(down)), int(down + ROWS - 1))
        columns = slice(int(np.ceil(along)), int(along + COLUMNS - 1))
        assert np.allclose(image[k, rows, columns], truth[k, rows, columns], atol=0.05)


def test_uneven_slices_are_interpolated_between_their_true_places():
    places = (0, 2, 4.5, 6, 8.2, 10)
    grid = tilted((0, 0, 0), 0, 2, places)
    assert grid.regular.shape == (6, ROWS, COLUMNS)
    assert grid.regular.spacing_mm[0] == pytest.approx(2)
    stored = np.broadcast_to(np.rint(np.array(places) * 100)[:, None, None], grid.source).astype(np.int16)
    assert grid.image(stored)[:, 3, 3].tolist() == [0, 200, 400, 600, 800, 1000]
    labels = np.zeros(grid.regular.shape, np.uint8)
    labels[2:4] = 1
    assert grid.to_source(Labels(labels, grid.regular))[:, 0, 0].tolist() == [0, 0, 1, 1, 0, 0]


def test_what_no_slice_reaches_is_the_lowest_value_and_no_label():
    grid = tilted((0, 0, 0), 20, 3)
    image = grid.image(np.full(grid.source, 40, np.int16) - np.eye(ROWS, COLUMNS, dtype=np.int16))
    assert image.dtype == np.int16
    assert (image[0, ROWS:] == 39).all()
    assert (grid.labels(np.ones(grid.source, np.uint8))[0, ROWS + 1 :] == 0).all()


def test_masks_of_another_grid_are_refused():
    grid = tilted((0, 0, 0), 20, 3)
    with pytest.raises(GeometryMismatch):
        grid.to_source(Labels(np.zeros(grid.source, np.uint8), Geometry(grid.source)))
    with pytest.raises(GeometryMismatch):
        grid.image(np.zeros(grid.regular.shape, np.int16))


@pytest.mark.parametrize("pixels", [0.5, -0.5, 1.5, 0.25])
def test_slices_shifted_by_half_a_pixel_keep_every_row_of_a_mask_once(pixels):
    step = 2.0
    grid = tilted((0, 0, 0), np.degrees(np.arctan(pixels * SPACING[0] / step)), step)
    drawn = np.random.default_rng(0).integers(0, 40, grid.source).astype(np.uint8)
    labels = Labels(grid.labels(drawn), grid.regular, {n: str(n) for n in range(1, 41)})
    assert np.array_equal(grid.to_source(labels), drawn)
    for k in range(COUNT):
        rows = np.flatnonzero(labels.array[k].any(axis=1))
        assert np.array_equal(rows, np.arange(rows[0], rows[0] + ROWS))
