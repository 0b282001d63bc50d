"""Closed polygons to masks: a pixel belongs to a polygon when its centre lies inside."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

_STRAY_PIXELS, _STRAY_SHARE = 4, 0.05
"""How much of the smaller of two polygons may lie on the wrong side of the larger one's line, where they touch."""


def filled(polygon: Float[np.ndarray, "n 2"], size: tuple[int, int]) -> Bool[np.ndarray, "rows columns"]:
    """The pixels whose centres lie inside a polygon, by the even-odd rule.

    A line that runs to a hole and back (keyhole) counts twice and so not at all; a polygon that crosses itself excludes
    what it surrounds twice. A centre exactly on the line belongs to the side of the larger row or column.

    Args:
        polygon: Its corners as fractional (row, column) indices; the last one is joined to the first.
        size: Rows and columns.

    Source: Even-odd rule by scan lines (Foley et al., Computer Graphics, 2nd ed., 3.6), as a running sum of crossings.
    """
    rows, columns = size
    # A line along one row in the arithmetic of a tilted grid must not cross a pixel centre by its last digit.
    start = np.round(np.asarray(polygon, float), 7)
    end = np.roll(start, -1, axis=0)
    first = np.ceil(np.minimum(start[:, 0], end[:, 0])).astype(int)
    last = np.ceil(np.maximum(start[:, 0], end[:, 0])).astype(int)
    first, last = np.clip(first, 0, rows), np.clip(last, 0, rows)
    counts = last - first
    edge = np.repeat(np.arange(len(start)), counts)
    row = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
    rise = end[edge, 0] - start[edge, 0]
    crossing = start[edge, 1] + (row - start[edge, 0]) * (end[edge, 1] - start[edge, 1]) / rise
    column = np.clip(np.ceil(np.round(crossing, 7)), 0, columns).astype(int)
    toggles = np.zeros((rows, columns + 1), np.int32)
    np.add.at(toggles, (row, column), 1)
    inside: Bool[np.ndarray, "rows columns"] = (np.cumsum(toggles[:, :-1], axis=1) & 1).astype(bool)
    return inside


def combined(
    polygons: Sequence[Float[np.ndarray, "n 2"]], size: tuple[int, int]
) -> tuple[Bool[np.ndarray, "rows columns"], bool]:
    """Polygons of one structure on one slice, inner ones cut out; and whether some cross each other.

    A polygon that is there twice counts once.

    Args:
        polygons: As in `filled`.
        size: Rows and columns.

    Returns:
        The mask by exclusive or, and True when two of them neither lie inside one another nor apart.
    """
    distinct = list({np.round(p, 6).tobytes(): p for p in polygons}.values())
    masks = [filled(polygon, size) for polygon in distinct]
    crossing = any(_cross(a, b) for i, a in enumerate(masks) for b in masks[:i])
    result = np.logical_xor.reduce(masks) if masks else np.zeros(size, bool)
    return result, crossing


def _cross(a: Bool[np.ndarray, "r c"], b: Bool[np.ndarray, "r c"]) -> bool:
    smaller, shared = min(int(a.sum()), int(b.sum())), int((a & b).sum())
    return min(shared, smaller - shared) > _STRAY_PIXELS + _STRAY_SHARE * smaller
