"""Masks to polygons that follow the pixels' borders: whoever fills them gets exactly the mask back."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float

_STEPS = ((0, 1), (1, 0), (0, -1), (-1, 0))
"""East, south, west, north, in the order of turning right."""
_SOUTH, _NORTH = 1, 3
_BESIDE_CENTRE = 0.25
"""How far above the pixels' centres a keyhole runs, so that no centre lies on it."""

Border = tuple[int, int, int]
"""One side of a pixel with the mask on its right: heading, and row and column of the corner it begins at."""


def outlines(mask: Bool[np.ndarray, "rows columns"]) -> list[Float[np.ndarray, "n 2"]]:
    """One closed polygon per connected part, along the borders of its pixels; corners as (row, column) indices.

    A pixel's centre has whole indices, its borders lie half a pixel further. Parts that touch at a corner only are two.
    A hole is joined to the line on its left by a keyhole, a line there and back, so that readers who know no holes, or
    fill each contour by itself, see it too. The area inside is exactly that of the pixels.

    Args:
        mask: May be empty, which gives no polygon.

    Source: DICOM PS3.3 C.8.8.6.3 (keyhole).
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return []
    corner = np.array([rows[0], columns[0]])
    part = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    following, outer, holes = _traced(part)
    doors: dict[Border, Border] = {}
    for hole in holes:
        _, row, column = hole
        outside = np.flatnonzero(~part[row, :column])
        doors[_NORTH, row + 1, int(outside[-1]) + 1 if len(outside) else 0] = hole
    return [corner + _line(first, following, doors) for first in outer]


def _traced(mask: Bool[np.ndarray, "rows columns"]) -> tuple[dict[Border, Border], list[Border], list[Border]]:
    """The border that follows each border, one border of every outer line, and of every hole its leftmost one."""
    padded = np.pad(mask, 1)
    inside = padded[1:-1, 1:-1]
    above, below, left, right = padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]
    # Each border begins at the corner from which the pixel lies on its right.
    sides = ((inside & ~above, 0, 0), (inside & ~right, 0, 1), (inside & ~below, 1, 1), (inside & ~left, 1, 0))
    borders: set[Border] = set()
    for heading, (found, down, along) in enumerate(sides):
        borders |= {(heading, row + down, column + along) for row, column in np.argwhere(found).tolist()}
    following: dict[Border, Border] = {}
    outer: list[Border] = []
    holes: list[Border] = []
    for first in sorted(borders):
        if first in following:
            continue
        ring = _ring(first, borders, following)
        area = sum(border[2] * ((border[0] == _SOUTH) - (border[0] == _NORTH)) for border in ring)
        if area > 0:
            outer.append(first)
        else:
            holes.append(min((b for b in ring if b[0] == _SOUTH), key=lambda border: (border[2], border[1])))
    return following, outer, holes


def _ring(first: Border, borders: set[Border], following: dict[Border, Border]) -> list[Border]:
    """The borders of one line until it closes, linked in `following`."""
    ring = [first]
    while True:
        heading, row, column = ring[-1]
        row, column = row + _STEPS[heading][0], column + _STEPS[heading][1]
        # Right first: where two parts touch at a corner the line stays with its own part.
        turns = (((heading + turn) % 4, row, column) for turn in (1, 0, 3))
        after = next(border for border in turns if border in borders)
        following[ring[-1]] = after
        if after == first:
            return ring
        ring.append(after)


def _line(
    first: Border, following: Mapping[Border, Border], doors: Mapping[Border, Border]
) -> Float[np.ndarray, "n 2"]:
    """The corners of an outer line; at each door it goes over to the hole, around it and back."""
    corners: list[tuple[float, float]] = []
    border = first
    # Where the line being followed closes, and at which border of the one around it its door is.
    open_lines: list[tuple[Border, Border]] = [(first, first)]
    while True:
        while border in doors:
            hole = doors[border]
            corners += _door(border, hole)
            open_lines.append((hole, border))
            border = hole
        while True:
            after = following[border]
            if after[0] != border[0]:
                corners.append((after[1], after[2]))
            border = after
            if border != open_lines[-1][0]:
                break
            hole, around = open_lines.pop()
            if not open_lines:
                return np.array(corners) - 0.5
            corners += reversed(_door(around, hole))
            border = around


def _door(around: Border, hole: Border) -> list[tuple[float, float]]:
    """From the border of a pixel on the left to the hole's own, just above the centres of the pixels between them."""
    height = hole[1] + 0.5 - _BESIDE_CENTRE
    return [(height, float(around[2])), (height, float(hole[2]))]
