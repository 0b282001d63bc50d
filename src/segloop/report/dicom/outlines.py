"""Masks to polygons that follow the pixels' borders: whoever fills them gets exactly the mask back."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float

_STEPS = ((0, 1), (1, 0), (0, -1), (-1, 0))
"""East, south, west, north, in the order of turning right."""
_SOUTH, _NORTH = 1, 3
_BESIDE_CENTRE = 0.25
"""How far above the pixels' centres a keyhole runs, so that no centre lies on it."""

Corner = tuple[float, float]


def outlines(mask: Bool[np.ndarray, "rows columns"]) -> list[Float[np.ndarray, "n 2"]]:
    """One closed polygon per connected part, along the borders of its pixels; corners as (row, column) indices.

    A pixel's centre has whole indices, its borders lie half a pixel further. Parts that touch at a corner only are two.
    A hole is joined to the line around it by a keyhole, a line there and back, so that readers who know no holes, or
    fill each contour by itself, see it too. The area inside is exactly that of the pixels.

    Args:
        mask: May be empty, which gives no polygon.

    Source: DICOM PS3.3 C.8.8.6.3 (keyhole).
    """
    rings, owner = _traced(mask)
    holes = sorted((ring for ring in rings if ring.is_hole), key=lambda ring: ring.leftmost)
    for hole in holes:
        column, row = hole.leftmost
        start = int(np.flatnonzero(~mask[row, :column])[-1]) + 1 if not mask[row, :column].all() else 0
        _join(owner[row, start].root, hole, row, start, column)
    return [np.array(ring.corners) - 0.5 for ring in rings if not ring.is_hole]


@dataclass(slots=True, eq=False)
class _Ring:
    """A closed line with the mask on its right; corners in units of pixels, (0, 0) the first pixel's outer corner."""

    corners: list[Corner] = field(default_factory=list)
    leftmost: tuple[int, int] = (0, 0)
    is_hole: bool = False
    host: _Ring | None = None

    @property
    def root(self) -> _Ring:
        return self if self.host is None else self.host.root


def _traced(mask: Bool[np.ndarray, "rows columns"]) -> tuple[list[_Ring], dict[tuple[int, int], _Ring]]:
    """All rings, and the ring that each left border of a pixel (row, column) is part of."""
    padded = np.pad(mask, 1)
    inside = padded[1:-1, 1:-1]
    open_edges = (
        {(0, *corner) for corner in np.argwhere(inside & ~padded[:-2, 1:-1]).tolist()}
        | {(1, row, column + 1) for row, column in np.argwhere(inside & ~padded[1:-1, 2:]).tolist()}
        | {(2, row + 1, column + 1) for row, column in np.argwhere(inside & ~padded[2:, 1:-1]).tolist()}
        | {(3, row + 1, column) for row, column in np.argwhere(inside & ~padded[1:-1, :-2]).tolist()}
    )
    owner: dict[tuple[int, int], _Ring] = {}
    return [_ring(first, open_edges, owner) for first in sorted(open_edges) if first in open_edges], owner


def _ring(
    first: tuple[int, int, int], open_edges: set[tuple[int, int, int]], owner: dict[tuple[int, int], _Ring]
) -> _Ring:
    """Follow one line until it closes, and take its edges away."""
    ring = _Ring()
    heading, row, column = first
    area = 0
    souths: list[tuple[int, int]] = []
    while (heading, row, column) in open_edges:
        open_edges.remove((heading, row, column))
        if heading == _SOUTH:
            souths.append((column, row))
            area += column
        elif heading == _NORTH:
            owner[row - 1, column] = ring
            area -= column
        row, column = row + _STEPS[heading][0], column + _STEPS[heading][1]
        # Right first: where two parts touch at a corner the line stays with its own part.
        for turn in (1, 0, 3):
            following = (heading + turn) % 4
            if (following, row, column) in open_edges or (following, row, column) == first:
                if following != heading:
                    ring.corners.append((row, column))
                heading = following
                break
    ring.is_hole = area < 0
    ring.leftmost = min(souths) if ring.is_hole else (0, 0)
    return ring


def _join(target: _Ring, hole: _Ring, row: int, start: int, column: int) -> None:
    """Put a hole's line into the line on its left, between left border `start` of a pixel and the hole's `column`."""
    height = row + 0.5 - _BESIDE_CENTRE
    there = _place(target.corners, height, start, northwards=True)
    here = _place(hole.corners, height, column, northwards=False)
    around = hole.corners[here:] + hole.corners[:here]
    entry, door = (height, float(start)), (height, float(column))
    target.corners[there:there] = [entry, door, *around, door, entry]
    hole.host = target


def _place(corners: list[Corner], height: float, column: float, *, northwards: bool) -> int:
    """Where a point on a vertical side belongs among the corners."""
    for i, (row, at) in enumerate(corners):
        before = corners[i - 1]
        if at == before[1] == column and (row < height < before[0] if northwards else before[0] < height < row):
            return i
    raise AssertionError("a hole's line has a line on its left")
