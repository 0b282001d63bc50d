from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from results import SPECS
from segloop.report import key_images, render_overlay
from segloop.report.overlay import KeyImage
from segloop.volume import Geometry, Labels, Volume

CODES = [
    "".join(letters) for axes in itertools.permutations(("LR", "PA", "SI")) for letters in itertools.product(*axes)
]


def _head(shape: tuple[int, int, int] = (20, 30, 40), spacing: tuple[float, float, float] = (2.0, 1.0, 1.0)) -> Volume:
    """Dark, with a bright block at the patient's left, front and head end."""
    array = np.zeros(shape, np.float32)
    array[-5:, :8, -10:] = 100
    return Volume(array, Geometry(shape, spacing, (-20.0, -15.0, 0.0)), "MR")


def _label(volume: Volume, box: tuple[slice, slice, slice], value: int = 1) -> Labels:
    array = np.zeros(volume.array.shape, np.uint8)
    array[box] = value
    return Labels(array, volume.geometry, {value: "x"})


def _bright(image: KeyImage) -> tuple[str, str]:
    grey = image.pixels.astype(int)
    white = np.argwhere((grey.min(axis=2) > 200)[30:-30, 30:-30]).mean(axis=0) + 30
    rows, columns = grey.shape[:2]
    return ("up" if white[0] < rows / 2 else "down", "left" if white[1] < columns / 2 else "right")


def _by_plane(volume: Volume, labels: Labels) -> dict[str, KeyImage]:
    return {image.plane: image for image in key_images(volume, labels, SPECS)}


def test_left_is_on_the_right_front_and_head_are_up_and_the_face_looks_left() -> None:
    volume = _head()
    images = _by_plane(volume, _label(volume, np.s_[-4:-2, 2:6, -8:-4]))
    assert images["axial"].sides == ("R", "L", "A", "P")
    assert images["coronal"].sides == ("R", "L", "H", "F")
    assert images["sagittal"].sides == ("A", "P", "H", "F")
    assert _bright(images["axial"]) == ("up", "right")
    assert _bright(images["coronal"]) == ("up", "right")
    assert _bright(images["sagittal"]) == ("up", "left")


def test_pixels_are_square_whatever_the_voxels_are() -> None:
    volume = _head()
    for image in _by_plane(volume, _label(volume, np.s_[4:6, 2:6, 2:6])).values():
        z, y, x = volume.geometry.extent_mm
        expected = {"axial": x / y, "coronal": x / z, "sagittal": y / z}[image.plane]
        assert image.pixels.shape[1] / image.pixels.shape[0] == pytest.approx(expected, rel=0.01)


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(CODES))
def test_pictures_do_not_depend_on_how_the_array_is_stored(codes: str) -> None:
    volume = _head((6, 8, 10))
    labels = _label(volume, np.s_[2:4, 2:6, 3:8])
    assert render_overlay(volume.reoriented(codes), labels.reoriented(codes), SPECS) == render_overlay(
        volume, labels, SPECS
    )


def test_the_slice_of_largest_area_is_shown_and_its_contour_lies_on_the_label() -> None:
    volume = _head((8, 10, 10), (3.0, 3.0, 3.0))
    array = np.zeros(volume.array.shape, np.uint8)
    array[2, 4:6, 4:6] = 1
    array[5, 3:7, 2:8] = 1
    image = _by_plane(volume, Labels(array, volume.geometry, {}))["axial"]
    assert (image.number, image.count) == (6, 8)
    coloured = np.argwhere((image.pixels == SPECS[0].colour).all(axis=2))
    scale = image.pixels.shape[0] / 10
    assert coloured.min(axis=0) == pytest.approx([3 * scale, 2 * scale], abs=1)
    assert coloured.max(axis=0) == pytest.approx([7 * scale, 8 * scale], abs=2)


def test_lesions_choose_the_slice_before_larger_organs_do() -> None:
    volume = _head()
    array = np.zeros(volume.array.shape, np.uint8)
    array[3:15, 3:20, 3:20] = 1
    array[16, 5:7, 5:7] = 4
    assert _by_plane(volume, Labels(array, volume.geometry, {}))["axial"].number == 17


def test_touching_labels_both_keep_their_line() -> None:
    volume = _head((4, 10, 10), (1.0, 1.0, 1.0))
    array = np.zeros(volume.array.shape, np.uint8)
    array[2, 2:5, 2:8], array[2, 5:8, 2:8] = 1, 2
    pixels = _by_plane(volume, Labels(array, volume.geometry, {}))["axial"].pixels
    column = pixels[:, pixels.shape[1] // 2 + 40]
    border = round(5 * pixels.shape[0] / 10)
    assert tuple(column[border - 1]) == SPECS[0].colour
    assert tuple(column[border]) == SPECS[1].colour


def test_oblique_slices_have_two_letters() -> None:
    c, s = np.cos(0.6), np.sin(0.6)
    geometry = Geometry((5, 6, 7), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), ((0, -s, c), (0, c, s), (1, 0, 0)))
    volume = Volume(np.zeros((5, 6, 7), np.float32), geometry, "MR")
    image = _by_plane(volume, Labels(np.zeros((5, 6, 7), np.uint8), geometry, {}))["axial"]
    assert image.sides == ("R", "L", "AF", "PH")


def test_two_dimensional_colour_image_gives_one_picture_in_its_own_colours() -> None:
    array = np.zeros((1, 64, 64, 3), np.uint8)
    array[..., 1] = 180
    volume = Volume(array, Geometry((1, 64, 64)), "")
    images = key_images(volume, Labels(np.zeros((1, 64, 64), np.uint8), volume.geometry, {}), SPECS)
    assert [i.plane for i in images] == ["axial"]
    assert tuple(images[0].pixels[100, 100]) == (0, 180, 0)


def test_constant_and_not_finite_voxels_are_drawn() -> None:
    array = np.full((4, 8, 8), 3.0, np.float32)
    array[0, 0, 0] = np.nan
    volume = Volume(array, Geometry((4, 8, 8)), "PT")
    picture = render_overlay(volume, Labels(np.zeros((4, 8, 8), np.uint8), volume.geometry, {}), SPECS)
    assert Image.open(io.BytesIO(picture)).mode == "RGB"
