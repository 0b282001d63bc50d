"""Key images: the contours on the image, in three planes, the way a radiologist reads them.

The patient's right is on the viewer's left, the head (or, in the axial plane, the front) is up, the face looks left.
Pixels are square on the screen whatever the voxels are.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8
from PIL import Image, ImageDraw, ImageFont

from segloop.plan import LabelSpec
from segloop.volume import CANONICAL, Labels, Volume

Plane = Literal["axial", "coronal", "sagittal"]
Colour = tuple[int, int, int]

_LONGEST_SIDE = 512
_SHORTEST_SIDE = 48
_LINE = 2
_MARGIN = 10
_LETTER_SIZE = 20
# Abdomen window in HU: it shows soft tissue, fat and contrast, which is where most labels of CT lie.
_SOFT_TISSUE = (-160.0, 240.0)
_WHITE, _GREY = (255, 255, 255), (190, 190, 190)
_PLANES: tuple[tuple[Plane, int], ...] = (("axial", 0), ("coronal", 1), ("sagittal", 2))


@dataclass(frozen=True, slots=True, eq=False)
class KeyImage:
    """One slice with contours, ready for the screen.

    Args:
        plane: Which way it cuts.
        pixels: RGB (row, column, 3), square pixels.
        sides: Patient sides at the left, right, upper and lower edge: letters of R, L, A, P, H, F.
        number: Slice number from 1, counted towards the head, the back or the left.
        count: Slices in this plane.
    """

    plane: Plane
    pixels: UInt8[np.ndarray, "row column 3"]
    sides: tuple[str, str, str, str]
    number: int
    count: int

    def png(self) -> bytes:
        """The image as PNG; equal pixels give equal bytes."""
        return to_png(self.pixels)


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """The contours of one label map, all drawn in one way.

    Args:
        labels: Whose borders are drawn.
        colours: sRGB of each label number; others are not drawn. Later ones lie over earlier ones.
        width: Of the line, in pixels on the screen.
    """

    labels: Labels
    colours: Mapping[int, Colour]
    width: int = _LINE


def key_images(volume: Volume, labels: Labels, specs: Sequence[LabelSpec]) -> tuple[KeyImage, ...]:
    """The slice of largest labelled area in each plane, contours drawn, sides lettered.

    Labels measured part by part (lesions) decide about the slice before others do. An empty mask gives the middle
    slices. Planes in which the image is one voxel thick are left out, so a 2-D image gives one.

    Raises:
        GeometryMismatch: Image and mask do not share a grid.
    """
    volume.geometry.require_same_grid(labels.geometry, "The mask does not lie on the image's grid")
    slices = fullest_slices(_deciding(labels.reoriented(CANONICAL).array, specs))
    return contour_images(volume, (Outline(labels, {spec.value: spec.colour for spec in specs}),), slices)


def fullest_slices(mask: Bool[np.ndarray, "z y x"]) -> tuple[int, int, int]:
    """Along each axis the slice with most voxels of the mask; the middle one where it is empty."""
    z, y, x = (mask.sum(axis=tuple(a for a in range(3) if a != axis)) for axis in range(3))
    at = tuple(int(areas.argmax()) if areas.any() else len(areas) // 2 for areas in (z, y, x))
    return (at[0], at[1], at[2])


def contour_images(
    volume: Volume,
    outlines: Sequence[Outline],
    slices: tuple[int, int, int],
    *,
    longest_side: int = _LONGEST_SIDE,
    lettered: bool = True,
) -> tuple[KeyImage, ...]:
    """Slices in three planes with contours; planes in which the image is one voxel thick are left out.

    Args:
        volume: The image.
        outlines: On its grid; the first one's labels choose the grey scale. Later ones lie over earlier ones.
        slices: Indices along z, y, x of the canonical orientation: of the axial, coronal and sagittal plane.
        longest_side: Pixels of the image's longest extent.
        lettered: Write the patient's sides at the edges.
    """
    seen = volume.reoriented(CANONICAL)
    masks = [outline.labels.reoriented(CANONICAL).array for outline in outlines]
    grey = to_rgb(seen, masks[0])
    scale = longest_side / max(seen.geometry.extent_mm)
    drawn = []
    for plane, axis in _PLANES:
        rows, columns = (a for a in range(3) if a != axis)
        if min(seen.geometry.shape[rows], seen.geometry.shape[columns]) == 1:
            continue
        cuts = [np.take(array, slices[axis], axis) for array in (grey, *masks)]
        down, right = seen.geometry.direction[rows], seen.geometry.direction[columns]
        if rows == 0:  # canonical z grows towards the head, which belongs at the top
            cuts, down = [cut[::-1] for cut in cuts], _negative(down)
        size = tuple(max(_SHORTEST_SIDE, round(seen.geometry.extent_mm[a] * scale)) for a in (columns, rows))
        image = Image.fromarray(np.ascontiguousarray(cuts[0])).resize((size[0], size[1]), Image.Resampling.BICUBIC)
        pixels = np.asarray(image)
        for cut, outline in zip(cuts[1:], outlines, strict=True):
            pixels = _with_contours(pixels, cut, outline)
        sides = (_side(_negative(right)), _side(right), _side(_negative(down)), _side(down))
        pixels = _lettered(pixels, sides) if lettered else pixels
        drawn.append(KeyImage(plane, pixels, sides, slices[axis] + 1, seen.geometry.shape[axis]))
    return tuple(drawn)


def mosaic(
    images: Sequence[KeyImage],
    head: Sequence[str],
    legend: Sequence[tuple[str, Colour]],
    *,
    least_width: int = 640,
) -> UInt8[np.ndarray, "row column 3"]:
    """The key images side by side on black, lines of text above and a colour legend below."""
    font, line = _font(18), 26
    width = max(least_width, sum(i.pixels.shape[1] for i in images) + _MARGIN * (len(images) + 1))
    top = _MARGIN + line * len(head)
    height = max(i.pixels.shape[0] for i in images)
    canvas = Image.new("RGB", (width, top + height + 2 * _MARGIN + line * len(legend)))
    draw = ImageDraw.Draw(canvas)
    for row, text in enumerate(head):
        draw.text((_MARGIN, _MARGIN // 2 + line * row), text, _WHITE if row == 0 else _GREY, font)
    x = _MARGIN
    for image in images:
        canvas.paste(Image.fromarray(image.pixels), (x, top + (height - image.pixels.shape[0]) // 2))
        x += image.pixels.shape[1] + _MARGIN
    for row, (text, colour) in enumerate(legend):
        y = top + height + _MARGIN + line * row
        draw.rectangle((_MARGIN, y + 4, _MARGIN + 16, y + 20), fill=colour)
        draw.text((_MARGIN + 26, y), text, _GREY, font)
    return np.asarray(canvas)


def render_overlay(volume: Volume, labels: Labels, specs: Sequence[LabelSpec]) -> bytes:
    """A PNG of the three key images with the labels' colours, and no identity.

    Raises:
        GeometryMismatch: Image and mask do not share a grid.
    """
    present = set(np.unique(labels.array).tolist())
    legend = [(s.name if s.value in present else f"{s.name}: not found", s.colour) for s in specs]
    return to_png(mosaic(key_images(volume, labels, specs), ("For research use only. Not for diagnosis.",), legend))


def to_png(pixels: UInt8[np.ndarray, "row column 3"]) -> bytes:
    """RGB pixels as PNG; equal pixels give equal bytes."""
    stream = io.BytesIO()
    # Fast rather than small: a page is written once and read a few times.
    Image.fromarray(pixels).save(stream, "PNG", compress_level=2)
    return stream.getvalue()


def _deciding(mask: Shaped[np.ndarray, "z y x"], specs: Sequence[LabelSpec]) -> Bool[np.ndarray, "z y x"]:
    """Voxels whose area chooses the slice: lesions where there are any, else every label."""
    lesions = np.isin(mask, [s.value for s in specs if s.components])
    return lesions if lesions.any() else mask > 0


def to_rgb(volume: Volume, mask: Shaped[np.ndarray, "z y x"]) -> UInt8[np.ndarray, "z y x 3"]:
    """The image as it is shown: CT of soft tissue in its window, everything else from its darkest to its brightest."""
    if volume.channels == 3:
        values = volume.array.astype(np.float32)
        low, high = (0.0, 255.0) if volume.array.dtype == np.uint8 else _percentiles(values)
    else:
        values = (volume.array if volume.array.ndim == 3 else volume.array[..., 0]).astype(np.float32)
        low, high = _window(values, mask, volume.modality)
    shown = np.nan_to_num((values - low) * (255.0 / (high - low)))
    grey = np.clip(np.rint(shown), 0, 255).astype(np.uint8)
    return grey if grey.ndim == 4 else np.repeat(grey[..., None], 3, axis=3)


def _window(
    values: Float[np.ndarray, "z y x"], mask: Shaped[np.ndarray, "z y x"], modality: str
) -> tuple[float, float]:
    if modality == "CT":
        inside = values[mask > 0]
        typical = float(np.median(inside)) if inside.size else 0.0
        if _SOFT_TISSUE[0] <= typical <= _SOFT_TISSUE[1]:
            return _SOFT_TISSUE
    return _percentiles(values)


def _percentiles(values: Float[np.ndarray, ...]) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    low, high = np.percentile(finite, (0.5, 99.5))
    return (float(low), float(high)) if high > low else (float(low), float(low) + 1.0)


def _with_contours(
    pixels: UInt8[np.ndarray, "row column 3"], cut: Shaped[np.ndarray, "y x"], outline: Outline
) -> UInt8[np.ndarray, "row column 3"]:
    """Contours just inside each label, so that touching labels both keep their line."""
    rows, columns = pixels.shape[:2]
    width = outline.width
    at_row = np.arange(rows) * cut.shape[0] // rows
    at_column = np.arange(columns) * cut.shape[1] // columns
    shown = cut[np.ix_(at_row, at_column)]
    result = pixels.copy()
    for value, colour in outline.colours.items():
        region = shown == value
        inner = np.pad(region, width)
        for _ in range(width):
            inner[1:-1, 1:-1] &= inner[:-2, 1:-1] & inner[2:, 1:-1] & inner[1:-1, :-2] & inner[1:-1, 2:]
        result[region & ~inner[width:-width, width:-width]] = colour
    return result


def _lettered(pixels: UInt8[np.ndarray, "row column 3"], sides: Sequence[str]) -> UInt8[np.ndarray, "row column 3"]:
    image = Image.fromarray(pixels)
    draw, font = ImageDraw.Draw(image), _font(_LETTER_SIZE)
    width, height = image.size
    places = ((4, height / 2, "lm"), (width - 4, height / 2, "rm"), (width / 2, 2, "ma"), (width / 2, height - 4, "md"))
    for text, (x, y, anchor) in zip(sides, places, strict=True):
        draw.text((x, y), text, _WHITE, font, anchor=anchor, stroke_width=2, stroke_fill=(0, 0, 0))
    return np.asarray(image)


def _side(direction: Sequence[float]) -> str:
    """Patient side that an LPS direction points to; a second letter where it is oblique.

    Source: DICOM PS3.3 C.7.6.1.1.1, Patient Orientation.
    """
    order = sorted(range(3), key=lambda axis: -abs(direction[axis]))
    letters = [("LPH" if direction[a] > 0 else "RAF")[a] for a in order if abs(direction[a]) > 0.3]
    return "".join(letters[:2])


def _negative(direction: Sequence[float]) -> tuple[float, float, float]:
    x, y, z = (-c for c in direction)
    return (x, y, z)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    data = resources.files("segloop.report").joinpath("fonts/NotoSansCJKsc-Regular.otf").read_bytes()
    return ImageFont.truetype(io.BytesIO(data), size)
