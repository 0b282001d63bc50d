"""Erosion, dilation and skeletons of soft masks, differentiable, on tensors (b, [z,] y, x, labels).

What lies beyond the tensor neither erodes nor dilates it.
"""

from __future__ import annotations

from keras import KerasTensor, ops


def eroded(masks: KerasTensor) -> KerasTensor:
    """The least of each voxel and its face neighbours."""
    axes = len(masks.shape) - 2
    lines = [tuple(3 if i == axis else 1 for i in range(axes)) for axis in range(axes)]
    pooled = [ops.max_pool(-masks, line, strides=1, padding="same") for line in lines]
    largest = pooled[0]
    for other in pooled[1:]:
        largest = ops.maximum(largest, other)
    return -largest


def dilated(masks: KerasTensor) -> KerasTensor:
    """The largest of each voxel and all its neighbours, corners included."""
    return ops.max_pool(masks, (3,) * (len(masks.shape) - 2), strides=1, padding="same")


def soft_skeleton(masks: KerasTensor, iterations: int) -> KerasTensor:
    """The centre lines of tubes whose radius is at most `iterations` voxels, in 0..1.

    What an opening takes away, of the mask and of each of its erosions, added up without counting twice.

    Source: Shit et al., clDice, arXiv 2003.07311, algorithm 1, with the structuring elements of the authors' code.
    """
    skeleton = ops.relu(masks - dilated(eroded(masks)))
    for _ in range(iterations):
        masks = eroded(masks)
        skeleton = skeleton + (1 - skeleton) * ops.relu(masks - dilated(eroded(masks)))
    return skeleton
