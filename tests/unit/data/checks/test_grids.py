from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segloop.data.checks.grids import compare, regridded
from segloop.volume import Geometry, Labels

DRAWN = np.random.default_rng(0).integers(0, 4, (4, 6, 5)).astype(np.uint8)
ORIENTATIONS = ("SPL", "IAR", "LPS", "PSR", "ARI", "RSA")


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    """Grids of DRAWN's shape anywhere, turned about the head-foot axis."""
    angle = draw(st.floats(-0.7, 0.7))
    c, s = float(np.cos(angle)), float(np.sin(angle))
    spacing = draw(st.tuples(*[st.floats(0.5, 5.0)] * 3))
    origin = draw(st.tuples(*[st.floats(-200.0, 200.0)] * 3))
    return Geometry(DRAWN.shape, spacing, origin, ((0.0, 0.0, 1.0), (-s, c, 0.0), (c, s, 0.0)))


@given(geometries(), st.floats(-1e-6, 1e-6))
def test_noise_in_the_direction_is_no_fault(grid: Geometry, noise: float) -> None:
    z, y, x = grid.direction
    noisy = replace(grid, direction=(z, (y[0] + noise, y[1], y[2]), (x[0], x[1] - noise, x[2])))
    assert compare(grid, noisy, mendable=True) == ()


@given(geometries(), st.sampled_from(ORIENTATIONS))
def test_another_orientation_of_the_same_grid_is_turned_back_voxel_by_voxel(grid: Geometry, codes: str) -> None:
    turned = Labels(DRAWN, grid).reoriented(codes)
    found = {finding.kind for finding in compare(grid, turned.geometry, mendable=True)}
    assert found == (set() if turned.geometry.same_grid(grid) else {"mirrored_label"})
    np.testing.assert_array_equal(regridded(turned.array, turned.geometry, grid), DRAWN)


@given(geometries(), st.sampled_from(ORIENTATIONS), st.tuples(*[st.integers(0, 3)] * 6))
def test_a_padded_label_map_is_cropped_to_its_place(grid: Geometry, codes: str, margins: tuple[int, ...]) -> None:
    before, after = np.array(margins[:3]), np.array(margins[3:])
    padded = np.pad(DRAWN, list(zip(before, after, strict=True)))
    origin = tuple(grid.to_lps(-before.astype(float)).tolist())
    wide = Labels(padded, replace(grid, shape=padded.shape, origin_mm=origin)).reoriented(codes)
    np.testing.assert_array_equal(regridded(wide.array, wide.geometry, grid), DRAWN)


def test_another_size_is_told_beside_another_orientation() -> None:
    image = Geometry(DRAWN.shape)
    cut = Labels(DRAWN, image).reoriented("SAR").geometry
    found = compare(image, replace(cut, shape=(3, 6, 5)), mendable=False)
    assert [(f.kind, f.found, f.expected) for f in found] == [
        ("mirrored_label", "SAR", "SPL"),
        ("shape_differs", [3, 6, 5], [4, 6, 5]),
    ]


def test_a_crop_that_would_cut_a_label_is_not_made() -> None:
    grid = Geometry(DRAWN.shape)
    small = Geometry((4, 6, 3))
    assert regridded(DRAWN, grid, small) is None
    empty_beyond = np.where(np.arange(5) < 3, DRAWN, 0)
    np.testing.assert_array_equal(regridded(empty_beyond, grid, small), DRAWN[:, :, :3])


@pytest.mark.parametrize("direction", [((0, 0, 1), (0, 1, 0), (1, 0, 0)), ((0, 0, 1), (0, -1, 0), (-1, 0, 0))])
def test_a_lost_header_is_replaced_by_the_image_s(direction: tuple[tuple[int, int, int], ...]) -> None:
    image = Geometry(DRAWN.shape, (3.0, 0.8, 0.8), (-100.0, -90.0, 40.0), ((0, 0, 1), (0, 1, 0), (1, 0, 0)))
    lost = Geometry(DRAWN.shape, direction=direction)
    assert {finding.kind for finding in compare(image, lost, mendable=True)} >= {"spacing_differs", "origin_differs"}
    np.testing.assert_array_equal(regridded(DRAWN, lost, image), DRAWN)


@pytest.mark.parametrize(("shift_mm", "mended"), [(0.02, True), (0.5, True), (0.6, False), (1.0, False), (4.0, False)])
def test_a_shift_is_mended_up_to_half_a_voxel(shift_mm: float, mended: bool) -> None:
    image = Geometry(DRAWN.shape, (2.0, 1.0, 1.0), (3.0, 4.0, 5.0))
    label = replace(image, origin_mm=(3.0 + shift_mm, 4.0, 5.0))
    (finding,) = compare(image, label, mendable=mended)
    assert (finding.kind, finding.found, finding.expected) == ("origin_differs", [3.0 + shift_mm, 4.0, 5.0], [3, 4, 5])
    assert (regridded(DRAWN, label, image) is not None) == mended


def test_every_part_of_the_header_that_differs_is_named() -> None:
    image = Geometry(DRAWN.shape, (2.0, 1.0, 1.0))
    c, s = float(np.cos(0.2)), float(np.sin(0.2))
    label = Geometry(DRAWN.shape, (2.5, 1.0, 1.0), (9.0, 0.0, 0.0), ((0, 0, 1), (-s, c, 0), (c, s, 0)))
    kinds = [finding.kind for finding in compare(image, label, mendable=False)]
    assert kinds == ["direction_differs", "spacing_differs", "origin_differs"]
    assert regridded(DRAWN, label, image) is None
