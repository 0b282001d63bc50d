"""Solids with exact volumes, and the share of each voxel that they fill.

Every solid is bounded by quadrics, whose intersection with a line is one interval in closed form. Coverage of a voxel
is therefore exact along x and needs sampling along y and z only; volumes of single ellipsoids are closed-form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi

import numpy as np
from jaxtyping import Bool, Float

from segloop.volume import Geometry, Vector

Numbers = Sequence[float] | np.ndarray
_INTEGRATION_STEP_MM = 0.2


@dataclass(frozen=True, slots=True, eq=False)
class Quadric:
    """The points p with (p - centre)ᵀ · matrix · (p - centre) ≤ 1: an ellipsoid, or an endless cylinder not along x.

    Args:
        centre_mm: Point (x, y, z).
        matrix: Symmetric 3 × 3, positive semi-definite, with a positive first entry.
    """

    centre_mm: Float[np.ndarray, " 3"]
    matrix: Float[np.ndarray, "3 3"]

    @classmethod
    def ellipsoid(cls, centre_mm: Numbers, semi_axes_mm: Numbers, degrees: Vector = (0, 0, 0)) -> Quadric:
        """An ellipsoid turned by `degrees` about x, then y, then z."""
        turn = rotation(degrees)
        return cls(np.asarray(centre_mm, float), turn @ np.diag(1.0 / np.square(semi_axes_mm)) @ turn.T)

    @classmethod
    def upright(cls, centre_xy_mm: Numbers, semi_axes_mm: Numbers) -> Quadric:
        """An endless elliptic cylinder along z."""
        x, y = semi_axes_mm
        return cls(np.array([*centre_xy_mm, 0.0]), np.diag([x**-2.0, y**-2.0, 0.0]))

    @classmethod
    def tube(cls, point_mm: Numbers, direction: Numbers, radius_mm: float) -> Quadric:
        """An endless round cylinder through `point_mm`; `direction` must not run along x."""
        axis = np.asarray(direction, float) / np.linalg.norm(direction)
        return cls(np.asarray(point_mm, float), (np.eye(3) - np.outer(axis, axis)) / radius_mm**2)

    @property
    def half_extent_mm(self) -> Float[np.ndarray, " 3"]:
        """Half the bounding box along x, y, z; infinite for cylinders."""
        if np.linalg.det(self.matrix) < 1e-15:
            return np.array([np.inf] * 3)
        return np.asarray(np.sqrt(np.diag(np.linalg.inv(self.matrix))))

    @property
    def volume_ml(self) -> float:
        """Closed form 4/3 π abc of an ellipsoid, in ml."""
        return 4 / 3 * pi / float(np.sqrt(np.linalg.det(self.matrix))) / 1000

    def grown(self, margin_mm: float) -> Quadric:
        """The ellipsoid with every semi-axis longer by `margin_mm`."""
        values, vectors = np.linalg.eigh(self.matrix)
        return Quadric(self.centre_mm, vectors @ np.diag((values**-0.5 + margin_mm) ** -2.0) @ vectors.T)

    def scaled(self, factor: float) -> Quadric:
        """The ellipsoid about the same centre with `factor` times the volume."""
        return Quadric(self.centre_mm, self.matrix / factor ** (2 / 3))

    def contains(self, points_mm: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, " n"]:
        """Which points (x, y, z) lie inside."""
        offset = points_mm - self.centre_mm
        return np.asarray(np.einsum("ni,ij,nj->n", offset, self.matrix, offset) <= 1.0)

    def surface_points(self, count: int = 200) -> Float[np.ndarray, "n 3"]:
        """Points (x, y, z) spread over an ellipsoid's surface (a Fibonacci lattice, stretched)."""
        k = np.arange(count) + 0.5
        z, angle = 1 - 2 * k / count, pi * (1 + 5**0.5) * k
        ring = np.sqrt(1 - z * z)
        sphere = np.stack([ring * np.cos(angle), ring * np.sin(angle), z], axis=1)
        values, vectors = np.linalg.eigh(self.matrix)
        return np.asarray(self.centre_mm + (sphere * values**-0.5) @ vectors.T)

    def intervals(
        self, y_mm: Float[np.ndarray, "*n"], z_mm: Float[np.ndarray, "*n"]
    ) -> tuple[Float[np.ndarray, "*n"], Float[np.ndarray, "*n"]]:
        """Where lines parallel to x enter and leave; leave < enter where a line misses."""
        dy, dz = y_mm - self.centre_mm[1], z_mm - self.centre_mm[2]
        m = self.matrix
        linear = m[0, 1] * dy + m[0, 2] * dz
        constant = m[1, 1] * dy * dy + 2 * m[1, 2] * dy * dz + m[2, 2] * dz * dz - 1.0
        root = linear * linear - m[0, 0] * constant
        half = np.where(root > 0, np.sqrt(np.maximum(root, 0)), -1.0) / m[0, 0]
        middle = self.centre_mm[0] - linear / m[0, 0]
        return middle - half, middle + half


def rotation(degrees: Vector) -> Float[np.ndarray, "3 3"]:
    """The matrix that turns about x, then y, then z."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        c, s = np.cos(angle), np.sin(angle)
        turn = np.eye(3)
        i, j = [k for k in range(3) if k != axis]
        sign = -1.0 if axis == 1 else 1.0
        turn[i, i], turn[j, j], turn[i, j], turn[j, i] = c, c, -sign * s, sign * s
        matrix = turn @ matrix
    return matrix


@dataclass(frozen=True, slots=True, eq=False)
class Lobes:
    """The union of two ellipsoids: a smooth organ with two lobes.

    Its volume is both closed forms less the common part, which is integrated over exact line lengths on a 0.2 mm
    lattice of lines, which is right to 1 part in 10,000 of the common part.
    """

    first: Quadric
    second: Quadric

    @property
    def volume_ml(self) -> float:
        """Volume of the union in ml."""
        return self.first.volume_ml + self.second.volume_ml - self.common_ml(_INTEGRATION_STEP_MM)

    def common_ml(self, step_mm: float) -> float:
        """Volume of the common part in ml by the midpoint rule over lines along x."""
        low = np.maximum(*[(q.centre_mm - q.half_extent_mm)[1:] for q in (self.first, self.second)])
        high = np.minimum(*[(q.centre_mm + q.half_extent_mm)[1:] for q in (self.first, self.second)])
        if (high <= low).any():
            return 0.0
        counts = np.ceil((high - low) / step_mm).astype(int)
        steps = (high - low) / counts
        y, z = (low[i] + (np.arange(counts[i]) + 0.5) * steps[i] for i in range(2))
        lengths = _shared(self.first, self.second, y[None, :], z[:, None])
        return float(np.maximum(lengths[1] - lengths[0], 0).sum() * steps[0] * steps[1] / 1000)

    def contains(self, points_mm: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, " n"]:
        """Which points (x, y, z) lie inside."""
        return np.asarray(self.first.contains(points_mm) | self.second.contains(points_mm))


def _shared(
    first: Quadric, second: Quadric, y: np.ndarray, z: np.ndarray
) -> tuple[Float[np.ndarray, "*n"], Float[np.ndarray, "*n"]]:
    a, b = first.intervals(y, z), second.intervals(y, z)
    missed = (a[1] < a[0]) | (b[1] < b[0])
    return np.where(missed, 0.0, np.maximum(a[0], b[0])), np.where(missed, -1.0, np.minimum(a[1], b[1]))


Box = tuple[slice, slice, slice]


def coverage(solid: Quadric | Lobes, grid: Geometry, lines: int = 4) -> tuple[Box, Float[np.ndarray, "z y x"]]:
    """Share of each voxel that lies in the solid, inside the solid's bounding box.

    Args:
        solid: What to render.
        grid: Axes must run along patient z, y and x.
        lines: Lines per voxel and axis (y and z) that coverage is averaged over; along x it is exact.

    Returns:
        The box (slices along z, y, x; possibly empty) and float32 shares 0..1 of its voxels.
    """
    parts = (solid,) if isinstance(solid, Quadric) else (solid.first, solid.second)
    box = _box(parts, grid)
    shape = tuple(max(s.stop - s.start, 0) for s in box)
    if 0 in shape:
        return box, np.zeros(shape, np.float32)
    along = (np.arange(lines) + 0.5) / lines - 0.5
    sx, sy, sz = grid.spacing_mm[::-1]
    y = grid.origin_mm[1] + (np.arange(box[1].start, box[1].stop)[:, None] + along) * sy
    edges = grid.origin_mm[0] + (np.arange(box[2].start, box[2].stop + 1) - 0.5) * sx
    flat = isinstance(solid, Quadric) and not solid.matrix[2].any()
    filled = np.empty((1 if flat else shape[0], *shape[1:]), np.float32)
    for k in range(filled.shape[0]):
        z = grid.origin_mm[2] + (box[0].start + k + along) * sz
        lattice = (y[:, :, None], z[None, None, :])
        spans = [part.intervals(*lattice) for part in parts]
        length = sum(_lengths(low, high, edges) for low, high in spans)
        if isinstance(solid, Lobes):
            length = length - _lengths(*_shared(solid.first, solid.second, *lattice), edges)
        filled[k] = np.asarray(length).mean(axis=(1, 2)) / sx
    return box, np.broadcast_to(filled, shape)


def _lengths(low: np.ndarray, high: np.ndarray, edges: np.ndarray) -> Float[np.ndarray, "y a b x"]:
    inside = np.clip(edges, low[..., None], np.maximum(high, low)[..., None])
    return np.diff(inside, axis=-1)


def _box(parts: Sequence[Quadric], grid: Geometry) -> Box:
    low = np.min([p.centre_mm - p.half_extent_mm for p in parts], axis=0)
    high = np.max([p.centre_mm + p.half_extent_mm for p in parts], axis=0)
    slices = []
    for axis, size in enumerate(grid.shape):
        patient, spacing = 2 - axis, grid.spacing_mm[axis]
        first = (low[patient] - grid.origin_mm[patient]) / spacing + 0.5
        last = (high[patient] - grid.origin_mm[patient]) / spacing + 0.5
        start, stop = (int(np.clip(np.floor(v), 0, size)) for v in (first, last + 1))
        slices.append(slice(start, stop))
    return slices[0], slices[1], slices[2]
