"""Transforms of voxel values, each on b patches (b, z, y, x, channels) with one parameter per patch."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int
from keras import KerasTensor, ops

_SPACE = (1, 2, 3)


def per_patch(values: KerasTensor) -> KerasTensor:
    """One number per patch, (b,), shaped so that it meets all voxels of it."""
    return ops.reshape(values, (-1, 1, 1, 1, 1))


def bias(images: KerasTensor, field: KerasTensor) -> KerasTensor:
    """Distances from the darkest voxel times exp(`field`) (b, z, y, x), scaled so that each channel keeps its mean.

    Values are normalised before they come here, so their zero is not the signal's; the darkest voxel is the next best.

    Source: Sled, Zijdenbos & Evans 1998, the multiplicative model of intensity non-uniformity.
    """
    signal = images - ops.min(images, _SPACE, keepdims=True)
    uneven = signal * ops.exp(field)[..., None]
    kept = ops.mean(signal, _SPACE, keepdims=True) / (ops.mean(uneven, _SPACE, keepdims=True) + 1e-6)
    return images - signal + uneven * kept


def bend(images: KerasTensor, gamma: KerasTensor) -> KerasTensor:
    """Values scaled to 0..1 per patch and channel, raised to `gamma`, and brought back to their mean and deviation."""
    low, high = ops.min(images, _SPACE, keepdims=True), ops.max(images, _SPACE, keepdims=True)
    # The exponential of a logarithm takes a tenth of the time of a power; the logarithm of 0 comes back as 0.
    bent = ops.exp(per_patch(gamma) * ops.log((images - low) / (high - low + 1e-6)))
    mean, sd = ops.mean(images, _SPACE, keepdims=True), ops.std(images, _SPACE, keepdims=True)
    scale = sd / (ops.std(bent, _SPACE, keepdims=True) + 1e-6)
    bent = bent * scale + (mean - ops.mean(bent, _SPACE, keepdims=True) * scale)
    return ops.where(per_patch(gamma) == 1, images, bent)


def stretch(images: KerasTensor, contrast: KerasTensor, brightness: KerasTensor) -> KerasTensor:
    """Distances from each channel's mean times `contrast`, plus `brightness`."""
    factor = per_patch(contrast)
    mean = ops.mean(images, _SPACE, keepdims=True)
    return images * factor + (mean * (1 - factor) + per_patch(brightness))


def blurred(images: KerasTensor, sigma: KerasTensor, axis: int) -> KerasTensor:
    """Lines along z, y or x (0, 1, 2) under a Gaussian of five taps, mirrored at the ends; sigma 0 changes nothing.

    Five shifted sums are a tenth of the arithmetic of a matrix, and a compiler makes them one pass.
    """
    length, along = images.shape[axis + 1], axis + 1
    safe = ops.maximum(per_patch(sigma), 1e-3)
    near, far = ops.exp(-0.5 / safe**2), ops.exp(-2.0 / safe**2)
    before, after = (ops.take(images, _mirrored(length, places), axis=along) for places in ((-2, -1), (0, 1)))
    wide = ops.concatenate([before, images, after], axis=along)
    one, two, _, four, five = (wide[(slice(None),) * along + (slice(k, k + length),)] for k in range(5))
    return (images + near * (two + four) + far * (one + five)) / (1 + 2 * near + 2 * far)


def coarsened(images: KerasTensor, share: KerasTensor, axis: int) -> KerasTensor:
    """Lines along z, y or x (0, 1, 2) of which a share (b,) of the samples is kept and read linearly between.

    The samples kept are the nearest to the middles of as many equal parts of the line.

    Source: Isensee et al. 2021 (nnU-Net), simulation of low resolution: nearest neighbour down, linear up.
    """
    length = images.shape[axis + 1]
    count = ops.maximum(ops.round(share * length), 1.0)[:, None]
    width = length / count
    place = (np.arange(length, dtype=np.float32)[None] + 0.5) / width - 0.5
    place = ops.minimum(ops.maximum(place, 0.0), count - 1)
    low = ops.floor(place)

    def samples(number: KerasTensor) -> KerasTensor:
        nearest = ops.cast((ops.minimum(number, count - 1) + 0.5) * width, "int32")
        return ops.stack([ops.take(images[i], nearest[i], axis=axis) for i in range(images.shape[0])])

    one, other = samples(low), samples(low + 1)
    rest = ops.reshape(place - low, (-1, *(length if a == axis else 1 for a in range(4))))
    return one + rest * (other - one)


def _mirrored(length: int, places: tuple[int, int]) -> Int[np.ndarray, " places"]:
    """Samples that stand before a line (places below 0) or after it (from 0 on), mirrored (… 1 0 0 1 …)."""
    found = [-1 - p if p < 0 else length - 1 - p for p in places]
    return np.clip(found, 0, length - 1).astype(np.int32)


__all__ = ["bend", "bias", "blurred", "coarsened", "per_patch", "stretch"]
