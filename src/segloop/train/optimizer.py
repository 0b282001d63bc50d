"""AdamW, and the kind of it that lets parts of a network learn at rates of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import KerasTensor, ops

from segloop.errors import PlanError
from segloop.nets.encoders import stage_of
from segloop.plan import NetworkSpec, TrainingSpec

# Shrinking scale and shift of a normalisation, or a bias, does not regularise; it only biases.
_NOT_DECAYED = ["gamma", "beta", "bias"]


class AveragingAdamW(keras.optimizers.AdamW):  # type: ignore[misc]
    """AdamW whose moving average of the weights spans a tenth of the steps so far, until `ema_momentum` spans fewer.

    With a decay of 0.99 from the start, two thirds of the average after 40 steps would still be where training began.

    Source: `tf.train.ExponentialMovingAverage` with `num_updates`.
    """

    ema_momentum: Any

    def _update_model_variables_moving_average(self, trainable_variables: list[keras.Variable]) -> None:
        decay, steps = self.ema_momentum, ops.cast(self.iterations, "float32")
        self.ema_momentum = ops.minimum(decay, (1 + steps) / (10 + steps))
        try:
            super()._update_model_variables_moving_average(trainable_variables)
        finally:
            self.ema_momentum = decay


class StagedAdamW(AveragingAdamW):
    """AdamW with a factor on the learning rate of some variables, stage by stage, that may change while training.

    A factor scales the step and the weight decay; 0 keeps a variable as it is. Gradients, their norm and both moments
    do not know of it: a frozen variable's moments go on, so that it starts with settled ones instead of the overshoot
    that fresh moments give late in a training.

    Args:
        options: Of `keras.optimizers.AdamW`.
        groups: Stage of a variable by its path, counted from 0; a variable that is not there has factor 1.
    """

    def __init__(self, *, groups: Mapping[str, int], **options: Any) -> None:
        super().__init__(**options)
        self.groups = dict(groups)

    def build(self, variables: list[keras.Variable]) -> None:
        """Create the moments, and `factors` with one number per stage, all 1."""
        if self.built:
            return
        super().build(variables)
        self.factors = self.add_variable((max(self.groups.values()) + 1,), initializer="ones", name="factors")
        self._stage = tuple(self.groups.get(variable.path) for variable in variables)

    def update_step(self, gradient: KerasTensor, variable: keras.Variable, learning_rate: KerasTensor) -> None:
        """One step of one variable, weight decay included."""
        rate = ops.cast(learning_rate, variable.dtype)
        stage = self._stage[self._get_variable_index(variable)]
        if stage is not None:
            rate = rate * ops.cast(self.factors[stage], variable.dtype)
        if self._use_weight_decay(variable):
            self.assign_sub(variable, variable * ops.cast(self.weight_decay, variable.dtype) * rate)
        super().update_step(gradient, variable, rate)

    def _apply_weight_decay(self, variables: list[keras.Variable]) -> None:
        """Nothing: Keras would decay all variables at one rate; `update_step` does it instead."""

    def get_config(self) -> dict[str, Any]:
        """What the constructor needs to make this optimiser again."""
        return {**super().get_config(), "groups": self.groups}


def optimizer_for(
    training: TrainingSpec, network: NetworkSpec, model: keras.Model, *, pretrained: bool
) -> keras.optimizers.Optimizer:
    """The optimiser of a training, built for the model's variables.

    Args:
        training: Rates, clipping and averaging.
        network: Tells the stages of the way down.
        model: The training network.
        pretrained: The weights come from elsewhere; the way down then learns stage by stage where the plan says so.

    Raises:
        PlanError: The plan freezes a way down whose weights are drawn.
    """
    if training.frozen_fraction > 0 and not pretrained:
        raise PlanError(
            f"training.frozen_fraction is {training.frozen_fraction:g}, but the weights are drawn: nothing is worth "
            "keeping.",
            found=training.frozen_fraction,
            expected=0,
            hint="Start from weights with --init or --encoder-weights, or set training.frozen_fraction=0.",
        )
    options = {
        "learning_rate": training.learning_rate,
        "weight_decay": training.weight_decay,
        "global_clipnorm": training.gradient_norm,
        "use_ema": training.ema > 0,
        # Keras checks the range even where averaging is off.
        "ema_momentum": training.ema or 0.99,
    }
    groups = stages(training, network, model) if pretrained else {}
    optimizer = StagedAdamW(groups=groups, **options) if groups else AveragingAdamW(**options)
    optimizer.exclude_from_weight_decay(var_names=_NOT_DECAYED)
    optimizer.build(model.trainable_variables)
    return optimizer


def stages(training: TrainingSpec, network: NetworkSpec, model: keras.Model) -> dict[str, int]:
    """Stage of each variable of the pretrained way down by its path, the finest 0.

    Empty for a network without an ImageNet encoder, unless the plan freezes its way down for a while.
    """
    if network.encoder is None and training.frozen_fraction == 0:
        return {}
    found = {variable.path: stage_of(variable.path, network) for variable in model.trainable_variables}
    known = {path: stage for path, stage in found.items() if stage is not None}
    first = min(known.values())
    return {path: stage - first for path, stage in known.items()}
