"""How far soft masks overlap with true ones, pooled over the batch: Dice, generalised Dice, Tversky, focal Tversky.

All take probabilities and targets (b, …, labels) in float32 and give one number, 0 where they agree. A label absent
from both costs nothing, thanks to `smooth`, which is counted in voxels.
"""

from __future__ import annotations

from keras import KerasTensor, ops

# The focal term's slope is infinite where nothing is left to improve.
_LEAST = 1e-7


def soft_dice(probability: KerasTensor, target: KerasTensor, smooth: float = 1.0) -> KerasTensor:
    """One less the mean Dice of the labels.

    Source: Milletari et al., V-Net, arXiv 1606.04797, without squares; pooled over the batch as in nnU-Net.
    """
    overlap, found, truth = _sums(probability, target)
    return 1 - ops.mean((2 * overlap + smooth) / (found + truth + smooth))


def generalised_dice(probability: KerasTensor, target: KerasTensor, smooth: float = 1.0) -> KerasTensor:
    """One less a single Dice of all labels, in which each counts by the inverse square of its volume.

    Weights are scaled to a sum of 1. A label absent from the batch takes the largest weight of those that occur,
    instead of the formula's infinite one.

    Source: Sudre et al., arXiv 1707.03237.
    """
    overlap, found, truth = _sums(probability, target)
    present = truth > 0
    inverse = ops.where(present, 1 / ops.square(ops.maximum(truth, 1.0)), ops.zeros_like(truth))
    largest = ops.max(inverse)
    weight = ops.where(present, inverse, ops.ones_like(truth) * ops.where(largest > 0, largest, 1.0))
    weight = weight / ops.sum(weight)
    return 1 - (2 * ops.sum(weight * overlap) + smooth) / (ops.sum(weight * (found + truth)) + smooth)


def tversky(
    probability: KerasTensor, target: KerasTensor, alpha: float = 0.3, beta: float = 0.7, smooth: float = 1.0
) -> KerasTensor:
    """One less the mean Tversky index of the labels; `alpha` weighs false positives, `beta` false negatives.

    Source: Salehi et al., arXiv 1706.05721.
    """
    return ops.mean(1 - _tversky_index(probability, target, alpha, beta, smooth))


def focal_tversky(
    probability: KerasTensor,
    target: KerasTensor,
    alpha: float = 0.3,
    beta: float = 0.7,
    gamma: float = 4 / 3,
    smooth: float = 1.0,
) -> KerasTensor:
    """Mean over labels of (1 - Tversky index) to the power 1 / gamma: above 1, what is found badly counts more.

    Source: Abraham & Khan, arXiv 1810.07842 (which calls the weight of false negatives alpha).
    """
    missing = 1 - _tversky_index(probability, target, alpha, beta, smooth)
    return ops.mean(ops.power(ops.maximum(missing, _LEAST), 1 / gamma))


def _tversky_index(
    probability: KerasTensor, target: KerasTensor, alpha: float, beta: float, smooth: float
) -> KerasTensor:
    overlap, found, truth = _sums(probability, target)
    return (overlap + smooth) / (overlap + alpha * (found - overlap) + beta * (truth - overlap) + smooth)


def _sums(probability: KerasTensor, target: KerasTensor) -> tuple[KerasTensor, KerasTensor, KerasTensor]:
    """Overlap, prediction and truth of each label, in voxels."""
    pooled = tuple(range(len(probability.shape) - 1))
    return ops.sum(probability * target, pooled), ops.sum(probability, pooled), ops.sum(target, pooled)
