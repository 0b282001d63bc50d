"""Transforms of voxel values, each on b patches (b, z, y, x, channels) with one parameter per patch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
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


def along(images: KerasTensor, matrices: Sequence[KerasTensor | None]) -> KerasTensor:
    """Each patch with every line along z, y, x multiplied by its own matrix (b, length, length); None changes nothing.

    A band of weights as a full matrix does more arithmetic than shifted sums, but reads the patch once.
    """
    size, channels = tuple(images.shape[1:4]), images.shape[4]
    z, y, x = matrices
    planes = ops.transpose(images, (0, 4, 1, 2, 3)) if channels > 1 else ops.reshape(images, (-1, 1, *size))
    if x is not None:
        rows = ops.reshape(planes, (-1, channels, size[0] * size[1], size[2]))
        planes = ops.reshape(ops.matmul(rows, ops.transpose(x, (0, 2, 1))[:, None]), (-1, channels, *size))
    if y is not None:
        planes = ops.matmul(y[:, None, None], planes)
    if z is not None:
        columns = ops.reshape(planes, (-1, channels, size[0], size[1] * size[2]))
        planes = ops.reshape(ops.matmul(z[:, None], columns), (-1, channels, *size))
    return ops.transpose(planes, (0, 2, 3, 4, 1)) if channels > 1 else ops.reshape(planes, (-1, *size, 1))


def blurring(length: int, sigma: KerasTensor) -> KerasTensor:
    """Matrices (b, length, length) of a Gaussian of five taps, mirrored at the ends; sigma 0 changes nothing."""
    safe = ops.maximum(ops.reshape(sigma, (-1, 1, 1)), 1e-3)
    one, two = ops.exp(-0.5 / safe**2), ops.exp(-2.0 / safe**2)
    near, far = (_shifted(length, k) + _shifted(length, -k) for k in (1, 2))
    return (np.eye(length, dtype=np.float32) + one * near + two * far) / (1 + 2 * one + 2 * two)


def coarsening(length: int, share: KerasTensor) -> KerasTensor:
    """Matrices (b, length, length) that keep a share (b,) of the samples and read linearly between them.

    The samples kept are the nearest to the middles of as many equal parts of the line.

    Source: Isensee et al. 2021 (nnU-Net), simulation of low resolution: nearest neighbour down, linear up.
    """
    count = ops.maximum(ops.round(share * length), 1.0)[:, None]
    width = length / count
    place = (np.arange(length, dtype=np.float32)[None] + 0.5) / width - 0.5
    place = ops.minimum(ops.maximum(place, 0.0), count - 1)
    low = ops.floor(place)
    index = np.arange(length, dtype=np.float32)[None, None]

    def samples(number: KerasTensor) -> KerasTensor:
        nearest = ops.floor((ops.minimum(number, count - 1) + 0.5) * width)
        return ops.cast(ops.equal(nearest[:, :, None], index), "float32")

    rest = (place - low)[:, :, None]
    return samples(low) * (1 - rest) + samples(low + 1) * rest


def _shifted(length: int, by: int) -> Float[np.ndarray, "length length"]:
    """The matrix that reads each sample's neighbour, mirrored at the ends (… 1 0 0 1 …)."""
    place = np.abs(np.arange(length) + by + 0.5) - 0.5
    place = (length - 0.5) - np.abs(length - 0.5 - place)
    matrix: np.ndarray = (np.clip(place, 0, None)[:, None] == np.arange(length)[None]).astype(np.float32)
    return matrix


__all__ = ["along", "bend", "bias", "blurring", "coarsening", "per_patch", "stretch"]
