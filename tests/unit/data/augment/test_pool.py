"""Patches from images in memory: the same voxels as NumPy's own indexing, zeros beyond."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from segloop.data.augment import Pool, crop, warp

SHAPES = ((5, 7, 9), (6, 4, 15))


def stored(channels: int, dims: int = 3) -> tuple[Pool, list[np.ndarray], list[np.ndarray]]:
    draw = np.random.default_rng(0)
    shapes = SHAPES if dims == 3 else [(1, y, x) for _, y, x in SHAPES]
    images = [draw.normal(size=(*shape, channels)).astype(np.float32) for shape in shapes]
    labels = [draw.integers(1, 9, shape).astype(np.uint8) for shape in shapes]
    return Pool.of(images, labels, dims), images, labels


def cut(array: np.ndarray, start: np.ndarray, patch: tuple[int, int, int], mirrored: tuple[bool, ...]) -> np.ndarray:
    """What a patch should hold, with NumPy."""
    wide = [(max(0, -a), max(0, a + n - s)) for a, n, s in zip(start, patch, array.shape[:3], strict=True)]
    padded = np.pad(array, [*wide, *[(0, 0)] * (array.ndim - 3)])
    begin = [a + before for a, (before, _) in zip(start, wide, strict=True)]
    found = padded[tuple(slice(a, a + n) for a, n in zip(begin, patch, strict=True))]
    return found[tuple(slice(None, None, -1 if flip else 1) for flip in mirrored)]


@pytest.mark.parametrize(("channels", "dims"), [(1, 3), (3, 3), (1, 2), (3, 2)])
@settings(deadline=None, max_examples=15)
@given(data=st.data())
def test_a_crop_holds_the_voxels_that_lie_there(channels: int, dims: int, data: st.DataObject) -> None:
    pool, images, labels = stored(channels, dims)
    patch = data.draw(st.sampled_from([(4, 3, 6), (3, 8, 17)]))
    patch = patch if dims == 3 else (1, *patch[1:])
    starts = [[data.draw(st.integers(-20, 20)) if dims == 3 or axis else 0 for axis in range(3)] for _ in range(2)]
    flips = [tuple(data.draw(st.booleans()) and (dims == 3 or axis > 0) for axis in range(3)) for _ in range(2)]
    cases = np.array([data.draw(st.integers(0, 1)) for _ in range(2)], np.int32)
    centre = (np.array(starts) + (np.array(patch) - 1) / 2).astype(np.float32)
    signs = np.where(flips, -1, 1).astype(np.float32)
    image, label = crop(pool, *(ops.convert_to_tensor(part) for part in (cases, centre, signs)), patch)
    for i, case in enumerate(cases):
        np.testing.assert_array_equal(np.asarray(image)[i], cut(images[case], starts[i], patch, flips[i]))
        np.testing.assert_array_equal(np.asarray(label)[i], cut(labels[case], starts[i], patch, flips[i]))


@pytest.mark.parametrize("channels", [1, 2])
def test_reading_between_voxels_is_linear_and_beyond_the_image_zero(channels: int) -> None:
    image = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    other = np.full((1, 1, 5, channels), 99, np.float32)
    pool = Pool.of(
        [other, np.stack([image] * channels, -1)], [np.full((1, 1, 5), 9, np.uint8), image.astype(np.uint8)], 3
    )
    points = np.array([[0.5, 0.5, 0.5], [1, 0, 1], [0, 0, -0.25], [0, 0, -3], [1, 1, 1.75], [90, 90, 90]], np.float32)
    at = [ops.convert_to_tensor(line[None]) for line in (points + 1).T]
    values, labels = warp(pool, ops.convert_to_tensor(np.array([1], np.int32)), at)
    for channel in range(channels):
        np.testing.assert_allclose(np.asarray(values)[0, :, channel], [3.5, 5, 0, 0, 7 * 0.25, 0])
    np.testing.assert_array_equal(np.asarray(labels)[0, 1:], [5, 0, 0, 0, 0])


def test_on_whole_voxels_both_ways_of_reading_agree() -> None:
    pool, _, _ = stored(2)
    patch, case = (3, 4, 5), ops.convert_to_tensor(np.array([1], np.int32))
    centre = np.array([[2.0, 1.5, 6.0]], np.float32)
    image, label = crop(pool, case, ops.convert_to_tensor(centre), ops.ones((1, 3)), patch)
    lines = np.meshgrid(
        *(c + np.arange(n) - (n - 1) / 2 + 1 for c, n in zip(centre[0], patch, strict=True)), indexing="ij"
    )
    points = [ops.convert_to_tensor(line.reshape(1, -1).astype(np.float32)) for line in lines]
    values, nearest = warp(pool, case, points)
    np.testing.assert_array_equal(np.asarray(values).reshape(image.shape), np.asarray(image))
    np.testing.assert_array_equal(np.asarray(nearest).reshape(label.shape), np.asarray(label))
