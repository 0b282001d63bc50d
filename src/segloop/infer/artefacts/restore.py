"""The way back inside the graph: from logits on the network's grid to labels or probabilities on the source grid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from segloop.infer.artefacts.graph import Axis, Tensor, Turn, axis_weights, inverse, moved, turned
from segloop.plan import Plan
from segloop.prep.decision import Decision

# Source slices whose scores exist at once.
_SLAB = 16


def restored(plan: Plan, logits: Tensor, axes: list[Axis], turn: Turn, *, decided: bool, slabs: bool = True) -> Tensor:
    """Labels (z, y, x), or probabilities (z, y, x, k), on the grid the voxels came on; `prep.chain.Restore`.

    Args:
        plan: What decides a voxel's label.
        logits: (z, y, x, k) on the network's grid.
        axes: The two grids along each turned axis.
        turn: Source axes to network axes.
        decided: Labels instead of probabilities.
        slabs: Some source slices after the other, so that scores never exist for the whole source grid at once.
    """
    unchanged = [(axis.source == axis.target) & (axis.scale == 1) for axis in axes]
    matrices = [axis_weights(axis.target, axis.source, 1 / axis.scale) for axis in axes]
    decision = Decision.of(plan)
    scores = probabilities(decision, logits)

    def rest(part: Tensor) -> Tensor:
        """From slices of the source grid with the network's y and x to the answer."""
        for axis in (1, 2):
            part = tf.cond(
                unchanged[axis],
                lambda part=part: part,
                lambda part=part, axis=axis: moved(part, matrices[axis], axis),
            )
        return decide(decision, part) if decided else part

    if slabs:
        found = _in_slabs(scores, matrices[0], unchanged[0], rest, 0 if decided else plan.network.classes)
    else:
        found = rest(tf.cond(unchanged[0], lambda: scores, lambda: moved(scores, matrices[0], 0)))
    back = inverse(turn)
    if not decided:
        return turned(found, back)
    labels = turned(found[..., None], back)[..., 0]
    return tf.cast(labels, decision.dtype)


def _in_slabs(
    scores: Tensor, matrix: Tensor, unchanged: Tensor, rest: Callable[[Tensor], Tensor], channels: int
) -> Tensor:
    depth = tf.shape(matrix)[0]
    count = (depth + _SLAB - 1) // _SLAB
    shape = [None, None, None, channels] if channels else [None, None, None]
    found = tf.TensorArray(tf.float32 if channels else tf.int32, count, infer_shape=False, element_shape=shape)

    def step(i: Tensor, found: Any) -> tuple[Tensor, Any]:
        place = tf.range(i * _SLAB, tf.minimum(depth, (i + 1) * _SLAB))
        part = tf.cond(unchanged, lambda: tf.gather(scores, place), lambda: _through(scores, tf.gather(matrix, place)))
        return i + 1, found.write(i, rest(part))

    _, found = tf.while_loop(lambda i, _: i < count, step, (0, found), parallel_iterations=1)
    return tf.ensure_shape(found.concat(), shape)


def probabilities(decision: Decision, logits: Tensor) -> Tensor:
    """Calibrated probabilities (…, k) of the classes, or of the regions; `Decision.probabilities`."""
    scaled = logits / decision.temperature
    return tf.sigmoid(scaled) if decision.regions else tf.nn.softmax(scaled)


def decide(decision: Decision, scores: Tensor) -> Tensor:
    """Label numbers, int32, from probabilities (…, k); `Decision.labels`."""
    if not decision.regions:
        weights = np.exp(np.asarray((0.0, *decision.bias))) if decision.bias else np.ones(1)
        chosen = tf.argmax(scores * weights.astype(np.float32), -1, output_type=tf.int32)
        return tf.gather(tf.constant(decision.values), chosen)
    bias = decision.bias or (0.0,) * len(decision.values)
    painted = tf.zeros(tf.shape(scores)[:-1], tf.int32)
    for output, (value, shift) in enumerate(zip(decision.values, bias, strict=True)):
        painted = tf.where(scores[..., output] > np.float32(1 / (1 + np.exp(shift))), value, painted)
    return painted


def _through(scores: Tensor, rows: Tensor) -> Tensor:
    """The slices that `rows` depend on, moved along z; the others would only cost time."""
    used = tf.reduce_max(tf.abs(rows), axis=0) > 0
    index = tf.range(tf.size(used))
    first = tf.reduce_min(tf.where(used, index, tf.size(used)))
    end = tf.reduce_max(tf.where(used, index + 1, 0))
    place = tf.range(first, end)
    return moved(tf.gather(scores, place), tf.gather(rows, place, axis=1), 0)
