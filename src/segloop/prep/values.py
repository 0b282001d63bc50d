"""Voxel values as network input, by the rule of the Plan."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from segloop.plan import Normalisation

_BINS = 256
# A range so small that 256 bins divided by it are beyond float32 holds no image.
LEAST_RANGE = 1e-30


def normalise(values: Float[np.ndarray, "*n"], rule: Normalisation) -> Float[np.ndarray, "*n"]:
    """Voxel values as network input, float32; mean and deviation are accumulated in float64.

    A constant image under `zscore` or `body` gives zeros.
    """
    if rule.kind in ("zscore", "body"):
        low, high = (float(v) for v in np.percentile(values, rule.clip_percentiles))
        clipped = np.clip(values, low, high)
        counted = clipped[body(clipped)] if rule.kind == "body" else clipped
        mean = float(counted.mean(dtype=np.float64))
        sd = float(counted.std(dtype=np.float64, mean=np.float64(mean)))
        # Below float32's own resolution a deviation is rounding noise, not contrast.
        if sd <= 1e-6 * max(abs(low), abs(high)):
            return np.zeros_like(clipped, dtype=np.float32)
        return np.asarray((clipped - np.float32(mean)) / np.float32(sd), np.float32)
    assert rule.window is not None  # the Plan has checked it
    low, high = rule.window
    clipped = np.clip(values, low, high)
    if rule.kind == "log":
        clipped = np.log1p(clipped)
    offset, divisor = (low, high - low) if rule.kind == "scale" else (rule.mean, rule.sd)
    return np.asarray((clipped - np.float32(offset)) / np.float32(divisor), np.float32)


def body(values: Float[np.ndarray, "*n"]) -> Bool[np.ndarray, "*n"]:
    """True where a value belongs to the body and not to the dark air (or the padding) around it.

    The range of the values is cut into 256 equal bins. The border between air and body lies after the bin that makes
    the cross entropy between the image and its two-valued version smallest; of equally good bins the darkest. Unlike
    Otsu's rule this does not put dark tissue to the air when fat is bright: air is a few per cent of the signal, and
    cross entropy weighs ratios. Only the values count, not where they lie, so the result does not depend on the
    orientation, nor on the unit.

    Args:
        values: One channel, finite.

    Returns:
        Everything is body in a constant image; else at least one voxel is, and one is not.

    Source: Li & Lee, Minimum cross entropy thresholding, Pattern Recognition 26:617 (1993).
    """
    low, high = np.float32(values.min()), np.float32(values.max())
    if high - low < LEAST_RANGE:
        return np.ones(values.shape, bool)
    # In float32 throughout, so that a copy of the rule inside an exported graph finds the very same bins.
    bins = np.minimum((values.astype(np.float32) - low) * (np.float32(_BINS) / (high - low)), np.float32(_BINS - 1))
    bins = bins.astype(np.uint8)
    count = np.bincount(bins.ravel(), minlength=_BINS).astype(np.float64)
    level = np.arange(_BINS) + 0.5
    dark, dark_sum = np.cumsum(count)[:-1], np.cumsum(count * level)[:-1]
    bright, bright_sum = count.sum() - dark, (count * level).sum() - dark_sum
    # The lowest and the highest bin are never empty, so no class is.
    likeness = dark_sum * np.log(dark_sum / dark) + bright_sum * np.log(bright_sum / bright)
    return np.asarray(bins > np.argmax(likeness))
