"""The picture sheet: originals beside variants, the right way up, with contours."""

from __future__ import annotations

import numpy as np
import pytest

import tiny_models
from segloop.data.augment import with_preset
from segloop.data.feed import Example
from segloop.data.sheet import augmentation_sheet
from segloop.plan import Plan
from segloop.volume import Geometry, Volume

SIDE, GAP, WIDE = 224, 4, 16
CANONICAL = np.random.default_rng(0).normal(0, 0.01, (16, 16, 16)).astype(np.float32)
CANONICAL[:, 1:5, 11:15] = 1.0  # in front, on the patient's left


def example(orientation: str = "SPL") -> Example:
    """A bright block in the front left corner, the class 2 in the middle of it, stored in some orientation."""
    labels = np.zeros(CANONICAL.shape, np.uint8)
    labels[7:10, 2:4, 12:14] = 2
    geometry = Geometry((16, 16, 16), direction=((0, 0, 1), (0, 1, 0), (1, 0, 0)))
    assert geometry.axis_codes == "SPL"
    image, mask = (Volume(array, geometry).reoriented(orientation).array for array in (CANONICAL, labels))
    return Example("a", np.ascontiguousarray(image)[..., None], np.ascontiguousarray(mask))


def plan(orientation: str = "SPL", **changes: object) -> Plan:
    return tiny_models.plan(preparation__orientation=orientation, **changes)


def cell(sheet: np.ndarray, row: int, column: int) -> np.ndarray:
    left = GAP if column == 0 else GAP + SIDE + WIDE + (column - 1) * (SIDE + GAP)
    top = GAP + row * (SIDE + GAP)
    return sheet[top : top + SIDE, left : left + SIDE]


@pytest.mark.parametrize("orientation", ["SPL", "LPS", "IRA"])
def test_front_is_up_and_the_patients_left_is_on_the_viewers_right(orientation: str) -> None:
    sheet = augmentation_sheet(plan(orientation), [example(orientation)], 0, columns=2, rows=1)
    first = cell(sheet, 0, 0).astype(int).max(-1)
    quarters = {"upper right": first[:80, 150:], "upper left": first[:80, :80], "lower right": first[150:, 150:]}
    means = {name: part.mean() for name, part in quarters.items()}
    assert means["upper right"] > 100
    assert max(means["upper left"], means["lower right"]) < 60


def test_the_originals_come_first_and_every_picture_has_its_contour() -> None:
    recipe, cases = plan(), [example() for _ in range(3)]
    sheet = augmentation_sheet(recipe, cases, 0, columns=4, rows=3)
    assert sheet.shape == (GAP + 3 * (SIDE + GAP), 2 * GAP + SIDE + WIDE + 3 * SIDE + 2 * GAP, 3)
    assert sheet.dtype == np.uint8
    other = augmentation_sheet(recipe, cases, 1, columns=4, rows=3)
    variants = 0
    for row in range(3):
        np.testing.assert_array_equal(cell(sheet, row, 0), cell(other, row, 0))
        for column in range(4):
            colour = np.asarray(recipe.labels[1].colour)
            assert (np.abs(cell(sheet, row, column).astype(int) - colour).max(-1) < 40).sum() > 20
            variants += int((cell(sheet, row, column) != cell(other, row, column)).any())
    assert variants > 4
    np.testing.assert_array_equal(augmentation_sheet(recipe, cases, 1, columns=4, rows=3), other)


def test_without_augmentation_all_pictures_of_a_row_are_the_same() -> None:
    sheet = augmentation_sheet(with_preset(plan(), "none"), [example()], 5, columns=3, rows=1)
    np.testing.assert_array_equal(cell(sheet, 0, 1), cell(sheet, 0, 0))
    np.testing.assert_array_equal(cell(sheet, 0, 2), cell(sheet, 0, 0))


def test_a_coloured_picture_stays_coloured_and_fewer_cases_make_fewer_rows() -> None:
    recipe = tiny_models.plan(2, 3)
    image = np.zeros((1, 20, 24, 3), np.float32)
    image[0, :, :12, 0] = 1.0
    image[0, :, 12:, 2] = 1.0
    labels = np.zeros((1, 20, 24), np.uint8)
    labels[0, 8:12, 8:12] = 1
    sheet = augmentation_sheet(recipe, [Example("a", image, labels)], 0, columns=2, rows=4)
    assert sheet.shape[0] == 2 * GAP + SIDE
    middle = cell(sheet, 0, 0)[20:40]
    assert middle[:, 4:20].reshape(-1, 3).mean(0).argmax() == 0
    assert middle[:, -20:-4].reshape(-1, 3).mean(0).argmax() == 2


@pytest.mark.parametrize(("cases", "columns", "rows"), [(0, 3, 3), (1, 1, 3), (1, 3, 0)])
def test_an_empty_sheet_is_refused(cases: int, columns: int, rows: int) -> None:
    with pytest.raises(ValueError, match="A sheet needs"):
        augmentation_sheet(plan(), [example()] * cases, 0, columns=columns, rows=rows)
