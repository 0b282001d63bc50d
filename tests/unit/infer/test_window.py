import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segloop.infer.window import blend_weights, network_shape, total_weights, window_starts, windows


@given(length=st.integers(1, 200), window=st.integers(1, 60), overlap=st.floats(0, 0.9))
def test_windows_cover_the_axis_and_overlap_enough(length, window, overlap):
    starts = window_starts(length, window, overlap)
    covered = np.zeros(max(length, window), int)
    for start in starts:
        covered[start : start + window] += 1
    assert covered.min() >= 1
    assert starts[0] == 0
    assert starts[-1] == max(0, length - window)
    steps = np.diff(starts)
    assert (steps > 0).all()
    assert (steps <= max(1, int(window * (1 - overlap)))).all()


def test_an_image_as_large_as_the_window_takes_one():
    assert windows((8, 8, 8), (8, 8, 8), 0.5) == [(0, 0, 0)]
    assert windows((8, 8, 12), (8, 8, 8), 0.5) == [(0, 0, 0), (0, 0, 4)]


@pytest.mark.parametrize("sigma", [0.01, 0.125, 1.0])
def test_weights_are_symmetric_positive_and_largest_in_the_middle(sigma):
    weights = blend_weights((5, 8, 7), sigma)
    assert weights.dtype == np.float32
    assert weights.min() > 0
    np.testing.assert_array_equal(weights, weights[::-1, ::-1, ::-1])
    assert weights.max() == weights[2, 3, 3]


def test_the_product_of_sums_is_the_sum_of_windows():
    shape, patch = (9, 17, 20), (6, 8, 10)
    total = np.zeros(shape)
    for z, y, x in windows(shape, patch, 0.5):
        total[z : z + 6, y : y + 8, x : x + 10] += blend_weights(patch, 0.125)
    depth, height, width = total_weights(shape, patch, 0.5, 0.125)
    np.testing.assert_allclose(depth[:, None, None] * height[:, None] * width, total, rtol=1e-5)


def test_whole_images_are_padded_to_the_divisor_and_the_patch():
    assert network_shape((35, 59, 31), (8, 8, 8), (40, 56, 40)) == (40, 64, 40)
