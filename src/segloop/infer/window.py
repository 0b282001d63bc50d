"""Tiles over an image and the weights they are blended with, as pure functions."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from math import ceil

import numpy as np
from jaxtyping import Float

from segloop.volume import Shape

# A window's outermost voxels keep this share of the centre's weight: a voxel seen by one window alone is defined.
_LOWEST = 1e-3

Profile = Float[np.ndarray, " n"]


def window_starts(length: int, window: int, overlap: float) -> tuple[int, ...]:
    """First voxels of windows that cover an axis evenly, the last one flush with its end.

    Neighbours overlap by at least `overlap` of the window. An axis no longer than the window has one start, 0.

    >>> window_starts(10, 4, 0.5)
    (0, 2, 4, 6)
    """
    if length <= window:
        return (0,)
    step = max(1, int(window * (1 - overlap)))
    count = ceil((length - window) / step) + 1
    return tuple(round(i * (length - window) / (count - 1)) for i in range(count))


def windows(shape: Sequence[int], patch: Sequence[int], overlap: float) -> list[Shape]:
    """First voxels (z, y, x) of the windows that cover an image, z slowest.

    Args:
        shape: The image's size; an axis shorter than the patch must be padded to it by the caller.
        patch: The window's size.
        overlap: Least share of a window that the next one covers again, in 0..1 (1 excluded).
    """
    axes = [window_starts(n, p, overlap) for n, p in zip(shape, patch, strict=True)]
    return [(z, y, x) for z, y, x in itertools.product(*axes)]


def axis_profiles(patch: Sequence[int], sigma: float) -> list[Profile]:
    """A Gaussian along each axis, 1 at the centre, `sigma` times the axis' length wide, never below 0.001."""
    profiles = []
    for n in patch:
        distance = (np.arange(n) - (n - 1) / 2) / (sigma * n)
        profiles.append(np.maximum(np.exp(-0.5 * distance**2), _LOWEST).astype(np.float32))
    return profiles


def blend_weights(patch: Sequence[int], sigma: float) -> Float[np.ndarray, "z y x"]:
    """How much each voxel of a window counts where windows overlap: the product of `axis_profiles`, float32."""
    depth, height, width = axis_profiles(patch, sigma)
    return np.asarray(depth[:, None, None] * height[:, None] * width, np.float32)


def total_weights(
    shape: Sequence[int], patch: Sequence[int], overlap: float, sigma: float
) -> tuple[Profile, Profile, Profile]:
    """Sums of the weights of all windows at each voxel, one factor per axis: their product is the sum in space.

    Windows stand on a grid and their weights are products, so the sum over windows is the product of three sums.
    """
    sums = []
    for n, p, profile in zip(shape, patch, axis_profiles(patch, sigma), strict=True):
        total = np.zeros(n, np.float32)
        for start in window_starts(n, p, overlap):
            total[start : start + p] += profile
        sums.append(total)
    return (sums[0], sums[1], sums[2])


def network_shape(shape: Sequence[int], divisor: Sequence[int], patch: Sequence[int]) -> Shape:
    """The padded size a whole image is run at: a multiple of the divisor and at least the patch.

    Training pads what is smaller than a patch to the patch, and instance normalisation sees the padding, so inference
    does the same.
    """
    z, y, x = (max(int(p), ceil(n / d) * d) for n, d, p in zip(shape, divisor, patch, strict=True))
    return (z, y, x)
