"""Augmentation: replayable, one geometry for image and mask, nothing done that was not asked for."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from segloop.data.augment import Augment, Pool, uniform, warp
from segloop.plan import AugmentationSpec

OFF = AugmentationSpec(
    rotation_probability=0,
    scale_probability=0,
    elastic_probability=0,
    gamma_probability=0,
    contrast_probability=0,
    brightness_probability=0,
    noise_probability=0,
    blur_probability=0,
)
GEOMETRY = OFF.model_copy(
    update={"mirror_axes": (0, 1, 2), "rotation_probability": 1, "scale_probability": 1, "elastic_probability": 1}
)
PATCH = (8, 12, 10)


def _batch(count: int = 2, patch: tuple[int, int, int] = PATCH) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    return draw.normal(size=(count, *patch, 2)).astype(np.float32), draw.integers(0, 4, (count, *patch)).astype(
        np.uint8
    )


def _apply(augment: Augment, seed: int, images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    drawn = augment.draw(seed, len(images))
    image, label = augment.apply(drawn, ops.convert_to_tensor(images), ops.convert_to_tensor(labels))
    return np.asarray(image), np.asarray(label)


def test_probability_zero_everywhere_is_identity() -> None:
    images, labels = _batch()
    image, label = _apply(Augment(OFF, PATCH), 3, images, labels)
    np.testing.assert_array_equal(image, images)
    np.testing.assert_array_equal(label, labels)


def test_the_same_seed_gives_the_same_patches_and_another_seed_others() -> None:
    augment = Augment(GEOMETRY.model_copy(update={"noise_probability": 1.0, "gamma_probability": 1.0}), PATCH)
    images, labels = _batch()
    one, same, other = (_apply(augment, seed, images, labels)[0] for seed in (5, 5, 6))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 0.1


def test_image_and_mask_get_the_same_geometry() -> None:
    """The image holds the coordinates and the labels a function of them: after any warp they must still agree."""
    patch = (24, 24, 24)
    z, y, x = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in patch), indexing="ij")
    images = np.stack([z, y, x, np.ones_like(z)], -1)[None]
    labels = ((z > 11.5) + 2 * (x > 11.5)).astype(np.uint8)[None]
    for seed in range(5):
        image, label = _apply(Augment(GEOMETRY, patch), seed, images, labels)
        inside = image[..., 3] > 0.999  # no share of what lies beyond the image
        sure = inside & (np.abs(image[..., 0] - 11.5) > 0.6) & (np.abs(image[..., 2] - 11.5) > 0.6)
        expected = (image[..., 0] > 11.5) + 2 * (image[..., 2] > 11.5)
        assert sure.sum() > 500
        np.testing.assert_array_equal(label[sure], expected[sure])


@pytest.mark.parametrize("axes", [(), (0,), (2,), (0, 1)])
def test_only_allowed_axes_are_mirrored(axes: tuple[int, ...]) -> None:
    augment = Augment(OFF.model_copy(update={"mirror_axes": axes}), PATCH)
    signs = np.sign(np.diagonal(np.asarray(augment.draw(0, 64).matrix), axis1=1, axis2=2))
    for axis in range(3):
        assert set(signs[:, axis]) == ({-1.0, 1.0} if axis in axes else {1.0})


def test_mirroring_is_exact() -> None:
    images, labels = _batch(1)
    augment = Augment(OFF.model_copy(update={"mirror_axes": (1,)}), PATCH)
    seen = {_apply(augment, seed, images, labels)[0].tobytes() for seed in range(12)}
    assert seen == {images.tobytes(), np.ascontiguousarray(images[:, :, ::-1]).tobytes()}


def test_rotation_keeps_lengths_on_an_anisotropic_grid() -> None:
    spacing = (3.0, 1.0, 0.5)
    augment = Augment(OFF.model_copy(update={"rotation_probability": 1.0}), PATCH, spacing)
    scale = np.diag(spacing)
    for matrix in np.asarray(augment.draw(0, 8).matrix):
        in_mm = scale @ matrix @ np.linalg.inv(scale)
        np.testing.assert_allclose(in_mm @ in_mm.T, np.eye(3), atol=1e-5)
        assert np.abs(in_mm - np.eye(3)).max() > 1e-3


def test_displacements_stay_within_the_limit_in_mm() -> None:
    spec = OFF.model_copy(update={"elastic_probability": 1.0, "elastic_mm": 4.0})
    augment = Augment(spec, PATCH, (2.0, 1.0, 1.0))
    moved = np.asarray(augment.coordinates(augment.draw(0, 16))) - augment._grid
    assert 0.1 < np.abs(moved * np.array([2.0, 1.0, 1.0])).max() <= 4.0


def test_two_dimensions_leave_z_alone() -> None:
    patch = (1, 16, 16)
    images, labels = _batch(3, patch)
    augment = Augment(GEOMETRY, patch, dims=2)
    drawn = augment.draw(1, 3)
    np.testing.assert_array_equal(np.asarray(augment.coordinates(drawn))[..., 0], 0)
    image, label = augment.apply(drawn, ops.convert_to_tensor(images[:, 0]), ops.convert_to_tensor(labels[:, 0]))
    assert tuple(image.shape) == (3, 16, 16, 2)
    assert tuple(label.shape) == (3, 16, 16)


def test_reading_between_voxels_is_linear_and_beyond_the_image_zero() -> None:
    image = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    pool = Pool(
        ops.convert_to_tensor(np.concatenate([np.full((5, 1), 99, np.float32), image.reshape(-1, 1)])),
        ops.convert_to_tensor(np.concatenate([np.full(5, 9, np.uint8), np.arange(8, dtype=np.uint8)])),
        ops.convert_to_tensor(np.array([0, 5], np.int32)),
        ops.convert_to_tensor(np.array([[1, 1, 5], [2, 2, 2]], np.int32)),
    )
    points = np.array([[[0.5, 0.5, 0.5], [1, 0, 1], [0, 0, -0.25], [0, 0, -3], [1, 1, 1.75]]], np.float32)
    values, labels = warp(pool, ops.convert_to_tensor(np.array([1], np.int32)), ops.convert_to_tensor(points))
    np.testing.assert_allclose(np.asarray(values)[0, :, 0], [3.5, 5, 0, 0, 7 * 0.25])
    np.testing.assert_array_equal(np.asarray(labels)[0, 1:], [5, 0, 0, 0])


@pytest.mark.parametrize("field", ["gamma", "contrast", "brightness", "noise", "blur"])
def test_each_change_of_values_happens_when_asked_for(field: str) -> None:
    images, labels = _batch()
    image, label = _apply(Augment(OFF.model_copy(update={f"{field}_probability": 1.0}), PATCH), 1, images, labels)
    assert np.abs(image - images).max() > 1e-3
    np.testing.assert_array_equal(label, labels)
    assert np.isfinite(image).all()


def test_uniform_numbers_are_uniform_and_independent() -> None:
    one, two = (np.asarray(uniform(seed, 0, (50_000,))) for seed in (1, 2))
    assert one.min() >= 0
    assert one.max() < 1
    assert one.mean() == pytest.approx(0.5, abs=0.01)
    assert one.var() == pytest.approx(1 / 12, abs=0.002)
    for other in (two, np.roll(one, 1), np.asarray(uniform(1, 1, (50_000,)))):
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.02
