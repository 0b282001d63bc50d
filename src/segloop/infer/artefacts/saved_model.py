"""One SavedModel that takes raw voxels and returns labels on their own grid, as TensorFlow Serving expects it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf

from segloop.infer.artefacts.graph import (
    Network,
    Tensor,
    axes_between,
    axis_weights,
    logits_of,
    normalised,
    require_applicable,
    require_geometry,
    resampled,
    turn_between,
    turned,
)
from segloop.infer.artefacts.restore import restored
from segloop.infer.bundle import Bundle, load_network
from segloop.plan import Plan


class Pipeline(tf.Module):  # type: ignore[misc]
    """Raw voxels to labels and probabilities.

    Args:
        plan: What happens before and after the network.
        network: Batches to logits, in float32.
        tracked: What holds the network's variables, so that they are saved with the functions.
        slabs: Work on some slices after the other, which bounds memory.
    """

    def __init__(self, plan: Plan, network: Network, tracked: Any = None, *, slabs: bool = True) -> None:
        super().__init__(name="segloop")
        self._plan, self._network, self._slabs = plan, network, slabs
        self.tracked = tracked

    def functions(self) -> dict[str, Any]:
        """The signatures: `serving_default` gives labels, `probabilities` both."""
        channels = self._plan.network.channels
        shape = [None, None, None] if channels == 1 else [None, None, None, channels]
        signature = [
            tf.TensorSpec(shape, tf.float32, name="voxels"),
            tf.TensorSpec([3], tf.float64, name="spacing_mm"),
            tf.TensorSpec([3, 3], tf.float64, name="direction"),
        ]

        def labels(voxels: Tensor, spacing_mm: Tensor, direction: Tensor) -> dict[str, Tensor]:
            return self._segmented(voxels, spacing_mm, direction, probabilities=False)

        def probabilities(voxels: Tensor, spacing_mm: Tensor, direction: Tensor) -> dict[str, Tensor]:
            return self._segmented(voxels, spacing_mm, direction, probabilities=True)

        named = {"serving_default": labels, "probabilities": probabilities}
        return {
            name: tf.function(body, input_signature=signature, autograph=False).get_concrete_function()
            for name, body in named.items()
        }

    def _segmented(
        self, voxels: Tensor, spacing_mm: Tensor, direction: Tensor, *, probabilities: bool
    ) -> dict[str, Tensor]:
        plan = self._plan
        with tf.control_dependencies(require_geometry(voxels, spacing_mm, direction)):
            array = tf.identity(voxels) if plan.network.channels > 1 else voxels[..., None]
        turn = turn_between(direction, plan.preparation.orientation)
        with tf.control_dependencies(require_applicable(plan, tf.shape(array)[:3], spacing_mm, turn)):
            array = turned(array, turn)
        axes = axes_between(plan, tf.shape(array)[:3], tf.gather(spacing_mm, turn.permutation))
        unchanged = [(axis.source == axis.target) & (axis.scale == 1) for axis in axes]
        array = resampled(array, [axis_weights(*axis) for axis in axes], unchanged)
        rules = plan.preparation.normalisation
        array = tf.stack(
            [normalised(array[..., c], rules[c if len(rules) > 1 else 0]) for c in range(plan.network.channels)], -1
        )
        logits = logits_of(plan, self._network, array, slabs=self._slabs)
        found = {"labels": restored(plan, logits, axes, turn, decided=True, slabs=self._slabs)}
        if probabilities:
            found["probabilities"] = restored(plan, logits, axes, turn, decided=False, slabs=self._slabs)
        return found


def write_saved_model(bundle: Bundle, folder: Path) -> None:
    """The pipeline with signatures `serving_default` (labels) and `probabilities` (labels and probabilities)."""
    network = load_network(bundle)
    pipeline = Pipeline(bundle.plan, lambda batch: network([batch], training=False), network)
    tf.saved_model.save(pipeline, str(folder), signatures=pipeline.functions())
