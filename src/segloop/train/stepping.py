"""Optimiser steps on TensorFlow, by one process alone."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from segloop.train.compiling import total_loss


class TensorFlowStep:
    """One step after the other, the batches from a feed. Traced when it is made, so that the first step is no slower.

    Args:
        model: From `compiled`.
        feed: Endless batches (image, (labels,)).
    """

    def __init__(self, model: keras.Model, feed: tf.data.Dataset) -> None:
        variables = list(model.trainable_variables)
        batches = iter(feed)
        self._feed = feed  # with the file that its cases may lie in

        def step(image: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
            with tf.GradientTape() as tape:
                loss = total_loss(model, labels, model(image, training=True))
            gradients = tape.gradient(loss, [variable.value for variable in variables])
            model.optimizer.apply(gradients, variables)
            return loss

        # XLA takes the arithmetic alone: where batches come from is beyond it.
        inner = tf.function(step, jit_compile=bool(model.jit_compile), autograph=False)

        def do() -> tf.Tensor:
            image, (labels,) = batches.get_next()
            return inner(image, labels)

        self._do = tf.function(do, autograph=False).get_concrete_function()

    def __call__(self) -> Any:
        """See `Step`."""
        return self._do()
