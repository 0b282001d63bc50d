"""Geometry of augmentation: one draw for image and mask, nothing moved that was not asked for, exact where possible."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from augment_kit import PATCH, applied, batch, spec
from segloop.data.augment import Augment

KINDS = ("rotation", "scale", "elastic")
ALL = spec(*KINDS, mirror_axes=(0, 1, 2))


def landmarks(patch: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """An image that holds its own coordinates and 1, and random classes."""
    grid = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in patch), indexing="ij")
    return np.stack([*grid, np.ones(patch, np.float32)], -1)[None], np.random.default_rng(1).integers(
        0, 4, (1, *patch)
    ).astype(np.uint8)


def require_together(image: np.ndarray, label: np.ndarray, before: np.ndarray) -> int:
    """Every voxel has the class of the voxel nearest to where its value was read; how many were compared."""
    place = image[..., :3]
    # Not where a part of what lies beyond the image was read, and not half-way between two voxels.
    inside = image[..., 3] > 0.9999
    sure = inside & (np.abs(place - np.floor(place) - 0.5) > 1e-3).all(-1)
    z, y, x = np.moveaxis(np.floor(place + 0.5).astype(int), -1, 0)
    np.testing.assert_array_equal(label[sure], before[0][z[sure], y[sure], x[sure]])
    return int(sure.sum())


@pytest.mark.parametrize("kind", [*KINDS, "mirror"])
@settings(deadline=None, max_examples=6)
@given(seed=st.integers(0, 2**31 - 1), anisotropy=st.sampled_from([1.0, 2.5]))
def test_each_geometric_transform_moves_image_and_mask_alike(kind: str, seed: int, anisotropy: float) -> None:
    patch = (12, 16, 14)
    asked = spec(mirror_axes=(0, 1, 2)) if kind == "mirror" else spec(kind)
    images, labels = landmarks(patch)
    image, label = applied(Augment(asked, patch, (anisotropy, 1.0, 1.0)), seed, images, labels)
    assert require_together(image[0], label[0], labels) > 200


@settings(deadline=None, max_examples=8)
@given(seed=st.integers(0, 2**31 - 1))
def test_all_of_them_together_do_too(seed: int) -> None:
    patch = (14, 14, 14)
    images, labels = landmarks(patch)
    image, label = applied(Augment(ALL, patch), seed, images, labels)
    assert require_together(image[0], label[0], labels) > 200


@settings(deadline=None, max_examples=6)
@given(seed=st.integers(0, 2**31 - 1))
def test_two_dimensions_leave_z_alone(seed: int) -> None:
    patch = (1, 18, 16)
    images, labels = landmarks(patch)
    augment = Augment(ALL, patch, dims=2)
    drawn = augment.draw(seed, 1)
    np.testing.assert_array_equal(np.asarray(augment.coordinates(drawn, ops.zeros((1, 3))))[0], 0)
    image, label = augment.apply(drawn, ops.convert_to_tensor(images[:, 0]), ops.convert_to_tensor(labels[:, 0]))
    assert tuple(image.shape) == (1, 18, 16, 4)
    assert tuple(label.shape) == (1, 18, 16)
    assert require_together(np.asarray(image), np.asarray(label), labels) > 50


def test_probability_zero_everywhere_is_identity() -> None:
    images, labels = batch()
    image, label = applied(Augment(spec(), PATCH), 3, images, labels)
    np.testing.assert_array_equal(image, images)
    np.testing.assert_array_equal(label, labels)


def test_a_mask_gets_no_class_it_did_not_have() -> None:
    images, labels = batch()
    labels = np.asarray([0, 3, 200, 255], np.uint8)[labels]
    _, label = applied(Augment(ALL, PATCH), 4, images, labels)
    assert set(np.unique(label)) <= {0, 3, 200, 255}
    assert len(np.unique(label)) == 4


@pytest.mark.parametrize("axes", [(), (0,), (2,), (0, 1)])
def test_only_allowed_axes_are_mirrored(axes: tuple[int, ...]) -> None:
    drawn = Augment(spec(mirror_axes=axes), PATCH).draw(0, 64)
    signs = np.sign(np.diagonal(np.asarray(drawn.matrix), axis1=1, axis2=2))
    for axis in range(3):
        assert set(signs[:, axis]) == ({-1.0, 1.0} if axis in axes else {1.0})
    np.testing.assert_array_equal(np.asarray(drawn.swapped), signs[:, 2] < 0)


def test_mirroring_is_exact() -> None:
    images, labels = batch(1)
    augment = Augment(spec(mirror_axes=(1, 2)), PATCH)
    seen = {applied(augment, seed, images, labels)[0].tobytes() for seed in range(24)}
    turned = [images, images[:, :, ::-1], images[..., ::-1, :], images[:, :, ::-1, ::-1]]
    assert seen == {np.ascontiguousarray(image).tobytes() for image in turned}


def test_rotation_keeps_lengths_on_an_anisotropic_grid() -> None:
    spacing = (3.0, 1.0, 0.5)
    augment = Augment(spec("rotation"), PATCH, spacing)
    scale = np.diag(spacing)
    for matrix in np.asarray(augment.draw(0, 8).matrix):
        in_mm = scale @ matrix @ np.linalg.inv(scale)
        np.testing.assert_allclose(in_mm @ in_mm.T, np.eye(3), atol=1e-5)
        assert np.abs(in_mm - np.eye(3)).max() > 1e-3


def test_displacements_stay_within_the_limit_in_mm() -> None:
    augment = Augment(spec("elastic", elastic_mm=4.0), PATCH, (2.0, 1.0, 1.0))
    still = augment.coordinates(Augment(spec("elastic", elastic_mm=0.0), PATCH).draw(0, 16), ops.zeros((16, 3)))
    moved = np.asarray(augment.coordinates(augment.draw(0, 16), ops.zeros((16, 3)))) - np.asarray(still)
    in_mm = moved * np.array([2.0, 1.0, 1.0])[:, None, None, None, None]
    assert 0.1 < np.abs(in_mm).max() <= 4.0
