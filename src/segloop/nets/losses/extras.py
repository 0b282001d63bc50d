"""Terms about borders and centre lines, which overlap says little about.

All take probabilities and targets (b, [z,] y, x, labels) in float32, 0 in both where a voxel does not count, and give
one number, 0 where they agree.
"""

from __future__ import annotations

from collections.abc import Sequence

from keras import KerasTensor, ops

from segloop.nets.losses.distance import signed_distance
from segloop.nets.losses.morphology import eroded, soft_skeleton

REACH = 10.0
"""How far from the border a voxel's error costs more the farther it is, in steps of the finest axis."""

_POWER = 2


def boundary(
    probability: KerasTensor, target: KerasTensor, counted: KerasTensor | None, spacing: Sequence[float]
) -> KerasTensor:
    """Mean over voxels of the error times its distance from the true border, in steps of the finest axis.

    The paper's integral of distance times probability, less what the truth itself gives: the same slope, and 0 for a
    perfect prediction. Distances end at `REACH`, so a label absent from a patch costs what the farthest voxels do.

    Args:
        probability: Of each label.
        target: 1 inside, 0 outside.
        counted: 1 where a voxel counts, (b, …, 1); None when all do.
        spacing: Voxel size along each spatial axis; only its proportions matter.

    Source: Kervadec et al., Boundary loss for highly unbalanced segmentation, arXiv 1812.07032, equation 5.
    """
    steps = [size / min(spacing) for size in spacing]
    return _mean((probability - target) * ops.stop_gradient(signed_distance(target, steps, REACH)), counted)


def erosion_hausdorff(
    probability: KerasTensor, target: KerasTensor, counted: KerasTensor | None, iterations: int
) -> KerasTensor:
    """Mean over voxels of what is left of the squared error after k erosions, times k squared, over k = 1 … iterations.

    A smooth stand-in for the Hausdorff distance: the deeper an error reaches into the other mask, the more erosions it
    outlives. Erosion takes the least of a voxel and its face neighbours.

    Args:
        probability: Of each label.
        target: 1 inside, 0 outside.
        counted: 1 where a voxel counts; None when all do.
        iterations: Deepest error told apart, in voxels.

    Source: Karimi & Salcudean, Reducing the Hausdorff Distance, arXiv 1904.10030, equation 10.
    """
    error = ops.square(probability - target)
    total = ops.zeros_like(error)
    for k in range(1, iterations + 1):
        error = eroded(error)
        total = total + error * float(k**_POWER)
    return _mean(total, counted)


def centre_line(probability: KerasTensor, target: KerasTensor, iterations: int, smooth: float = 1.0) -> KerasTensor:
    """One less the mean clDice of the labels: how far each mask's centre lines lie within the other, pooled.

    Args:
        probability: Of each label.
        target: 1 inside, 0 outside.
        iterations: Radius of the thickest tube in voxels.
        smooth: Added to numerators and denominators, in voxels.

    Source: Shit et al., clDice, arXiv 2003.07311, equations 1 and 2 with soft skeletons.
    """
    pooled = tuple(range(len(probability.shape) - 1))
    found, truth = soft_skeleton(probability, iterations), ops.stop_gradient(soft_skeleton(target, iterations))
    precision = (ops.sum(found * target, pooled) + smooth) / (ops.sum(found, pooled) + smooth)
    sensitivity = (ops.sum(truth * probability, pooled) + smooth) / (ops.sum(truth, pooled) + smooth)
    return 1 - ops.mean(2 * precision * sensitivity / (precision + sensitivity))


def _mean(values: KerasTensor, counted: KerasTensor | None) -> KerasTensor:
    """Over voxels that count, and labels."""
    if counted is None:
        return ops.mean(values)
    return ops.sum(values * counted) / (ops.maximum(ops.sum(counted), 1.0) * values.shape[-1])
