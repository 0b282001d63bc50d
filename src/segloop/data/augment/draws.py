"""What one batch's variants are made from: numbers, drawn without hidden state."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from keras import KerasTensor, ops


@dataclass(frozen=True, slots=True)
class Draw:
    """The parameters of one batch of b patches; applying it again gives the same patches.

    Attributes:
        matrix: Patch axes in the source, in voxels, (b, 3, 3): mirror, rotation and scale.
        elastic: Displacement at the control points, in voxels, (b, cz, cy, cx, 3).
        swapped: Whether lateral labels change places, (b,): the patch is mirrored along x.
        bias_field: Natural logarithm of the field at its control points, (b, cz, cy, cx).
        gamma: Exponent on values scaled to 0..1, (b,); 1 changes nothing.
        contrast: Factor on the distance from the mean, (b,).
        brightness: Added, in standard deviations, (b,).
        blur_sigma: Of the Gaussian blur, in voxels, (b,); 0 for none.
        low_resolution: Share of the samples kept along z, y, x, (b, 3); 1 keeps all.
        noise_sd: Of white noise, (b,).
        noise_start: Where in the noise table each patch begins, (b,) int32.
    """

    matrix: KerasTensor
    elastic: KerasTensor
    swapped: KerasTensor
    bias_field: KerasTensor
    gamma: KerasTensor
    contrast: KerasTensor
    brightness: KerasTensor
    blur_sigma: KerasTensor
    low_resolution: KerasTensor
    noise_sd: KerasTensor
    noise_start: KerasTensor

    def part(self, first: int, end: int) -> Draw:
        """The parameters of patches `first` to `end` - 1."""
        return replace(self, **{field.name: getattr(self, field.name)[first:end] for field in fields(self)})


def uniform(seed: KerasTensor, stream: int, shape: tuple[int, ...]) -> KerasTensor:
    """Numbers in [0, 1), float32, that depend on seed, stream and place alone: no state, the same on every backend.

    Source: the 32-bit finaliser "lowbias32" of C. Wellons' hash-prospector, applied to a counter.
    """
    count = int(np.prod(shape))
    counter = np.arange(count, dtype=np.uint32) * np.uint32(0x9E3779B9) + np.uint32(stream * 0x85EBCA6B % 2**32)
    key = _mix(ops.cast(seed, "uint32") + np.uint32(0x68E31DA4))
    bits = _mix(_mix(ops.convert_to_tensor(counter)) ^ key)
    return ops.reshape(ops.cast(ops.right_shift(bits, np.uint32(8)), "float32") * np.float32(2.0**-24), shape)


def happens(u: KerasTensor, probability: float) -> KerasTensor:
    """1 with the probability given, else 0, of a number in [0, 1)."""
    return ops.cast(u < probability, "float32")


def between(u: KerasTensor, low: float, high: float) -> KerasTensor:
    """A number in [0, 1) stretched to [low, high)."""
    return low + (high - low) * u


def rotation(angles: KerasTensor) -> KerasTensor:
    """Matrices (b, 3, 3) on (z, y, x) of rotations by angles (b, 3) in radians about z, then y, then x."""
    c, s = ops.cos(angles), ops.sin(angles)
    one, zero = ops.ones_like(c[:, 0]), ops.zeros_like(c[:, 0])

    def rows(*values: KerasTensor) -> KerasTensor:
        return ops.reshape(ops.stack(values, axis=-1), (-1, 3, 3))

    about_z = rows(one, zero, zero, zero, c[:, 0], -s[:, 0], zero, s[:, 0], c[:, 0])
    about_y = rows(c[:, 1], zero, -s[:, 1], zero, one, zero, s[:, 1], zero, c[:, 1])
    about_x = rows(c[:, 2], -s[:, 2], zero, s[:, 2], c[:, 2], zero, zero, zero, one)
    return ops.matmul(about_x, ops.matmul(about_y, about_z))


def _mix(x: KerasTensor) -> KerasTensor:
    x = (x ^ ops.right_shift(x, np.uint32(16))) * np.uint32(0x7FEB352D)
    x = (x ^ ops.right_shift(x, np.uint32(15))) * np.uint32(0x846CA68B)
    return x ^ ops.right_shift(x, np.uint32(16))


__all__ = ["Draw", "between", "happens", "rotation", "uniform"]
