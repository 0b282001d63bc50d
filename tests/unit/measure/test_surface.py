from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segloop.io import files
from segloop.measure import cut_off, extents, surface_mm2
from segloop.volume import Geometry, Labels
from tiny_models import ORIENTATIONS


def test_one_voxel_is_an_octahedron() -> None:
    mask, grid = np.ones((1, 1, 1), bool), Geometry((1, 1, 1), (2.0, 1.0, 1.0))
    # Half axes 1, 0.5, 0.5: eight triangles.
    assert surface_mm2(mask, grid) == pytest.approx(8 * 0.5 * np.linalg.norm(np.cross([1, -0.5, 0], [1, 0, -0.5])))
    found = extents(mask, grid)
    assert found is not None
    (length, ends), width = found
    assert (length, width) == (pytest.approx(2.0), pytest.approx(1.0))
    assert sorted(z for _, _, z in ends) == pytest.approx([-1.0, 1.0])


def test_a_box_loses_only_its_edges_and_corners() -> None:
    grid = Geometry((12, 14, 16), (1.0, 1.0, 1.0))
    mask = np.zeros(grid.shape, bool)
    mask[1:11, 1:13, 1:15] = True
    a, b, c = 10, 12, 14
    flat = 2 * ((a - 1) * (b - 1) + (a - 1) * (c - 1) + (b - 1) * (c - 1))
    chamfers = np.sqrt(0.5) * 4 * (a + b + c - 3)
    corners = 8 * np.sqrt(3) / 8
    assert surface_mm2(mask, grid) == pytest.approx(flat + chamfers + corners)
    found = extents(mask, grid)
    assert found is not None
    assert found[0].length_mm == pytest.approx(np.linalg.norm([a - 1, b - 1, c]))


def test_an_empty_mask_has_neither() -> None:
    grid = Geometry((3, 3, 3))
    assert surface_mm2(np.zeros(grid.shape, bool), grid) == 0
    assert extents(np.zeros(grid.shape, bool), grid) is None


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_area_and_extent_do_not_depend_on_how_the_voxels_are_stored(seed: int) -> None:
    mask = np.random.default_rng(seed).random((4, 5, 6)) < 0.4
    mask[1, 2, 3] = True
    spacing = (3.0, 1.0, 0.7)
    area, found = surface_mm2(mask, Geometry(mask.shape, spacing)), extents(mask, Geometry(mask.shape, spacing))
    for permutation, flips in ORIENTATIONS:
        turned = np.flip(mask.transpose(permutation), [i for i, flipped in enumerate(flips) if flipped])
        grid = Geometry(turned.shape, tuple(spacing[axis] for axis in permutation))
        assert surface_mm2(turned, grid) == pytest.approx(area)
        again = extents(turned, grid)
        assert again is not None
        assert found is not None
        assert again[0].length_mm == pytest.approx(found[0].length_mm)


@pytest.mark.parametrize("case", ["brain1", "breast1"])
def test_the_published_shape_of_pyradiomics(case: str, shared_data: Callable[[str], Path]) -> None:
    root = shared_data("pyradiomics")
    with (root / "baseline_shape.csv").open(newline="") as stream:
        published = {row["featureName"]: row[case] for row in csv.DictReader(stream)}
    labels = files.read_labels(root / f"{case}_label.nrrd", {1: "tumour"})
    mask = labels.array == 1
    found = extents(mask, labels.geometry)
    assert found is not None
    area = float(published["original_shape_SurfaceArea"])
    assert surface_mm2(mask, labels.geometry) == pytest.approx(area, rel=0.01)
    assert found[0].length_mm == pytest.approx(float(published["original_shape_Maximum3DDiameter"]), rel=0.01)
    assert found[1] < found[0].length_mm


@pytest.mark.parametrize(
    ("place", "cut"), [((0, 4, 4), True), ((4, 9, 4), True), ((4, 4, 0), True), ((4, 4, 4), False)]
)
def test_a_label_at_the_edge_of_the_image_is_cut_off(place: tuple[int, int, int], cut: bool) -> None:
    array = np.zeros((10, 10, 10), np.uint8)
    array[5, 5, 5], array[place] = 2, 1
    assert cut_off(Labels(array, Geometry(array.shape), {1: "a", 2: "b"})) == ((1,) if cut else ())


def test_the_only_slice_is_no_edge() -> None:
    array = np.zeros((1, 10, 10), np.uint8)
    array[0, 5, 5] = 1
    assert cut_off(Labels(array, Geometry(array.shape), {1: "a"})) == ()
