from __future__ import annotations

import csv
from collections.abc import Callable
from itertools import pairwise
from math import pi
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import pdist

from segloop.errors import GeometryMismatch
from segloop.io import files
from segloop.measure import Measurement, Quantity, diameters, measure_labels
from segloop.measure.diameters import ANGLE_TOLERANCE_DEGREES
from segloop.plan import LabelSpec
from segloop.volume import Geometry, Labels, Vector, Volume

# Rotated about two axes, with unequal voxels.
OBLIQUE = Geometry(
    (24, 90, 80),
    (2.5, 0.7, 0.8),
    (-31.0, 12.0, 55.0),
    ((0.0, -0.6, 0.8), (0.0, 0.8, 0.6), (1.0, 0.0, 0.0)),
)
LESION = LabelSpec(value=1, name="lesion", components=True)


def ellipsoid(geometry: Geometry, centre: Vector, radii_mm: Vector) -> np.ndarray:
    """Half axes along the array's axes, all in mm."""
    grid = np.indices(geometry.shape, float)
    return sum(((grid[a] - centre[a]) * geometry.spacing_mm[a] / radii_mm[a]) ** 2 for a in range(3)) <= 1


def of(found: tuple[Measurement, ...], quantity: Quantity, component: int = 0) -> float:
    return next(m.value for m in found if m.quantity is quantity and m.component == component)


def test_an_oblique_ellipsoid_has_its_known_volume_and_diameters() -> None:
    radii = (18.0, 21.0, 13.0)
    labels = Labels(ellipsoid(OBLIQUE, (12, 45, 40), radii).astype(np.uint8), OBLIQUE, {1: "lesion"})
    found = measure_labels(labels)
    assert of(found, Quantity.VOLUME) == pytest.approx(4 / 3 * pi * np.prod(radii) / 1000, rel=0.01)
    assert of(found, Quantity.LONGEST_DIAMETER) == pytest.approx(42.0, abs=1.0)
    # Across the longest within the tolerance, so up to 1 / cos(10°) longer than straight across.
    assert of(found, Quantity.PERPENDICULAR_DIAMETER) == pytest.approx(26.0, abs=1.2)


def test_end_points_lie_on_the_label_in_patient_space() -> None:
    mask = ellipsoid(OBLIQUE, (12, 45, 40), (18.0, 21.0, 13.0))
    found = measure_labels(Labels(mask.astype(np.uint8), OBLIQUE, {1: "lesion"}))
    lines = [m for m in found if m.points_mm and m.quantity is not Quantity.LONGEST_DIAMETER_3D]
    assert len(lines) == 2
    slices = set()
    for line in lines:
        ends = np.array(line.points_mm)
        assert np.linalg.norm(ends[1] - ends[0]) == pytest.approx(line.value)
        indices = OBLIQUE.to_index(ends)
        np.testing.assert_allclose(indices, indices.round(), atol=1e-6)
        assert all(mask[tuple(index)] for index in indices.round().astype(int))
        slices |= set(indices[:, 0].round().astype(int))
    assert len(slices) == 1
    first, second = (np.diff(np.array(line.points_mm), axis=0)[0] for line in lines)
    cosine = abs(first @ second) / np.linalg.norm(first) / np.linalg.norm(second)
    assert cosine <= np.sin(np.radians(ANGLE_TOLERANCE_DEGREES)) + 1e-6


@settings(max_examples=120, deadline=None)
@given(mask=arrays(bool, (2, 5, 6)), spacing=st.tuples(*[st.floats(0.3, 6.0)] * 3))
def test_diameters_are_those_of_every_pair_of_voxels(mask: np.ndarray, spacing: Vector) -> None:
    geometry = Geometry((2, 5, 6), spacing)
    found = diameters(mask, geometry)
    if not mask.any():
        assert found is None
        return
    assert found is not None
    longest, across = found
    flat = [np.argwhere(part) * np.array(spacing[1:]) for part in mask if part.any()]
    assert longest.length_mm == pytest.approx(max(pdist(p).max() if len(p) > 1 else 0.0 for p in flat))
    assert across is None or across.length_mm <= longest.length_mm + 1e-9


@pytest.mark.parametrize(
    ("voxels", "longest", "across"),
    [
        ([(3, 3)], 0.0, None),
        ([(3, 3), (3, 4)], 2.0, None),
        ([(3, x) for x in range(6)], 10.0, None),
        ([(y, y) for y in range(4)], 3 * np.hypot(1.0, 2.0), None),
        ([(y, x) for y in range(4) for x in range(6)], np.hypot(3.0, 10.0), None),
    ],
)
def test_voxels_lines_and_boxes(voxels: list[tuple[int, int]], longest: float, across: float | None) -> None:
    mask = np.zeros((3, 8, 8), bool)
    for y, x in voxels:
        mask[1, y, x] = True
    found = diameters(mask, Geometry((3, 8, 8), (5.0, 1.0, 2.0)))
    assert found is not None
    assert found[0].length_mm == pytest.approx(longest)
    if len({y for y, _ in voxels}) == 1 or len(voxels) == 4:
        assert found[1] is across


def test_one_slice_and_a_picture_are_measured_like_a_volume() -> None:
    disc = ellipsoid(Geometry((1, 61, 61)), (0, 30, 30), (1.0, 20.0, 20.0))
    found = measure_labels(Labels(disc.astype(np.uint8), Geometry((1, 61, 61)), {1: "disc"}))
    assert of(found, Quantity.LONGEST_DIAMETER) == 40.0
    assert of(found, Quantity.PERPENDICULAR_DIAMETER) == pytest.approx(40.0, abs=0.5)


def test_a_label_that_does_not_occur_has_volume_zero_and_nothing_else() -> None:
    found = measure_labels(Labels(np.zeros((2, 3, 4), np.uint8), Geometry((2, 3, 4)), {1: "liver"}))
    assert [(m.quantity, m.value, m.unit) for m in found] == [(Quantity.VOLUME, 0.0, "ml")]


def test_parts_run_from_large_to_small_and_sum_up_to_the_label() -> None:
    grid = Geometry((30, 40, 40), (2.0, 1.0, 1.0), (5.0, 6.0, 7.0))
    mask = ellipsoid(grid, (6, 10, 10), (6.0, 6.0, 6.0)) | ellipsoid(grid, (20, 28, 28), (9.0, 9.0, 9.0))
    mask[29, 0, 0] = mask[28, 1, 1] = True  # touch by a corner: one part
    labels = Labels(mask.astype(np.uint8), grid, {1: "lesion"})
    found = measure_labels(labels, specs=[LESION])
    volumes = [m.value for m in found if m.quantity is Quantity.VOLUME]
    assert len(volumes) == 4
    assert volumes[1:] == sorted(volumes[1:], reverse=True)
    assert sum(volumes[1:]) == pytest.approx(volumes[0])
    assert of(found, Quantity.LONGEST_DIAMETER, 1) == pytest.approx(18.0, abs=0.5)
    line = next(m for m in found if m.component == 1 and m.quantity is Quantity.LONGEST_DIAMETER)
    ends = grid.to_index(np.array(line.points_mm)).round().astype(int)
    assert all(mask[tuple(end)] for end in ends)
    assert not [m for m in measure_labels(labels) if m.component]


@pytest.mark.parametrize(("modality", "unit"), [("CT", "HU"), ("PT", "SUV"), ("MR", ""), ("", "")])
def test_intensities_have_a_unit_where_the_values_have_one(modality: str, unit: str) -> None:
    grid = Geometry((2, 3, 4))
    array = np.arange(24, dtype=np.int16).reshape(grid.shape)
    found = measure_labels(Labels((array < 3).astype(np.uint8), grid, {1: "a"}), Volume(array, grid, modality))
    assert of(found, Quantity.MEAN_INTENSITY) == 1.0
    assert of(found, Quantity.SD_INTENSITY) == pytest.approx(np.std([0, 1, 2]))
    assert {m.unit for m in found if "intensity" in m.quantity} == {unit}


def test_each_part_has_the_intensities_of_its_own_voxels() -> None:
    grid = Geometry((3, 6, 12))
    mask, array = np.zeros(grid.shape, np.uint8), np.zeros(grid.shape, np.float32)
    mask[1, 1:4, 1:4], array[1, 1:4, 1:4] = 1, 50.0
    mask[1, 1:3, 8:10], array[1, 1:3, 8:10] = 1, 20.0
    found = measure_labels(Labels(mask, grid, {1: "lesion"}), Volume(array, grid, "CT"), [LESION])
    assert [of(found, Quantity.MEAN_INTENSITY, part) for part in (1, 2)] == [50.0, 20.0]
    assert of(found, Quantity.MEAN_INTENSITY) == pytest.approx((9 * 50 + 4 * 20) / 13)


def test_an_image_on_another_grid_is_refused() -> None:
    labels = Labels(np.zeros((2, 3, 4), np.uint8), Geometry((2, 3, 4)), {1: "a"})
    with pytest.raises(GeometryMismatch):
        measure_labels(labels, Volume(np.zeros((2, 3, 4)), Geometry((2, 3, 4), (2.0, 1.0, 1.0))))


@pytest.mark.parametrize("case", ["brain1", "breast1"])
def test_the_published_features_of_pyradiomics(case: str, shared_data: Callable[[str], Path]) -> None:
    root = shared_data("pyradiomics")
    published: dict[str, str] = {}
    for table in ("shape", "firstorder"):
        with (root / f"baseline_{table}.csv").open(newline="") as stream:
            published |= {row["featureName"]: row[case] for row in csv.DictReader(stream)}
    image = files.read(root / f"{case}_image.nrrd")
    labels = files.read_labels(root / f"{case}_label.nrrd", {1: "tumour"})
    found = measure_labels(labels, image)
    assert of(found, Quantity.VOLUME) == pytest.approx(float(published["original_shape_VoxelVolume"]) / 1000, rel=1e-6)
    assert of(found, Quantity.MEAN_INTENSITY) == pytest.approx(float(published["original_firstorder_Mean"]))
    assert of(found, Quantity.SD_INTENSITY) ** 2 == pytest.approx(float(published["original_firstorder_Variance"]))
    # Theirs joins mesh vertices, half a voxel further out and also between two slices, so it can only be longer.
    theirs = float(published["original_shape_Maximum2DDiameterSlice"])
    assert of(found, Quantity.LONGEST_DIAMETER) < theirs
    planes = np.array(labels.geometry.spacing_mm[1:])
    mask = labels.array > 0
    between = max(pdist(np.argwhere(a ^ b) * planes).max(initial=0.0) for a, b in pairwise(mask))
    ours = max(of(found, Quantity.LONGEST_DIAMETER), between)
    assert theirs == pytest.approx(ours, abs=float(np.hypot(*planes)))


def test_a_label_counted_in_parts_has_diameters_of_its_parts_but_none_across_them() -> None:
    grid = Geometry((5, 20, 40))
    mask = np.zeros(grid.shape, np.uint8)
    mask[2, 4:8, 2:8] = 1
    mask[2, 10:14, 30:40] = 1
    found = measure_labels(Labels(mask, grid, {1: "lesion"}), specs=[LESION])
    longest = {m.component: m.value for m in found if m.quantity is Quantity.LONGEST_DIAMETER}
    assert set(longest) == {1, 2}
    assert max(longest.values()) < 12
