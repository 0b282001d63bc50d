"""How strongly each layer is being pulled at, and a warning when that is nothing, or far too much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, sqrt
from typing import Any

import keras
import numpy as np
from keras import ops

from segloop.train.checkpoint import Notice
from segloop.train.compiling import total_loss

VANISH, EXPLODE = "gradients-vanish", "gradients-explode"
"""Kinds of notice."""

_EXPLODING_TIMES = 10.0


@dataclass(frozen=True, slots=True)
class LayerGradient:
    """The gradient of the loss by one layer's weights.

    Args:
        layer: Its name, as in the variables' paths.
        norm: Euclidean norm over all its trainable weights.
        weights: How many those are.
    """

    layer: str
    norm: float
    weights: int

    @property
    def per_weight(self) -> float:
        """Root of the mean square over the weights."""
        return self.norm / sqrt(self.weights)


def layer_gradients(model: keras.Model, image: np.ndarray, labels: np.ndarray) -> tuple[LayerGradient, ...]:
    """Gradients of a compiled model's loss on one batch, layer by layer in the model's order; nothing is changed by it.

    The network runs as in inference, so that no running statistic and no random state moves: a run that is watched
    ends with the same weights as one that is not.

    Args:
        model: From `compiled`.
        image: One batch (b, z, y, x, c); no z in 2-D.
        labels: Class of each voxel (b, z, y, x); no z in 2-D.

    """
    variables = model.trainable_variables
    tensors = ops.convert_to_tensor(image), ops.convert_to_tensor(labels)
    gradients = _BACKENDS[keras.config.backend()](model, *tensors)
    squares: dict[str, float] = {}
    sizes: dict[str, int] = {}
    for variable, gradient in zip(variables, gradients, strict=True):
        name = variable.path.rsplit("/", 1)[0]
        norm = 0.0 if gradient is None else float(np.linalg.norm(_flat(gradient)))
        squares[name] = squares.get(name, 0.0) + norm**2
        sizes[name] = sizes.get(name, 0) + int(np.prod(variable.shape))
    return tuple(LayerGradient(name, sqrt(squares[name]), sizes[name]) for name in squares)


def gradient_notices(
    layers: Sequence[LayerGradient], step: int, *, clip: float, epsilon: float, known: Sequence[Notice] = ()
) -> tuple[Notice, ...]:
    """At most one warning of each kind, and none for layers that one of the same kind has already named.

    A layer's gradient *vanishes* when its root mean square falls below the optimiser's epsilon: Adam divides by the
    size of the gradient plus epsilon, so from there on the layer moves slower than the learning rate says, down to not
    at all. It *explodes* when it is not finite, or its norm is more than ten times the norm that gradients are clipped
    to: the clip then throws away more than nine tenths of every step, of the other layers' as well.

    Args:
        layers: As measured.
        step: Steps done.
        clip: Norm that all gradients together are clipped to.
        epsilon: Of the optimiser.
        known: Warnings given before.

    Source: Kingma & Ba, Adam, arXiv 1412.6980, algorithm 1; Pascanu et al., arXiv 1211.5063.
    """
    vanished = [g for g in layers if g.per_weight < epsilon]
    exploded = [g for g in layers if not isfinite(g.norm) or g.norm > _EXPLODING_TIMES * clip]
    notices = []
    if fresh := _unknown(vanished, VANISH, known):
        worst = min(fresh, key=lambda g: g.per_weight)
        notices.append(
            Notice(
                kind=VANISH,
                step=step,
                layers=tuple(g.layer for g in fresh),
                text=f"At step {step} the gradients of {_layers(fresh)} have vanished, most in {worst.layer}: "
                f"{worst.per_weight:.1e} per weight, where the optimiser needs {epsilon:.0e}. These layers no longer "
                "learn. A layer after them passes nothing back, or the loss is flat: look at the histograms of "
                "weights in TensorBoard, lower training.learning_rate, or start again with another seed.",
            )
        )
    if fresh := _unknown(exploded, EXPLODE, known):
        worst = max(fresh, key=lambda g: g.norm if isfinite(g.norm) else float("inf"))
        notices.append(
            Notice(
                kind=EXPLODE,
                step=step,
                layers=tuple(g.layer for g in fresh),
                text=f"At step {step} the gradients of {_layers(fresh)} have exploded, most in {worst.layer}: norm "
                f"{worst.norm:.3g}, where all layers together are clipped to {clip:g}. Steps go in the direction of a "
                "few weights alone. Lower training.learning_rate, or use training.precision=float32.",
            )
        )
    return tuple(notices)


def _unknown(found: Sequence[LayerGradient], kind: str, known: Sequence[Notice]) -> list[LayerGradient]:
    told = {layer for notice in known if notice.kind == kind for layer in notice.layers}
    return [g for g in found if g.layer not in told]


def _layers(found: Sequence[LayerGradient]) -> str:
    return f"{len(found)} layers" if len(found) > 1 else "1 layer"


def _flat(gradient: Any) -> np.ndarray:
    return np.ravel(ops.convert_to_numpy(gradient)).astype(np.float64)


def _by_tensorflow(model: keras.Model, image: Any, labels: Any) -> Sequence[Any]:
    import tensorflow as tf

    with tf.GradientTape() as tape:
        loss = total_loss(model, labels, model(image, training=False))
    found: Sequence[Any] = tape.gradient(loss, [v.value for v in model.trainable_variables])
    return found


def _by_jax(model: keras.Model, image: Any, labels: Any) -> Sequence[Any]:
    import jax

    fixed = [v.value for v in model.non_trainable_variables]

    def loss(values: Any) -> Any:
        outputs, _ = model.stateless_call(values, fixed, image, training=False)
        return total_loss(model, labels, outputs)

    found: Sequence[Any] = jax.grad(loss)([v.value for v in model.trainable_variables])
    return found


_BACKENDS: Mapping[str, Any] = {"tensorflow": _by_tensorflow, "jax": _by_jax}
