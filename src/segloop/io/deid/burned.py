"""Where text stands in pixels: the regions that rules know, and lines of glyphs that are found."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Bool
from pydicom import Dataset

from segloop.io.deid.table import rows_of

_GLYPH_HEIGHT = (5, 80)
_WIDEST = 1.6
_FEWEST_GLYPHS = 4
_FEWEST_PIXELS = 40
_MOST_OF_IMAGE = 0.3
_NEARLY_WHITE = 0.9


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of pixels: rows `top` to `bottom`, columns `left` to `right`, ends not included."""

    top: int
    left: int
    bottom: int
    right: int


@dataclass(frozen=True, slots=True)
class _Rule:
    modality: str
    manufacturer: str
    model: str
    words: str
    rows: str
    columns: str
    boxes: tuple[Box, ...]

    def fits(self, dataset: Dataset) -> bool:
        """Whether the image comes from the rule's device, in its size."""
        described = " ".join(str(dataset.get(k, "")) for k in ("ImageType", "SeriesDescription", "ProtocolName"))
        return (
            self.modality in ("-", str(dataset.get("Modality", "")))
            and _within(self.manufacturer, str(dataset.get("Manufacturer", "")))
            and _within(self.model, str(dataset.get("ManufacturerModelName", "")))
            and _within(self.words, described)
            and self.rows in ("-", str(dataset.get("Rows", "")))
            and self.columns in ("-", str(dataset.get("Columns", "")))
        )


def ruled_boxes(dataset: Dataset) -> list[Box]:
    """Where a device burns text: by the rules' table, and outside of an ultrasound image's own regions."""
    boxes = [box for rule in _rules() if rule.fits(dataset) for box in rule.boxes]
    return boxes + _outside_ultrasound(dataset)


def text_boxes(frame: np.ndarray[Any, np.dtype[Any]]) -> list[Box]:
    """Lines of text in a frame: at least four parts of one height, side by side, all of the brightest value.

    In images of 8 bits also nearly white and black ones; in others, black is where values were cut off.

    Args:
        frame: Pixels (y, x) or (y, x, sample), as they are stored.
    """
    grey = frame.max(axis=-1) if frame.ndim == 3 else frame
    low, high = int(grey.min()), int(grey.max())
    if low == high:
        return []
    found = _lines(grey == high)
    if grey.dtype.itemsize == 1:
        found += _lines(grey == low) + _lines(grey >= low + _NEARLY_WHITE * (high - low))
    return found


def _lines(mask: Bool[np.ndarray, "y x"]) -> list[Box]:
    count = int(mask.sum())
    if not _FEWEST_PIXELS <= count <= _MOST_OF_IMAGE * mask.size:
        return []
    from scipy.ndimage import find_objects, label

    parts, _ = label(mask, np.ones((3, 3), int))
    glyphs = []
    for where in find_objects(parts):
        height, width = (part.stop - part.start for part in where)
        if _GLYPH_HEIGHT[0] <= height <= _GLYPH_HEIGHT[1] and width <= _WIDEST * height:
            glyphs.append(Box(where[0].start, where[1].start, where[0].stop, where[1].stop))
    lines: list[list[Box]] = []
    for glyph in sorted(glyphs, key=lambda box: box.left):
        line = next((line for line in lines if _continues(line[-1], glyph)), None)
        if line is None:
            lines.append([glyph])
        else:
            line.append(glyph)
    return [_around(line) for line in lines if len(line) >= _FEWEST_GLYPHS]


def _continues(last: Box, glyph: Box) -> bool:
    height = last.bottom - last.top
    return (
        abs(glyph.bottom - last.bottom) <= 0.35 * height
        and 0.55 * height <= glyph.bottom - glyph.top <= 1.8 * height
        and -1 <= glyph.left - last.right <= 2 * height
    )


def _around(line: list[Box]) -> Box:
    """The line's box, grown by a glyph's height: marks, points and accents stand beside the glyphs."""
    top, bottom = min(box.top for box in line), max(box.bottom for box in line)
    edge = bottom - top
    return Box(max(top - edge // 2, 0), max(line[0].left - edge, 0), bottom + edge // 2, line[-1].right + edge)


def _outside_ultrasound(dataset: Dataset) -> list[Box]:
    regions = [r for r in dataset.get("SequenceOfUltrasoundRegions") or () if "RegionLocationMinX0" in r]
    if not regions or "Rows" not in dataset:
        return []
    top = min(int(r.RegionLocationMinY0) for r in regions)
    bottom = max(int(r.RegionLocationMaxY1) for r in regions) + 1
    left = min(int(r.RegionLocationMinX0) for r in regions)
    right = max(int(r.RegionLocationMaxX1) for r in regions) + 1
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    around = [
        Box(0, 0, top, columns),
        Box(bottom, 0, rows, columns),
        Box(0, 0, rows, left),
        Box(0, right, rows, columns),
    ]
    return [box for box in around if box.bottom > box.top and box.right > box.left]


def _within(word: str, text: str) -> bool:
    return word == "-" or word.casefold() in text.casefold()


@cache
def _rules() -> tuple[_Rule, ...]:
    return tuple(
        _Rule(modality, manufacturer, model, words, rows, columns, _boxes(regions))
        for modality, manufacturer, model, words, rows, columns, regions in rows_of("pixels.tsv")[1:]
    )


def _boxes(text: str) -> tuple[Box, ...]:
    numbers = [[int(n) for n in region.split(",")] for region in text.split()]
    return tuple(Box(y, x, y + height, x + width) for x, y, width, height in numbers)
