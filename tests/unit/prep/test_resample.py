import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segloop.prep import axis_weights, match, resample
from segloop.prep.resample import centre_padding
from segloop.volume import Geometry


@given(
    n_in=st.integers(1, 40),
    n_out=st.integers(1, 40),
    scale=st.floats(0.1, 8),
    offset=st.floats(-3, 3),
    order=st.sampled_from((0, 1)),
    antialias=st.booleans(),
)
def test_every_row_is_an_average(n_in, n_out, scale, offset, order, antialias):
    matrix = axis_weights(n_in, n_out, scale, offset, order=order, antialias=antialias)
    assert matrix.shape == (n_out, n_in)
    assert matrix.dtype == np.float32
    assert (matrix >= 0).all()
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-5)


def test_linear_weights_are_the_ones_of_np_interp():
    matrix = axis_weights(7, 15, 0.4, 0.2, antialias=False)
    values = np.random.default_rng(0).normal(size=7)
    expected = np.interp(0.2 + 0.4 * np.arange(15), np.arange(7), values)
    np.testing.assert_allclose(matrix @ values, expected, atol=1e-6)


def test_nearest_takes_one_sample_and_ties_go_to_the_later():
    matrix = axis_weights(4, 3, 1.0, 0.5, order=0)
    np.testing.assert_array_equal(matrix.argmax(axis=1), [1, 2, 3])
    assert set(np.unique(matrix)) == {0.0, 1.0}


def test_a_coarser_grid_averages_instead_of_skipping_samples():
    stripes = np.tile([0.0, 1.0], 20)
    smooth = axis_weights(40, 10, 4.0, 1.5) @ stripes
    skipped = axis_weights(40, 10, 4.0, 1.0, order=0) @ stripes
    assert np.abs(smooth - 0.5).max() < 0.1
    assert set(skipped) == {1.0}


def test_unknown_order_is_refused():
    with pytest.raises(ValueError, match="order 0 or 1"):
        axis_weights(3, 3, 1.0, 0.0, order=3)


def test_equal_spacing_is_the_identity_to_the_bit():
    grid = Geometry((5, 6, 7), (1.0, 1.0005, 0.9995))
    grids = match(grid, (1.0, 1.0, 1.0))
    assert grids.target is grid
    assert grids.weights() == (None, None, None)
    array = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)
    assert resample(array, grids.weights()).tobytes() == array.tobytes()


@given(
    shape=st.tuples(*[st.integers(1, 30)] * 3),
    own=st.tuples(*[st.sampled_from((0.3, 0.7, 1.0, 2.2, 5.0))] * 3),
    wanted=st.tuples(*[st.sampled_from((0.5, 1.0, 3.0))] * 3),
)
def test_fields_of_view_share_centre_and_nearly_their_edges(shape, own, wanted):
    source = Geometry(shape, own, (3.0, -8.0, 100.0), ((0.0, 0.0, -1.0), (0.0, 1.0, 0.0), (-1.0, 0.0, 0.0)))
    target = match(source, wanted).target
    centres = [g.to_lps((np.asarray(g.shape, float) - 1) / 2) for g in (source, target)]
    np.testing.assert_allclose(centres[0], centres[1], atol=1e-9)
    for before, after, spacing in zip(source.extent_mm, target.extent_mm, target.spacing_mm, strict=True):
        assert after == pytest.approx(max(before, spacing), abs=spacing / 2 + 1e-9)


@pytest.mark.parametrize("spacing", [0.7, 1.0, 5.0])
def test_a_linear_ramp_keeps_its_values_in_space(spacing):
    source = Geometry((20, 24, 28), (spacing, 1.0, 0.8))
    points = source.to_lps(np.moveaxis(np.indices(source.shape), 0, -1))
    ramp = points @ [0.3, -0.2, 0.1]
    grids = match(source, (1.0, 1.0, 1.0))
    got = resample(ramp, grids.weights())
    expected = grids.target.to_lps(np.moveaxis(np.indices(grids.target.shape), 0, -1)) @ [0.3, -0.2, 0.1]
    # Beyond the outermost samples the ramp is continued flat, so only the inside can agree.
    edge = int(np.ceil(spacing)) + 1
    inside = (slice(edge, -edge), slice(2, -2), slice(2, -2))
    np.testing.assert_allclose(got[inside], expected[inside], atol=1e-4)


def test_one_slice_becomes_equal_slices():
    grids = match(Geometry((1, 8, 8), (5.0, 1.0, 1.0)), (1.0, 1.0, 1.0))
    array = np.random.default_rng(0).normal(size=(1, 8, 8)).astype(np.float32)
    got = resample(array, grids.weights())
    assert got.shape == (5, 8, 8)
    np.testing.assert_allclose(got, np.repeat(array, 5, axis=0), rtol=1e-6)


def test_padding_is_half_before_and_the_rest_after():
    assert centre_padding((5, 8, 9), (8, 8, 4)) == [(1, 2), (0, 0), (0, 0)]
