"""Smooth random fields: numbers at control points, and the cubic B-splines that lead from them to every voxel."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, prod, sqrt

import numpy as np
from jaxtyping import Float
from keras import KerasTensor, ops

from segloop.plan import Size
from segloop.volume import Vector

Weights = Float[np.ndarray, "length points"]


def splines(patch: Size, distance_mm: float, spacing_mm: Vector) -> tuple[Weights, Weights, Weights]:
    """Weights along z, y, x from control points `distance_mm` apart to the voxels of a patch."""
    z, y, x = (spline(n, distance_mm / s) for n, s in zip(patch, spacing_mm, strict=True))
    return z, y, x


def spline(length: int, distance: float) -> Weights:
    """Cubic B-spline weights from control points `distance` voxels apart to `length` voxels; each row adds up to 1."""
    points = max(1, ceil((length - 1) / distance)) + 3
    t = np.abs(np.arange(length)[:, None] / distance - (np.arange(points)[None] - 1))
    near, far = (4 - 6 * t**2 + 3 * t**3) / 6, np.clip(2 - t, 0, None) ** 3 / 6
    weights: Weights = np.where(t < 1, near, far).astype(np.float32)
    return weights


def spread(control: KerasTensor, weights: Sequence[Weights]) -> KerasTensor:
    """A field (..., z, y, x) from its control points (..., cz, cy, cx)."""
    z, y, x = (ops.convert_to_tensor(w) for w in weights)
    field = ops.matmul(y, ops.matmul(control, ops.transpose(x)))
    lead, (slices, rows, columns) = control.shape[:-3], (len(w) for w in weights)
    field = ops.matmul(z, ops.reshape(field, (*lead, control.shape[-3], rows * columns)))
    return ops.reshape(field, (*lead, slices, rows, columns))


def gain(weights: Sequence[Weights]) -> float:
    """Standard deviation of a field whose control points are independent, as a share of theirs."""
    return sqrt(prod(float((w**2).sum(axis=1).mean()) for w in weights))


__all__ = ["gain", "spline", "splines", "spread"]
