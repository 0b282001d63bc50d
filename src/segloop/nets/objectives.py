"""What training makes small, and what it reports on the way."""

from __future__ import annotations

from typing import Any

import keras
from keras import KerasTensor, ops

from segloop.nets.targets import Targets, thinned


class DiceCrossEntropy(keras.losses.Loss):  # type: ignore[misc]
    """Soft Dice of the labels, pooled over the batch, plus cross-entropy: `dice_weight * (1 - Dice) + ce_weight * CE`.

    The softmax is taken in float32. Background counts in the cross-entropy but not in the Dice term. A label absent
    from the batch and from the prediction scores 1, so an empty mask costs nothing where it is right. A target of a
    higher resolution than the prediction is thinned by taking every n-th voxel, which deep supervision relies on.

    Args:
        classes: Output channels, background included.
        dice_weight: Of the Dice term.
        cross_entropy_weight: Of the cross-entropy term.
        smooth: Added to numerator and denominator of Dice, in voxels.

    Source: Drozdzal et al., arXiv 1608.04117; the sum with cross-entropy and pooling over the batch as in nnU-Net.
    """

    def __init__(
        self,
        classes: int,
        dice_weight: float = 1.0,
        cross_entropy_weight: float = 1.0,
        smooth: float = 1.0,
        name: str = "dice_cross_entropy",
    ) -> None:
        super().__init__(name=name, reduction=None)
        self.classes, self.smooth = classes, smooth
        self.dice_weight, self.cross_entropy_weight = dice_weight, cross_entropy_weight

    def call(self, y_true: KerasTensor, y_pred: KerasTensor) -> KerasTensor:
        """One number for the batch.

        Args:
            y_true: Label indices (b, z, y, x) or (b, y, x), 0 background.
            y_pred: Logits (…, classes).
        """
        target = ops.one_hot(thinned(ops.cast(y_true, "int32"), y_pred.shape), self.classes, dtype="float32")
        logits = ops.cast(y_pred, "float32")
        log_probability = ops.log_softmax(logits, axis=-1)
        entropy = -ops.sum(target * log_probability) / ops.cast(ops.size(target) // self.classes, "float32")
        probability = ops.exp(log_probability)
        pooled = tuple(range(len(y_pred.shape) - 1))
        overlap = ops.sum(probability * target, axis=pooled)[1:]
        total = ops.sum(probability, axis=pooled)[1:] + ops.sum(target, axis=pooled)[1:]
        dice = ops.mean((2 * overlap + self.smooth) / (total + self.smooth))
        return self.dice_weight * (1 - dice) + self.cross_entropy_weight * entropy

    def get_config(self) -> dict[str, Any]:
        """What the constructor needs to make this loss again."""
        return {
            "name": self.name,
            "classes": self.classes,
            "smooth": self.smooth,
            "dice_weight": self.dice_weight,
            "cross_entropy_weight": self.cross_entropy_weight,
        }


class StreamingDice(keras.metrics.Metric):  # type: ignore[misc]
    """Dice of each label over all voxels seen since the last reset, from logits and classes.

    Pooling over voxels needs no case to be held in memory; it weighs large structures more than a mean over cases
    would.

    Args:
        classes: Output channels, background included.
        targets: How classes become channels; None when each is its own.
    """

    def __init__(self, classes: int, name: str = "dice", targets: Targets | None = None) -> None:
        super().__init__(name=name, dtype="float32")
        self.classes, self.targets = classes, targets or Targets(classes)
        self.overlap = self.add_weight(shape=(classes,), initializer="zeros", name="overlap")
        self.total = self.add_weight(shape=(classes,), initializer="zeros", name="total")

    def update_state(self, y_true: KerasTensor, y_pred: KerasTensor, sample_weight: KerasTensor | None = None) -> None:
        """Add one batch: classes (b, …) and logits (b, …, outputs); weights are not supported."""
        if sample_weight is not None:
            raise ValueError("StreamingDice counts voxels and takes no sample_weight.")
        truth, counted = self.targets.hot(y_true, y_pred.shape)
        guess = self.targets.found(y_pred)
        if counted is not None:
            guess = guess * counted
        pooled = tuple(range(len(y_pred.shape) - 1))
        self.overlap.assign_add(ops.sum(truth * guess, axis=pooled))
        self.total.assign_add(ops.sum(truth, axis=pooled) + ops.sum(guess, axis=pooled))

    def result(self) -> KerasTensor:
        """Mean over the labels; a label neither seen nor predicted counts 1."""
        return ops.mean(self.per_label())

    def per_label(self) -> KerasTensor:
        """Dice of each label but background, (classes - 1,), or of each region."""
        empty = ops.cast(ops.equal(self.total, 0), "float32")
        return ((2 * self.overlap + empty) / (self.total + empty))[self.targets.first :]


def deep_supervision(resolutions: int) -> tuple[float, ...]:
    """Loss weight of each output, full resolution first: each halves the one before, and they add up to 1.

    >>> deep_supervision(2)
    (0.6666666666666666, 0.3333333333333333)
    """
    total = sum(0.5**i for i in range(resolutions))
    return tuple(0.5**i / total for i in range(resolutions))
