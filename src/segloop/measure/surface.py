"""The mesh around a mask: its area, and the distances across it in three dimensions."""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist, squareform

from segloop.volume import Geometry, Vector

# Corners of a cube of 2 x 2 x 2 voxel centres, (z, y, x), and its edges as pairs of corner numbers.
_CORNERS = tuple(product((0, 1), repeat=3))
_EDGES = tuple((a, a | bit) for bit in (4, 2, 1) for a in range(8) if not a & bit)
_FACES = tuple(tuple(c for c in range(8) if bool(c & bit) == side) for bit in (4, 2, 1) for side in (False, True))


def surface_mm2(mask: Bool[np.ndarray, "z y x"], geometry: Geometry) -> float:
    """Area of the triangle mesh half-way between the voxel centres inside and those outside, in mm².

    Where two voxels of a square touch only by a corner, the mesh joins them, as the 26-connected parts are. What lies
    beyond the array is outside.

    Args:
        mask: One label or part.
        geometry: Its grid.

    Source: marching cubes (Lorensen & Cline, SIGGRAPH 1987); the quantity is IBSI's C0JK.
    """
    if not mask.any():
        return 0.0
    inside = np.pad(mask, 1).astype(np.uint8)
    code: Integer[np.ndarray, "z y x"] = np.zeros(tuple(n - 1 for n in inside.shape), np.uint8)
    z, y, x = code.shape
    for number, (dz, dy, dx) in enumerate(_CORNERS):
        code |= inside[dz : dz + z, dy : dy + y, dx : dx + x] << number
    counts = np.bincount(code.ravel(), minlength=256)
    return float(counts @ _areas(geometry.spacing_mm))


class Extent(NamedTuple):
    """A distance across a part in space.

    Args:
        length_mm: Of the line.
        points_mm: Its ends, LPS.
    """

    length_mm: float
    points_mm: tuple[Vector, Vector]


def extents(mask: Bool[np.ndarray, "z y x"], geometry: Geometry) -> tuple[Extent, float] | None:
    """The greatest distance between two points of the mesh, and the greatest width at right angles to it, in mm.

    The width is that of the part seen along the first line: its two ends need not lie opposite each other.

    Args:
        mask: One part.
        geometry: Its grid.

    Returns:
        None for an empty mask.

    Source: the first is IBSI's maximum 3D diameter, L0JK.
    """
    if not mask.any():
        return None
    points = geometry.to_lps(_vertices(mask))
    corners = points[ConvexHull(points).vertices]
    length, first, last = _farthest(corners)
    axis = (corners[last] - corners[first]) / length
    flat = corners - np.outer(corners @ axis, axis)
    width, _, _ = _farthest(flat)
    return Extent(length, (_vector(corners[first]), _vector(corners[last]))), width


def _vertices(mask: Bool[np.ndarray, "z y x"]) -> Float[np.ndarray, "n 3"]:
    """Indices half-way between each voxel of the mask and its face neighbours outside it."""
    padded = np.pad(mask, 1)
    found = []
    for axis in range(3):
        before = np.delete(padded, -1, axis)
        after = np.delete(padded, 0, axis)
        place = np.argwhere(before ^ after).astype(float) - 1
        place[:, axis] += 0.5
        found.append(place)
    return np.concatenate(found)


def _farthest(points: Float[np.ndarray, "n 3"]) -> tuple[float, int, int]:
    distances = squareform(pdist(points))
    first, last = np.unravel_index(int(distances.argmax()), distances.shape)
    return float(distances[first, last]), int(first), int(last)


@cache
def _areas(spacing_mm: Vector) -> Float[np.ndarray, " 256"]:
    """Area of the mesh inside a cube, for each choice of corners inside."""
    step = np.asarray(spacing_mm)
    middle = [(np.array(_CORNERS[a]) + np.array(_CORNERS[b])) / 2 * step for a, b in _EDGES]
    return np.array([sum(_polygon_area([middle[e] for e in loop]) for loop in _loops(code)) for code in range(256)])


def _loops(code: int) -> list[list[int]]:
    """The closed lines, as numbers of edges, in which the mesh meets the cube's faces."""
    linked: dict[int, list[int]] = {}
    for face in _FACES:
        for one, other in _segments(code, face):
            linked.setdefault(one, []).append(other)
            linked.setdefault(other, []).append(one)
    loops = []
    while linked:
        start = next(iter(linked))
        loop = [start]
        while True:
            here = loop[-1]
            onward = linked[here].pop()
            linked[onward].remove(here)
            if not linked[here]:
                del linked[here]
            if onward == start:
                break
            loop.append(onward)
        del linked[start]
        loops.append(loop)
    return loops


def _segments(code: int, face: tuple[int, ...]) -> list[tuple[int, int]]:
    """Pairs of edges of one face that the mesh joins there."""
    around = [e for e, (a, b) in enumerate(_EDGES) if a in face and b in face]
    crossed = [e for e in around if (code >> _EDGES[e][0] & 1) != (code >> _EDGES[e][1] & 1)]
    if len(crossed) < 4:
        return [(crossed[0], crossed[1])] if crossed else []
    # Two opposite corners are inside: each outer corner is cut off.
    outer = [corner for corner in face if not code >> corner & 1]
    pairs = []
    for corner in outer:
        one, other = (e for e in around if corner in _EDGES[e])
        pairs.append((one, other))
    return pairs


def _polygon_area(corners: list[Float[np.ndarray, " 3"]]) -> float:
    """Area of the triangles from the middle of a closed line to its sides."""
    ring = np.array(corners) - np.mean(corners, axis=0)
    return float(np.linalg.norm(np.cross(ring, np.roll(ring, -1, axis=0)), axis=1).sum() / 2)


def _vector(point: Float[np.ndarray, " 3"]) -> Vector:
    x, y, z = (float(value) for value in point)
    return (x, y, z)
