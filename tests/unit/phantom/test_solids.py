"""Volumes and coverage of the phantom's solids."""

from __future__ import annotations

from math import pi

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segloop.phantom.solids import Lobes, Quadric, coverage, rotation
from segloop.volume import Geometry

semi_axes = st.lists(st.floats(6, 14), min_size=3, max_size=3)
angles = st.tuples(*[st.floats(-90, 90)] * 3)

GRID = Geometry((24, 30, 30), (2.0, 1.5, 1.5), (-21.75, -21.75, -23.0))


@settings(max_examples=25, deadline=None)
@given(semi_axes, angles)
def test_coverage_sums_to_the_closed_form(axes: list[float], degrees: tuple[float, float, float]) -> None:
    solid = Quadric.ellipsoid((0.3, -0.2, 0.4), axes, degrees)
    _, share = coverage(solid, GRID)
    assert share.sum() * GRID.voxel_ml == pytest.approx(4 / 3 * pi * np.prod(axes) / 1000, rel=3e-3)


@settings(max_examples=25, deadline=None)
@given(semi_axes, angles)
def test_the_bounding_box_is_tight_and_holds_the_solid(axes: list[float], degrees: tuple[float, float, float]) -> None:
    solid = Quadric.ellipsoid((1, 2, 3), axes, degrees)
    reach = np.abs(solid.surface_points(4000) - solid.centre_mm).max(axis=0)
    assert (reach <= solid.half_extent_mm + 1e-9).all()
    np.testing.assert_allclose(reach, solid.half_extent_mm, rtol=0.02)


def test_rotation_turns_x_towards_y_about_z() -> None:
    np.testing.assert_allclose(rotation((0, 0, 90)) @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(rotation((90, 0, 0)) @ [0, 1, 0], [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(rotation((0, 90, 0)) @ [0, 0, 1], [1, 0, 0], atol=1e-12)


def test_an_upright_cylinder_covers_every_slice_alike() -> None:
    _, share = coverage(Quadric.upright((0, 0), (10, 6)), GRID)
    assert share.shape[0] == GRID.shape[0]
    area = share[0].sum() * 1.5 * 1.5
    assert area == pytest.approx(pi * 60, rel=3e-3)
    assert (share == share[0]).all()


def test_grown_adds_the_margin_to_every_semi_axis() -> None:
    solid = Quadric.ellipsoid((0, 0, 0), (5, 6, 7), (30, 20, 10)).grown(2)
    assert solid.volume_ml == pytest.approx(4 / 3 * pi * 7 * 8 * 9 / 1000)


def test_union_of_two_spheres_matches_the_lens_formula() -> None:
    radius = 20.0
    lobes = Lobes(Quadric.ellipsoid((0, 0, 0), [radius] * 3), Quadric.ellipsoid((4, 8, 10), [radius] * 3))
    distance = float(np.linalg.norm((4, 8, 10)))
    lens = pi * (4 * radius + distance) * (2 * radius - distance) ** 2 / 12 / 1000
    assert lobes.common_ml(0.2) == pytest.approx(lens, rel=1e-4)
    assert lobes.volume_ml == pytest.approx(2 * lobes.first.volume_ml - lens, rel=1e-4)


def test_lobes_that_do_not_meet_have_nothing_in_common() -> None:
    lobes = Lobes(Quadric.ellipsoid((0, 0, 0), [5] * 3), Quadric.ellipsoid((0, 30, 0), [5] * 3))
    assert lobes.common_ml(0.2) == 0.0


def test_coverage_of_a_union_never_exceeds_one() -> None:
    lobes = Lobes(Quadric.ellipsoid((0, 0, 0), (9, 8, 10)), Quadric.ellipsoid((4, 3, 2), (9, 10, 7)))
    _, share = coverage(lobes, GRID)
    assert share.min() >= -1e-5
    assert share.max() <= 1 + 1e-5
    assert share.sum() * GRID.voxel_ml == pytest.approx(lobes.volume_ml, rel=3e-3)


def test_a_solid_outside_the_grid_covers_nothing() -> None:
    _, share = coverage(Quadric.ellipsoid((500, 0, 0), (5, 5, 5)), GRID)
    assert share.size == 0
