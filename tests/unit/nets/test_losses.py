"""Every term of the losses against its paper's formula, written out in NumPy and SciPy."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage

from segloop.nets import losses
from segloop.nets.losses.extras import REACH

SPACES = [(9, 11), (7, 9, 8)]


def _softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)


def _masks(space: tuple[int, ...], seed: int = 0, labels: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Smooth probabilities and targets, (2, *space, labels)."""
    draw = np.random.default_rng(seed)
    sigma = (0, *(1.5,) * len(space), 0)
    noise = ndimage.gaussian_filter(draw.normal(size=(2, *space, labels)), sigma)
    target = (noise > 0).astype(np.float32)
    blurred = ndimage.gaussian_filter(target + draw.normal(0, 0.4, target.shape), sigma)
    return np.clip(blurred, 0.01, 0.99).astype(np.float32), target


def _each(values: np.ndarray) -> list[np.ndarray]:
    """Image by image and label by label."""
    return [values[b, ..., k] for b in range(values.shape[0]) for k in range(values.shape[-1])]


def _cross(dims: int) -> np.ndarray:
    return ndimage.generate_binary_structure(dims, 1)


def _eroded(values: np.ndarray) -> np.ndarray:
    return ndimage.grey_erosion(values, footprint=_cross(values.ndim), mode="constant", cval=np.inf)


def _dilated(values: np.ndarray) -> np.ndarray:
    return ndimage.grey_dilation(values, size=(3,) * values.ndim, mode="constant", cval=-np.inf)


def test_dice() -> None:
    p, t = _masks((7, 9, 8))
    pooled = (0, 1, 2, 3)
    dice = 2 * (p * t).sum(pooled) / (p + t).sum(pooled)
    assert float(losses.soft_dice(p, t, smooth=0.0)) == pytest.approx(1 - dice.mean(), rel=1e-5)


def test_generalised_dice() -> None:
    t = np.eye(3, dtype=np.float32)[np.random.default_rng(0).choice(3, (2, 6, 7), p=(0.9, 0.08, 0.02))]
    p = _softmax(np.random.default_rng(1).normal(size=t.shape)).astype(np.float32)
    pooled = (0, 1, 2)
    w = 1 / t.sum(pooled) ** 2
    expected = 1 - 2 * (w * (p * t).sum(pooled)).sum() / (w * (p + t).sum(pooled)).sum()
    assert float(losses.generalised_dice(p, t, smooth=0.0)) == pytest.approx(expected, rel=1e-5)
    # A label that is absent counts like the rarest one that is there.
    t[..., 1] += t[..., 2]
    t[..., 2] = 0
    w = 1 / np.array([t[..., 0].sum(), t[..., 1].sum(), t[..., 1].sum()]) ** 2
    expected = 1 - 2 * (w * (p * t).sum(pooled)).sum() / (w * (p + t).sum(pooled)).sum()
    assert float(losses.generalised_dice(p, t, smooth=0.0)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("alpha", "beta"), [(0.3, 0.7), (0.5, 0.5), (1.0, 0.0)])
def test_tversky_and_focal_tversky(alpha: float, beta: float) -> None:
    p, t = _masks((9, 11))
    pooled = (0, 1, 2)
    false_positive, false_negative = (p * (1 - t)).sum(pooled), ((1 - p) * t).sum(pooled)
    index = (p * t).sum(pooled) / ((p * t).sum(pooled) + alpha * false_positive + beta * false_negative)
    assert float(losses.tversky(p, t, alpha, beta, smooth=0.0)) == pytest.approx((1 - index).mean(), rel=1e-5)
    focal = losses.focal_tversky(p, t, alpha, beta, gamma=4 / 3, smooth=0.0)
    assert float(focal) == pytest.approx(((1 - index) ** 0.75).mean(), rel=1e-5)


def test_tversky_with_halves_is_dice() -> None:
    p, t = _masks((9, 11))
    dice = float(losses.soft_dice(p, t, smooth=0.0))
    assert float(losses.tversky(p, t, 0.5, 0.5, smooth=0.0)) == pytest.approx(dice, rel=1e-5)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.5, 1.0, 1.0), (1.0, 0.7, 1.6)])
def test_distances_equal_scipys_up_to_their_reach(spacing: tuple[float, float, float]) -> None:
    draw = np.random.default_rng(3)
    marked = draw.random((2, 9, 14, 12, 2)) < 0.01
    marked[0, ..., 1] = False
    reach = 4.5
    found = np.sqrt(np.asarray(losses.squared_distance(marked, spacing, reach)))
    for b, k in ((0, 0), (1, 0), (1, 1)):
        exact = ndimage.distance_transform_edt(~marked[b, ..., k], sampling=spacing)
        np.testing.assert_allclose(found[b, ..., k], np.minimum(exact, reach), rtol=1e-5)
    np.testing.assert_allclose(found[0, ..., 1], reach)


@pytest.mark.parametrize("space", SPACES)
def test_signed_distance_runs_through_0_between_voxels(space: tuple[int, ...]) -> None:
    _, t = _masks(space)
    spacing = (2.0, 1.0, 1.0)[3 - len(space) :]
    found = np.asarray(losses.signed_distance(t, spacing, 100.0))
    for mask, signed in zip(_each(t), _each(found), strict=True):
        outer, inner = (ndimage.distance_transform_edt(m, sampling=spacing) for m in (mask == 0, mask))
        np.testing.assert_allclose(signed, np.where(mask > 0, 0.5 - inner, outer - 0.5), rtol=1e-5)


@pytest.mark.parametrize("space", SPACES)
def test_boundary_is_the_integral_of_distance_and_error(space: tuple[int, ...]) -> None:
    p, t = _masks(space)
    spacing = (3.0, 1.5, 1.5)[3 - len(space) :]
    steps = [s / min(spacing) for s in spacing]
    total = 0.0
    for mask, soft in zip(_each(t), _each(p), strict=True):
        outer, inner = (ndimage.distance_transform_edt(m, sampling=steps) for m in (mask == 0, mask))
        distance = np.where(mask > 0, -np.minimum(inner, REACH) + 0.5, np.minimum(outer, REACH) - 0.5)
        total += ((soft - mask) * distance).sum()
    assert float(losses.boundary(p, t, None, spacing)) == pytest.approx(total / p.size, rel=1e-4)
    assert float(losses.boundary(t, t, None, spacing)) == 0


@pytest.mark.parametrize("space", SPACES)
def test_hausdorff_is_what_erosions_leave_of_the_error(space: tuple[int, ...]) -> None:
    p, t = _masks(space)
    total = 0.0
    for mask, soft in zip(_each(t), _each(p), strict=True):
        error = (soft - mask) ** 2
        for k in (1, 2, 3):
            error = _eroded(error)
            total += (error * k**2).sum()
    assert float(losses.erosion_hausdorff(p, t, None, 3)) == pytest.approx(total / p.size, rel=1e-4)


def test_a_deep_error_costs_more_than_a_long_one_of_as_many_voxels() -> None:
    truth = np.zeros((1, 24, 24, 1), np.float32)
    deep, shallow = truth.copy(), truth.copy()
    deep[0, 4:10, 4:10] = 1
    shallow[0, 10:12, 2:20] = 1
    assert deep.sum() == shallow.sum()
    assert float(losses.erosion_hausdorff(deep, truth, None, 3)) > float(
        losses.erosion_hausdorff(shallow, truth, None, 3)
    )
    near, far = truth.copy(), truth.copy()
    truth[0, 8:16, 8:16] = near[0, 8:16, 8:16] = far[0, 8:16, 8:16] = 1
    near[0, 7, 8:16], far[0, 0, 8:16] = 1, 1
    assert float(losses.boundary(far, truth, None, (1, 1))) > 3 * float(losses.boundary(near, truth, None, (1, 1)))


@pytest.mark.parametrize("space", SPACES)
def test_soft_skeleton_and_centre_line(space: tuple[int, ...]) -> None:
    p, t = _masks(space)

    def skeleton(values: np.ndarray) -> np.ndarray:
        found = np.maximum(values - _dilated(_eroded(values)), 0)
        for _ in range(3):
            values = _eroded(values)
            found = found + (1 - found) * np.maximum(values - _dilated(_eroded(values)), 0)
        return found

    bones = np.moveaxis([[skeleton(p[b, ..., k]) for k in range(2)] for b in range(2)], 1, -1)
    true = np.moveaxis([[skeleton(t[b, ..., k]) for k in range(2)] for b in range(2)], 1, -1)
    np.testing.assert_allclose(losses.soft_skeleton(p, 3), bones, atol=1e-6)
    pooled = tuple(range(p.ndim - 1))
    precision = ((bones * t).sum(pooled) + 1) / (bones.sum(pooled) + 1)
    sensitivity = ((true * p).sum(pooled) + 1) / (true.sum(pooled) + 1)
    expected = 1 - (2 * precision * sensitivity / (precision + sensitivity)).mean()
    assert float(losses.centre_line(p, t, 3)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_tube_is_reduced_to_its_middle_and_a_gap_in_it_costs_more_than_a_thin_wall(dims: int) -> None:
    tube = np.zeros((1, *(15,) * dims, 1), np.float32)
    tube[(0, *(slice(5, 10),) * (dims - 1), slice(None), 0)] = 1
    line = np.asarray(losses.soft_skeleton(tube, 3))[0, ..., 0]
    middle = (*(7,) * (dims - 1),)
    assert line[middle][3:-3].min() == 1
    assert line[..., 7].sum() == 1
    gap, thin = tube.copy(), tube.copy()
    gap[..., 6:9, :] = 0
    thin[(0, *(slice(5, 6),) * (dims - 1))] = 0
    thin[0, 5] = 0
    assert float(losses.centre_line(gap, tube, 3)) > 2 * float(losses.centre_line(thin, tube, 3))


def test_the_further_terms_grow_with_the_distance_of_a_wrong_blob() -> None:
    truth = np.zeros((1, 40, 20, 1), np.float32)
    truth[0, 2:6, 8:12] = 1
    costs = []
    for start in (7, 10, 13):
        guess = truth.copy()
        guess[0, start : start + 3, 8:12] = 1
        costs.append(float(losses.boundary(guess, truth, None, (1.0, 1.0))))
    assert all(b > a for a, b in pairwise(costs))
