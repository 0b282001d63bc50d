"""How good a network in training is on patches that are the same each time."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from segloop.nets.objectives import StreamingDice
from segloop.nets.targets import Targets
from segloop.plan import Plan

Batches = Sequence[tuple[np.ndarray, np.ndarray]]
"""Images (b, z, y, x, c) with the classes of their voxels (b, z, y, x); no z in 2-D."""


def average_into(network: keras.Model, model: keras.Model) -> None:
    """Copy the averaged weights of a model in training (its plain ones without averaging) into `network`, by path."""
    values = {variable.path: variable for variable in model.weights}
    values |= dict(zip((v.path for v in model.trainable_variables), averaged(model), strict=True))
    for variable in network.weights:
        # A copy: JAX would share the array, which the next training step gives away.
        variable.assign(ops.copy(ops.convert_to_tensor(values[variable.path])))


def averaged(model: keras.Model) -> list[keras.Variable]:
    """The moving averages of the trainable variables; themselves before the first step or without averaging."""
    optimizer = model.optimizer
    if not optimizer.use_ema or int(ops.convert_to_numpy(optimizer.iterations)) == 0:
        return list(model.trainable_variables)
    return list(optimizer._model_variables_moving_average)


def patch_dice(network: keras.Model, batches: Batches, plan: Plan) -> dict[str, float]:
    """Dice of each label by name, pooled over all patches."""
    return judged(network, batches, plan)[0]


def judged(
    network: keras.Model, batches: Batches, plan: Plan, loss: keras.losses.Loss | None = None
) -> tuple[dict[str, float], float | None]:
    """Dice of each label or region, pooled over all patches; mean of `loss` over the batches, None without one."""
    metric, losses = StreamingDice(plan.network.classes, targets=Targets.of(plan)), []
    for image, labels in batches:
        logits = network.predict_on_batch(image)
        metric.update_state(labels, logits)
        if loss is not None:
            losses.append(float(ops.convert_to_numpy(loss(ops.convert_to_tensor(labels), logits))))
    scores = ops.convert_to_numpy(metric.per_label())
    dice = {name: round(float(score), 4) for name, score in zip(plan.found_names, scores, strict=True)}
    return dice, float(np.mean(losses)) if losses else None
