"""What a cascade's second network is shown of the first one's labels while it learns: not always the best of them.

The first network knows the training cases, so its labels of them are better than those of new cases. A second network
that always sees good labels learns to copy them. Here they are worn, swollen, holed or withheld at random.
"""

from __future__ import annotations

import numpy as np
from keras import KerasTensor, ops

from segloop.data.augment import uniform
from segloop.data.augment.sides import exchange
from segloop.plan import Plan

_STREAM = 16
# Of the patches that are changed: these shares are worn, swollen, holed; the rest shows no label at all.
_WORN, _SWOLLEN, _HOLED = 0.3, 0.3, 0.3
# Radii of a hole as a share of the patch's edges.
_HOLE = (0.15, 0.4)


class Doubt:
    """Changes the guides (the coarse network's labels) of a batch of patches.

    Args:
        plan: Of a cascade; `training.augmentation.doubt_probability` says how often.
    """

    def __init__(self, plan: Plan) -> None:
        spec = plan.training.augmentation
        self.guides, self.probability = plan.guides, spec.doubt_probability
        table = exchange(spec.swap_labels, [label.value for label in plan.labels])
        self._opposite = None if table is None else [int(table[i + 1]) - 1 for i in range(plan.guides)]
        self._axes = [np.linspace(-0.5, 0.5, n, dtype=np.float32) for n in plan.training.patch]

    def __call__(
        self, key: KerasTensor, images: KerasTensor, swapped: KerasTensor, batch: int, first: int
    ) -> KerasTensor:
        """Patches with other guides.

        Args:
            key: Integer scalar; the same gives the same changes.
            images: Patches (b, z, y, x, channels) whose last channels are the guides.
            swapped: Which patches are mirrored from left to right, (b,): lateral labels then change places.
            batch: Patches of the whole batch, of which these are a part.
            first: Number of the first of these in the whole batch.
        """
        u = uniform(key, _STREAM, (batch, 7))[first : first + images.shape[0]]
        guides = images[..., -self.guides :]
        if self._opposite is not None:
            opposite = ops.take(guides, self._opposite, axis=-1)
            guides = ops.where(ops.reshape(swapped, (-1, 1, 1, 1, 1)), opposite, guides)
        kind = ops.where(u[:, 0] < self.probability, u[:, 1], 2.0)
        twice = _each(u[:, 2] < 0.5)
        guides = _chosen(kind, 0.0, _WORN, -_wider(-guides, twice), guides)
        guides = _chosen(kind, _WORN, _WORN + _SWOLLEN, _wider(guides, twice), guides)
        holed = guides * ops.cast(self._outside(u[:, 3:7]), "float32")
        guides = _chosen(kind, _WORN + _SWOLLEN, _WORN + _SWOLLEN + _HOLED, holed, guides)
        guides = _chosen(kind, _WORN + _SWOLLEN + _HOLED, 1.0, ops.zeros_like(guides), guides)
        return ops.concatenate([images[..., : -self.guides], guides], axis=-1)

    def _outside(self, u: KerasTensor) -> KerasTensor:
        """True outside an ellipsoid somewhere in each patch, (b, z, y, x, 1)."""
        radius = _each(_HOLE[0] + (_HOLE[1] - _HOLE[0]) * u[:, 3])[..., 0]
        distances = []
        for axis, line in enumerate(self._axes):
            shape = [1, *(len(line) if a == axis else 1 for a in range(3))]
            offset = np.reshape(line, shape) - _each(u[:, axis] - 0.5)[..., 0]
            distances.append(ops.square(offset / radius))
        z, y, x = distances
        return (z + y + x > 1)[..., None]


def _each(values: KerasTensor) -> KerasTensor:
    """One value per patch, (b,), shaped so that it meets all voxels of it."""
    return ops.reshape(values, (-1, 1, 1, 1, 1))


def _chosen(kind: KerasTensor, low: float, high: float, changed: KerasTensor, kept: KerasTensor) -> KerasTensor:
    return ops.where(_each(ops.logical_and(kind >= low, kind < high)), changed, kept)


def _wider(guides: KerasTensor, twice: KerasTensor) -> KerasTensor:
    """Each label one voxel wider in every direction, where `twice` two."""
    once = ops.max_pool(guides, 3, strides=1, padding="same")
    return ops.where(twice, ops.max_pool(once, 3, strides=1, padding="same"), once)
