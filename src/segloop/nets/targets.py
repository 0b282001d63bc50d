"""What an expert's label map asks of a network's outputs: one channel per class, or per region, and what counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from keras import KerasTensor, ops

from segloop.plan import IGNORED, Plan


@dataclass(frozen=True, slots=True)
class Targets:
    """From classes (0 background, 1, 2, …) to one channel for each output.

    Either the outputs are background and the labels, which exclude each other (softmax), or regions that may overlap
    (sigmoid).

    Args:
        outputs: Channels of the network.
        regions: Classes that each output is the union of; empty when outputs are background and labels.
        labels: Labels without background; only with regions.
        ignore: Whether some voxels may have the class `IGNORED`.
    """

    outputs: int
    regions: tuple[tuple[int, ...], ...] = ()
    labels: int = 0
    ignore: bool = False

    @classmethod
    def of(cls, plan: Plan) -> Targets:
        """The Plan's."""
        ignore = plan.training.ignore_label is not None
        if not plan.regions:
            return cls(plan.network.classes, ignore=ignore)
        return cls(plan.network.classes, plan.found_classes, len(plan.labels), ignore)

    @property
    def first(self) -> int:
        """The first channel that is no background."""
        return 0 if self.regions else 1

    def hot(self, classes: KerasTensor, shape: Sequence[int | None]) -> tuple[KerasTensor, KerasTensor | None]:
        """What the outputs should be, and which voxels count.

        Args:
            classes: Class of each voxel, (b, …) of any integer type; thinned where the outputs are coarser.
            shape: Of the outputs, (b, …, outputs).

        Returns:
            0 or 1, (b, …, outputs) float32, all 0 where nothing counts; and 1 where a voxel counts, (b, …, 1) float32,
            or None when all do.
        """
        index, counted = thinned(ops.cast(classes, "int32"), shape), None
        if self.ignore:
            known = ops.not_equal(index, IGNORED)
            index = ops.where(known, index, ops.zeros_like(index))
            counted = ops.cast(known, "float32")[..., None]
        if self.regions:
            target = ops.take(ops.convert_to_tensor(self._members()), index, axis=0)
        else:
            target = ops.one_hot(index, self.outputs, dtype="float32")
        return (target if counted is None else target * counted), counted

    def log_probabilities(self, logits: KerasTensor) -> KerasTensor:
        """Of each output, from logits."""
        return ops.log_sigmoid(logits) if self.regions else ops.log_softmax(logits, axis=-1)

    def found(self, logits: KerasTensor) -> KerasTensor:
        """What logits are decided as: 1 for the most probable class, or for each region above one half; float32."""
        if self.regions:
            return ops.cast(logits > 0, "float32")
        return ops.one_hot(ops.argmax(logits, axis=-1), self.outputs, dtype="float32")

    def _members(self) -> np.ndarray:
        table = np.zeros((self.labels + 1, self.outputs), np.float32)
        for column, classes in enumerate(self.regions):
            table[list(classes), column] = 1
        return table


def thinned(labels: KerasTensor, shape: Sequence[int | None]) -> KerasTensor:
    """Labels at the resolution of a tensor of `shape` (b, …, classes): every n-th voxel."""
    steps = [1]
    for fine, coarse in zip(labels.shape[1:], shape[1:-1], strict=True):
        steps.append(1 if fine is None or coarse is None else fine // coarse)
    return labels[tuple(slice(None, None, step) for step in steps)]
