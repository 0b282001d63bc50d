from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segloop.data.checks.facts import levels
from segloop.data.checks.symmetry import mirror_margins, mirrored_axes


def ball(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A bright ball off the middle, and its label map."""
    draw = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in (12, 16, 14)), indexing="ij"), -1)
    label = (np.linalg.norm(grid - draw.uniform(3, 4.5, 3), axis=-1) < 2.6).astype(np.uint8)
    return draw.normal(0, 10, label.shape) + 60 * label, label


def margins(image: np.ndarray, label: np.ndarray) -> np.ndarray:
    return mirror_margins(label, image, levels(image)[1])


@given(st.integers(0, 50), st.integers(0, 2))
def test_what_fits_as_it_is_does_not_fit_mirrored(seed: int, axis: int) -> None:
    image, label = ball(seed)
    assert (margins(image, label) > 0).all()
    assert (margins(image, np.flip(label, axis))[axis] < 0).all()
    np.testing.assert_allclose(margins(np.flip(image, axis), np.flip(label, axis)), margins(image, label), atol=1e-9)


def test_an_axis_of_one_voxel_tells_nothing() -> None:
    image, label = ball(0)
    assert margins(image[4:5], label[4:5])[0].tolist() == [0, 0]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_one_mirrored_case_is_named_with_its_axis(axis: int) -> None:
    found = {f"c{seed}": margins(*ball(seed)) for seed in range(12)}
    assert list(mirrored_axes(found)) == []
    image, label = ball(5)
    found["c5"] = margins(image, np.flip(label, axis))
    assert list(mirrored_axes(found)) == [("c5", axis, 11, 12)]


def test_a_few_cases_are_no_majority() -> None:
    found = {f"c{seed}": margins(*ball(seed)) for seed in range(6)}
    image, label = ball(6)
    found["c6"] = margins(image, np.flip(label, 0))
    assert list(mirrored_axes(found)) == []
    assert list(mirrored_axes({})) == []
