"""The loss of one output of a network, put together from the terms that a Plan names."""

from __future__ import annotations

from typing import Any

import keras
from keras import KerasTensor, ops

from segloop.nets.losses.extras import boundary, centre_line, erosion_hausdorff
from segloop.nets.losses.overlap import focal_tversky, generalised_dice, soft_dice, tversky
from segloop.nets.objectives import DiceCrossEntropy
from segloop.nets.targets import Targets
from segloop.plan import Plan

_SMOOTH = 1.0
# The further term has its full weight at this share of the training.
_RAMP = 0.5


class SegmentationLoss(keras.losses.Loss):  # type: ignore[misc]
    """`dice_weight` times an overlap term, `cross_entropy_weight` times cross-entropy, and a growing further term.

    Labels of a softmax exclude each other: background counts in the cross-entropy and in generalised Dice, not in the
    other terms. Regions have a sigmoid each, and all count everywhere; their cross-entropies are averaged. Voxels of
    the class `IGNORED` count in no term. Everything is float32. A target of a higher resolution than the prediction is
    thinned by taking every n-th voxel; the further term belongs to the full resolution alone, where borders and thin
    vessels are still there.

    Args:
        plan: The recipe.
        output: Which of the network's outputs, 0 being the full resolution.

    Attributes:
        progress: Share of the training done, which `set_progress` writes: the further term's weight grows linearly from
            0, and is reached half-way. A compiled step that takes variables for constants, as JAX does, needs it as
            input.
    """

    def __init__(self, plan: Plan, output: int = 0, name: str = "segmentation") -> None:
        super().__init__(name=name, reduction=None)
        self.plan, self.output = plan, output
        self.targets = Targets.of(plan)
        self.spacing = (plan.preparation.spacing_mm or (1.0, 1.0, 1.0))[3 - plan.network.dims :]
        self.extra = plan.training.loss.extra if output == 0 else None
        self.progress = keras.Variable(0.0, trainable=False, dtype="float32", name="progress")

    def call(self, y_true: KerasTensor, y_pred: KerasTensor) -> KerasTensor:
        """One number for the batch.

        Args:
            y_true: Classes (b, z, y, x) or (b, y, x): 0 background, 1 the Plan's first label, …, or `IGNORED`.
            y_pred: Logits (…, outputs).
        """
        spec = self.plan.training
        logits = ops.cast(y_pred, "float32")
        target, counted = self.targets.hot(y_true, y_pred.shape)
        likely = self.targets.log_probabilities(logits)
        probability = ops.exp(likely)
        if counted is not None:
            probability = probability * counted
        loss = ops.zeros((), "float32")
        if spec.dice_weight:
            loss = loss + spec.dice_weight * self._overlap(probability, target)
        if spec.cross_entropy_weight:
            loss = loss + spec.cross_entropy_weight * self._entropy(target, likely, logits, counted)
        if self.extra:
            first = self.targets.first
            share = ops.minimum(ops.convert_to_tensor(self.progress) / _RAMP, 1.0)
            weight = spec.loss.extra_weight * share
            loss = loss + weight * self._further(probability[..., first:], target[..., first:], counted)
        return loss

    def get_config(self) -> dict[str, Any]:
        """What `from_config` needs to make this loss again."""
        return {"name": self.name, "plan": self.plan.to_json(), "output": self.output}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> SegmentationLoss:
        """The loss that `get_config` described."""
        return cls(Plan.model_validate_json(config["plan"]), config["output"], config["name"])

    def _overlap(self, probability: KerasTensor, target: KerasTensor) -> KerasTensor:
        spec = self.plan.training.loss
        if spec.overlap == "generalised_dice":
            return generalised_dice(probability, target, _SMOOTH)
        found, truth = probability[..., self.targets.first :], target[..., self.targets.first :]
        if spec.overlap == "tversky":
            return tversky(found, truth, spec.alpha, spec.beta, _SMOOTH)
        if spec.overlap == "focal_tversky":
            return focal_tversky(found, truth, spec.alpha, spec.beta, spec.gamma, _SMOOTH)
        return soft_dice(found, truth, _SMOOTH)

    def _entropy(
        self, target: KerasTensor, likely: KerasTensor, logits: KerasTensor, counted: KerasTensor | None
    ) -> KerasTensor:
        """Mean over the voxels that count; of regions also over these."""
        voxels = ops.cast(ops.size(target) // self.targets.outputs, "float32")
        if counted is not None:
            voxels = ops.maximum(ops.sum(counted), 1.0)
        if not self.targets.regions:
            return -ops.sum(target * likely) / voxels
        # log(1 - sigmoid(x)) is log sigmoid(x) - x.
        surprise = (1 - target) * logits - likely
        total = ops.sum(surprise if counted is None else surprise * counted)
        return total / (voxels * self.targets.outputs)

    def _further(self, probability: KerasTensor, target: KerasTensor, counted: KerasTensor | None) -> KerasTensor:
        iterations = self.plan.training.loss.iterations
        if self.extra == "boundary":
            return boundary(probability, target, counted, self.spacing)
        if self.extra == "hausdorff":
            return erosion_hausdorff(probability, target, counted, iterations)
        return centre_line(probability, target, iterations, _SMOOTH)


def make_loss(plan: Plan, output: int = 0) -> keras.losses.Loss:
    """The Plan's loss for one output of its network.

    Soft Dice plus cross-entropy of labels that exclude each other, without a number to ignore, is `DiceCrossEntropy`,
    which does just that.

    Args:
        plan: The recipe.
        output: Which of the network's outputs, 0 being the full resolution, as `build_unet` orders them.
    """
    spec = plan.training
    plain = spec.loss.overlap == "dice" and spec.loss.extra is None
    if plain and not plan.regions and spec.ignore_label is None:
        return DiceCrossEntropy(plan.network.classes, spec.dice_weight, spec.cross_entropy_weight)
    return SegmentationLoss(plan, output)


def set_progress(model: keras.Model, progress: float) -> None:
    """Tell the losses of a compiled model which share of the training is done, in 0..1.

    Losses whose terms keep their weights take no notice.
    """
    for loss in model.loss if isinstance(model.loss, list | tuple) else [model.loss]:
        if isinstance(loss, SegmentationLoss) and loss.extra:
            loss.progress.assign(progress)
