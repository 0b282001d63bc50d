"""Grid to grid as one weight matrix per axis: separable, so three small matrix products move a whole volume.

Two grids along an axis share the centre of their field of view. Output sample `i` then lies at input index
`offset + scale * i`, with `scale` the output spacing over the input spacing. An axis that does not change has no matrix
(`None`), which makes "nothing to do" exact to the bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from jaxtyping import Float, Shaped

from segloop.volume import Geometry, Shape, Vector

Weights = Float[np.ndarray, "out in"]
AxisWeights = tuple[Weights | None, Weights | None, Weights | None]

SAME_SPACING = 1e-3
"""Relative difference up to which two spacings are one: the axis is then left alone."""


def axis_weights(
    n_in: int, n_out: int, scale: float, offset: float, *, order: int = 1, antialias: bool = True
) -> Weights:
    """The (n_out, n_in) float32 matrix that resamples one axis; every row sums to 1.

    Beyond the first and last input sample the nearest one is continued, so a single slice becomes constant slices.

    Args:
        n_in: Input samples.
        n_out: Output samples.
        scale: Output spacing over input spacing.
        offset: Input index of output sample 0.
        order: 0 for the nearest sample (a tie goes to the later one), 1 for linear.
        antialias: Towards a coarser grid, average the linear interpolant over an interval of `sqrt(scale² - 1)` input
            samples, so that an output stands for its extent and not for a point. Straight lines stay exact, which a
            widened and renormalised kernel would not keep, and the width goes to 0 as the spacings become equal. No
            effect for order 0 or towards a finer grid.

    Raises:
        ValueError: Order is neither 0 nor 1, or a size is not positive.
    """
    if order not in (0, 1) or min(n_in, n_out) < 1:
        raise ValueError(f"order 0 or 1 and positive sizes are needed. Received: order={order}, sizes {n_in}, {n_out}")
    position = np.clip(offset + scale * np.arange(n_out, dtype=np.float64), 0, n_in - 1)
    index = np.arange(n_in, dtype=np.float64)
    if order == 0:
        # 1e-6 keeps rounding noise of exact half-way positions from choosing different samples along one axis.
        nearest = np.clip(np.floor(position + 0.5 + 1e-6), 0, n_in - 1)
        return np.asarray(index[None, :] == nearest[:, None], np.float32)
    if n_in > 1 and antialias and scale > 1:
        half = sqrt(scale**2 - 1) / 2
        centre = offset + scale * np.arange(n_out, dtype=np.float64)
        matrix = _hat_integrals(n_in, centre + half) - _hat_integrals(n_in, centre - half)
    else:
        matrix = np.maximum(0.0, 1.0 - np.abs(position[:, None] - index[None, :]))
    return np.asarray(matrix / matrix.sum(axis=1, keepdims=True), np.float32)


def _hat_integrals(n: int, end: Float[np.ndarray, " out"]) -> Float[np.ndarray, "out n"]:
    """Integral up to `end` of each sample's hat function, but for a constant; beyond the grid the end samples go on."""
    t = end[:, None] - np.arange(n)
    rising, falling = np.clip(t, -1, 0), np.clip(t, 0, 1)
    integral = (rising + 1) ** 2 / 2 + falling - falling**2 / 2
    integral[:, 0] = np.minimum(t[:, 0], 0) + falling[:, 0] - falling[:, 0] ** 2 / 2
    integral[:, -1] = (rising[:, -1] + 1) ** 2 / 2 + np.maximum(t[:, -1], 0)
    return np.asarray(integral)


def resample(array: Shaped[np.ndarray, "z y x"], weights: AxisWeights) -> Float[np.ndarray, "z2 y2 x2"]:
    """The array on the new grid, float32 and contiguous; an axis without a matrix keeps its samples exactly."""
    depth, height, width = weights
    values = np.ascontiguousarray(array, dtype=np.float32)
    # The axis that shrinks most goes first, so that the others have less to do.
    steps = [(m.shape[0] / m.shape[1], axis, m) for axis, m in enumerate((depth, height, width)) if m is not None]
    for _, axis, matrix in sorted(steps, key=lambda step: step[:2]):
        z, y, x = values.shape
        if axis == 0:
            values = (matrix @ values.reshape(z, y * x)).reshape(-1, y, x)
        elif axis == 1:
            values = np.matmul(matrix, values)
        else:
            values = (values.reshape(z * y, x) @ matrix.T).reshape(z, y, -1)
    return values


@dataclass(frozen=True, slots=True)
class Match:
    """How two grids with the same axes and the same centre correspond.

    Args:
        source: The grid samples come from.
        target: The grid they go to.
    """

    source: Geometry
    target: Geometry

    def weights(self, *, order: int = 1, antialias: bool = True) -> AxisWeights:
        """One matrix per axis from `source` to `target`; `None` where the axis is the same."""
        matrices: list[Weights | None] = []
        for axis in range(3):
            n_in, n_out = self.source.shape[axis], self.target.shape[axis]
            scale = self.target.spacing_mm[axis] / self.source.spacing_mm[axis]
            if n_in == n_out and scale == 1.0:
                matrices.append(None)
            else:
                offset = (n_in - 1) / 2 - scale * (n_out - 1) / 2
                matrices.append(axis_weights(n_in, n_out, scale, offset, order=order, antialias=antialias))
        return (matrices[0], matrices[1], matrices[2])

    @property
    def back(self) -> Match:
        """The way from `target` to `source`."""
        return Match(self.target, self.source)


def match(source: Geometry, spacing_mm: Vector) -> Match:
    """The grid of the wanted spacing over the same field of view, and the way to it.

    Direction and centre stay. Each axis gets the whole number of voxels closest to its field of view, at least one. An
    axis whose spacing is within `SAME_SPACING` of the wanted one keeps its own spacing and voxels.
    """
    shape: list[int] = []
    spacing: list[float] = []
    for n, own, wanted in zip(source.shape, source.spacing_mm, spacing_mm, strict=True):
        same = abs(own / wanted - 1.0) <= SAME_SPACING
        shape.append(n if same else max(1, int(np.floor(n * own / wanted + 0.5))))
        spacing.append(own if same else wanted)
    if tuple(shape) == source.shape and tuple(spacing) == source.spacing_mm:
        return Match(source, source)
    target_shape: Shape = (shape[0], shape[1], shape[2])
    target_spacing: Vector = (spacing[0], spacing[1], spacing[2])
    return Match(source, _about_same_centre(source, target_shape, target_spacing))


def _about_same_centre(source: Geometry, shape: Shape, spacing_mm: Vector) -> Geometry:
    centre = source.to_lps((np.asarray(source.shape, float) - 1) / 2)
    step = np.asarray(source.direction).T * np.asarray(spacing_mm)
    x, y, z = (float(v) for v in centre - step @ ((np.asarray(shape, float) - 1) / 2))
    return Geometry(shape, spacing_mm, (x, y, z), source.direction)


def centre_padding(shape: Sequence[int], target: Sequence[int]) -> list[tuple[int, int]]:
    """Voxels to add before and after each axis to reach `target`: half before (rounded down), the rest after."""
    missing = [max(0, wanted - n) for n, wanted in zip(shape, target, strict=True)]
    return [(m // 2, m - m // 2) for m in missing]
