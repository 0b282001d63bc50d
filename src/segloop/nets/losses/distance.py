"""Exact Euclidean distances within a reach, in the graph, so that augmented patches need none from the feed.

The squared distance transform is separable: along each axis in turn, the least of every neighbour's value plus the
squared way there. Cut off at a reach, that is a fixed, small number of shifts per axis.

Source: Felzenszwalb & Huttenlocher, Distance Transforms of Sampled Functions, Theory of Computing 8 (2012).
"""

from __future__ import annotations

from collections.abc import Sequence

from keras import KerasTensor, ops


def squared_distance(marked: KerasTensor, spacing: Sequence[float], reach: float) -> KerasTensor:
    """Squared distance from each voxel's centre to that of the nearest marked one of its own image and label.

    Args:
        marked: 1 or True where a voxel is marked, (b, [z,] y, x, labels).
        spacing: Voxel size along each spatial axis.
        reach: Distances are exact up to here, in the unit of `spacing`, and this large beyond; also where nothing is
            marked.
    """
    least = ops.where(ops.cast(marked, "bool"), 0.0, reach * reach)
    for axis, step in enumerate(spacing, start=1):
        far = min(int(reach / step), marked.shape[axis] - 1)
        padding = [(far, far) if i == axis else (0, 0) for i in range(len(marked.shape))]
        wide, size = ops.pad(least, padding, constant_values=reach * reach), marked.shape[axis]
        for shift in range(-far, far + 1):
            if shift:
                place = tuple(
                    slice(far + shift, far + shift + size) if i == axis else slice(None)
                    for i in range(len(marked.shape))
                )
                least = ops.minimum(least, wide[place] + (shift * step) ** 2)
    return least


def signed_distance(target: KerasTensor, spacing: Sequence[float], reach: float) -> KerasTensor:
    """Distance from each voxel's centre to the border of the mask, negative inside.

    The border runs between voxels: half a step of the finest axis before the nearest voxel on the other side. A mask
    that is empty, or holds everything, is as far away as `reach` says.

    Args:
        target: 1 inside, 0 outside, (b, [z,] y, x, labels) float32.
        spacing: Voxel size along each spatial axis.
        reach: Longest distance told, in the unit of `spacing`.
    """
    inside = target > 0.5
    half = min(spacing) / 2
    outer = ops.sqrt(squared_distance(inside, spacing, reach)) - half
    inner = ops.sqrt(squared_distance(ops.logical_not(inside), spacing, reach)) - half
    return ops.where(inside, -inner, outer)
