"""Longest and perpendicular diameter of a part, in the plane in which it was acquired."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import pdist, squareform

from segloop.volume import Geometry, Vector

ANGLE_TOLERANCE_DEGREES = 10.0
"""How far from a right angle the second diameter may be: a grid seldom holds two voxels at exactly 90 degrees."""

# Below this a hull has no inside, so its points lie on a line.
_FLAT_MM = 1e-9


@dataclass(frozen=True, slots=True)
class Diameter:
    """A straight line through a part, voxel centre to voxel centre.

    Args:
        length_mm: Its length.
        points_mm: Its two ends, LPS mm.
    """

    length_mm: float
    points_mm: tuple[Vector, Vector]


def diameters(mask: Bool[np.ndarray, "z y x"], geometry: Geometry) -> tuple[Diameter, Diameter | None] | None:
    """Longest diameter in any slice, and the longest one across it in the same slice.

    Slices are those of array axis 0, so give the mask in the geometry it was acquired in. Lines run between voxel
    centres and may leave the part where it is concave, as RECIST's do. The second is the largest chord whose angle to
    the first is within `ANGLE_TOLERANCE_DEGREES` of 90 degrees.

    Args:
        mask: One part.
        geometry: Its grid.

    Returns:
        None for an empty mask. A part of one voxel per slice has length 0 and no second diameter; neither has one whose
        voxels lie on a line.

    Source: Eisenhauer et al., RECIST 1.1, Eur J Cancer 45:228 (2009): longest diameter in the plane of measurement.
    """
    best: tuple[float, int, Float[np.ndarray, "n 2"], tuple[int, int]] | None = None
    _, dy, dx = geometry.spacing_mm
    for z in np.flatnonzero(mask.any(axis=(1, 2))).tolist():
        outline = _outline(mask[z])
        hull = _hull(outline * np.array([dy, dx]))
        length, ends = _longest(hull)
        if best is None or length > best[0] + _FLAT_MM:
            best = (length, z, outline * np.array([dy, dx]), ends)
            corners = hull
    if best is None:
        return None
    length, z, points, (first, last) = best
    scale = (dy, dx)
    longest = _diameter(geometry, z, scale, corners[first], corners[last])
    across = _perpendicular(points, corners[last] - corners[first])
    return longest, None if across is None else _diameter(geometry, z, scale, *across)


def _outline(mask: Bool[np.ndarray, "y x"]) -> Float[np.ndarray, "n 2"]:
    """Indices of foreground pixels with a background 4-neighbour; the farthest two pixels are always among them."""
    inner = np.pad(mask, 1)
    inside = inner[:-2, 1:-1] & inner[2:, 1:-1] & inner[1:-1, :-2] & inner[1:-1, 2:]
    return np.argwhere(mask & ~inside).astype(float)


def _hull(points: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "m 2"]:
    """Corners of the convex hull; the two ends when all points lie on a line."""
    if len(points) < 3:
        return points
    centred = points - points[0]
    axis = centred[np.argmax((centred**2).sum(axis=1))]
    height = np.abs(centred[:, 0] * axis[1] - centred[:, 1] * axis[0])
    if height.max() > _FLAT_MM:
        try:
            return np.asarray(points[ConvexHull(points).vertices])
        except QhullError:
            # Nearly flat: fall through to the ends along the line, which is what the hull would be.
            pass
    along = centred @ axis
    return points[[int(along.argmin()), int(along.argmax())]]


def _longest(hull: Float[np.ndarray, "m 2"]) -> tuple[float, tuple[int, int]]:
    if len(hull) < 2:
        return 0.0, (0, 0)
    distances = squareform(pdist(hull))
    first, last = np.unravel_index(int(distances.argmax()), distances.shape)
    return float(distances[first, last]), (int(first), int(last))


def _perpendicular(
    points: Float[np.ndarray, "n 2"], axis: Float[np.ndarray, " 2"]
) -> tuple[Float[np.ndarray, " 2"], Float[np.ndarray, " 2"]] | None:
    """Ends of the longest chord within the tolerance of a right angle to `axis`; None when there is none.

    Every pair of outline points is a candidate: the hull alone would miss chords that end between its corners.
    """
    length = float(np.hypot(*axis))
    if length == 0:
        return None
    unit = axis / length
    along, across = points @ unit, points @ np.array([-unit[1], unit[0]])
    tangent = np.tan(np.radians(ANGLE_TOLERANCE_DEGREES))
    best, ends = 0.0, None
    for start in range(len(points)):
        shift, height = along - along[start], across - across[start]
        allowed = (height > _FLAT_MM) & (np.abs(shift) <= tangent * height + _FLAT_MM)
        if not allowed.any():
            continue
        lengths = np.where(allowed, np.hypot(shift, height), 0.0)
        end = int(lengths.argmax())
        if lengths[end] > best:
            best, ends = float(lengths[end]), (points[start], points[end])
    return ends


def _diameter(
    geometry: Geometry,
    z: int,
    scale: tuple[float, float],
    first: Float[np.ndarray, " 2"],
    last: Float[np.ndarray, " 2"],
) -> Diameter:
    indices = np.array([[z, end[0] / scale[0], end[1] / scale[1]] for end in (first, last)])
    ends = geometry.to_lps(indices)
    a, b = (_vector(end) for end in ends)
    return Diameter(float(np.linalg.norm(ends[1] - ends[0])), (a, b))


def _vector(point: Float[np.ndarray, " 3"]) -> Vector:
    x, y, z = (float(value) for value in point)
    return (x, y, z)
