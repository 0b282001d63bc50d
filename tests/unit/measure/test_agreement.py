from __future__ import annotations

from math import inf, isinf, isnan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import cdist

from segloop.errors import GeometryMismatch
from segloop.measure import bootstrap_interval, dice, hausdorff_mm, surface_dice
from segloop.volume import Vector

SHAPE = (4, 5, 6)
masks = arrays(bool, SHAPE)
spacings = st.tuples(*[st.floats(0.3, 6.0)] * 3)
EMPTY = np.zeros(SHAPE, bool)


def ball(shape: tuple[int, int, int], centre: Vector, radius_mm: float, spacing: Vector) -> np.ndarray:
    grid = np.indices(shape, float)
    return sum(((grid[a] - centre[a]) * spacing[a]) ** 2 for a in range(3)) <= radius_mm**2


def surface_points(mask: np.ndarray, spacing: Vector) -> np.ndarray:
    """By the definition, one voxel at a time."""
    padded = np.pad(mask, 1)
    points = []
    for z, y, x in np.argwhere(mask):
        centre = (z + 1, y + 1, x + 1)
        for axis, step in [(a, s) for a in range(3) for s in (-1, 1)]:
            neighbour = list(centre)
            neighbour[axis] += step
            if not padded[tuple(neighbour)]:
                points.append((z, y, x))
                break
    return np.array(points) * np.array(spacing)


@settings(max_examples=80, deadline=None)
@given(one=masks, other=masks, spacing=spacings)
def test_both_ways_give_the_same_and_the_whole_is_in_range(one: np.ndarray, other: np.ndarray, spacing: Vector) -> None:
    np.testing.assert_equal(dice(one, other), dice(other, one))
    np.testing.assert_equal(hausdorff_mm(one, other, spacing), hausdorff_mm(other, one, spacing))
    np.testing.assert_equal(surface_dice(one, other, spacing), surface_dice(other, one, spacing))
    if one.any() and other.any():
        assert 0 <= dice(one, other) <= 1
        assert 0 <= surface_dice(one, other, spacing) <= 1
        assert 0 <= hausdorff_mm(one, other, spacing) <= hausdorff_mm(one, other, spacing, 100.0)


@settings(max_examples=60, deadline=None)
@given(one=masks, other=masks, spacing=spacings, percentile=st.sampled_from([50.0, 95.0, 100.0]))
def test_distances_are_those_of_the_definition(
    one: np.ndarray, other: np.ndarray, spacing: Vector, percentile: float
) -> None:
    if not one.any() or not other.any():
        return
    between = cdist(surface_points(one, spacing), surface_points(other, spacing))
    ways = between.min(axis=1), between.min(axis=0)
    assert hausdorff_mm(one, other, spacing, percentile) == pytest.approx(
        max(np.percentile(w, percentile) for w in ways)
    )
    near = sum(int((w <= 1.0).sum()) for w in ways) / sum(len(w) for w in ways)
    assert surface_dice(one, other, spacing, 1.0) == pytest.approx(near)


@settings(max_examples=30, deadline=None)
@given(mask=masks, spacing=spacings)
def test_a_mask_agrees_with_itself(mask: np.ndarray, spacing: Vector) -> None:
    if mask.any():
        assert (dice(mask, mask), hausdorff_mm(mask, mask, spacing), surface_dice(mask, mask, spacing, 0.0)) == (
            1.0,
            0.0,
            1.0,
        )


def test_empty_masks_have_a_stated_answer() -> None:
    full = np.ones(SHAPE, bool)
    unit = (1.0, 1.0, 1.0)
    assert isnan(dice(EMPTY, EMPTY))
    assert isnan(hausdorff_mm(EMPTY, EMPTY, unit))
    assert isnan(surface_dice(EMPTY, EMPTY, unit))
    for one, other in ((EMPTY, full), (full, EMPTY)):
        assert dice(one, other) == 0.0
        assert hausdorff_mm(one, other, unit) == inf
        assert surface_dice(one, other, unit) == 0.0


def test_spacing_decides_the_distance() -> None:
    one, other = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    one[0, 0, 0], other[2, 0, 0] = True, True
    assert hausdorff_mm(one, other, (3.5, 1.0, 1.0)) == 7.0
    assert surface_dice(one, other, (3.5, 1.0, 1.0), 7.0) == 1.0
    assert surface_dice(one, other, (3.5, 1.0, 1.0), 6.9) == 0.0


def test_concentric_balls_are_as_far_apart_as_their_radii() -> None:
    spacing = (1.0, 0.5, 0.5)
    small, large = (ball((40, 80, 80), (20, 40, 40), radius, spacing) for radius in (10.0, 15.0))
    assert hausdorff_mm(small, large, spacing, 100.0) == pytest.approx(5.0, abs=1.0)
    assert dice(small, large) == pytest.approx(2 * 10**3 / (10**3 + 15**3), abs=0.01)


def test_a_mask_at_the_edge_of_the_volume_has_its_surface_there() -> None:
    full = np.ones(SHAPE, bool)
    inner = full.copy()
    inner[0] = False
    assert hausdorff_mm(full, inner, (2.0, 1.0, 1.0), 100.0) == 2.0


def test_masks_of_different_shape_are_refused() -> None:
    with pytest.raises(GeometryMismatch, match="differ in shape"):
        dice(EMPTY, np.zeros((4, 5, 7), bool))


def test_the_bootstrap_interval_is_that_of_the_normal_theory_and_repeats() -> None:
    values = np.random.default_rng(1).normal(0.88, 0.04, 200)
    low, high = bootstrap_interval(values, seed=3)
    half = 1.96 * values.std() / np.sqrt(200)
    assert (low, high) == bootstrap_interval(values, seed=3)
    assert low == pytest.approx(values.mean() - half, abs=5e-4)
    assert high == pytest.approx(values.mean() + half, abs=5e-4)


def test_the_bootstrap_interval_of_nothing_and_of_one() -> None:
    assert all(isnan(end) for end in bootstrap_interval([float("nan")]))
    assert bootstrap_interval([0.5, float("nan"), inf]) == (0.5, 0.5)
    assert not isinf(bootstrap_interval([1.0, 2.0, inf])[1])
