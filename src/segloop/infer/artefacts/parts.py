"""The networks of an artefact inside the graph: one, the two of a cascade, or the members of an ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from segloop.infer.artefacts.graph import (
    Axis,
    Network,
    Tensor,
    Turn,
    axes_between,
    axis_weights,
    logits_of,
    normalised,
    require_applicable,
    resampled,
    turn_between,
    turned,
)
from segloop.infer.artefacts.restore import decide, probabilities, restored
from segloop.plan import Plan
from segloop.prep.decision import Decision


class Part(NamedTuple):
    """A network and its Plan.

    Attributes:
        plan: What happens before and after the network.
        network: Batches to logits, in float32.
        weight: In the mean of an ensemble; all of them sum to 1.
        coarse: Segments first and shows its labels to this network.
    """

    plan: Plan
    network: Network
    weight: float = 1.0
    coarse: Part | None = None


class Image(NamedTuple):
    """Voxels (z, y, x, c) on their own grid; spacing and direction as `Artefact` describes them."""

    voxels: Tensor
    spacing_mm: Tensor
    direction: Tensor


def segmented(part: Part, image: Image, *, slabs: bool, with_probabilities: bool) -> dict[str, Tensor]:
    """`labels` (z, y, x) and, if asked for, `probabilities` (z, y, x, k) on the image's grid; `infer.engine.segment`.

    Args:
        part: A single network or a cascade.
        image: As it came.
        slabs: Some slices after the other, which bounds memory.
        with_probabilities: Both.
    """
    logits, axes, turn = _scored(part, image, slabs)
    found = {"labels": restored(part.plan, logits, axes, turn, decided=True, slabs=slabs)}
    if with_probabilities:
        found["probabilities"] = restored(part.plan, logits, axes, turn, decided=False, slabs=slabs)
    return found


def together(
    plan: Plan, parts: Sequence[Part], image: Image, *, slabs: bool, with_probabilities: bool
) -> dict[str, Tensor]:
    """What `segmented` gives, from the weighted mean of the parts' probabilities; `infer.engine.segment`.

    Args:
        plan: What decides, in place of the parts' own Plans.
        parts: Members of an ensemble, even if it has only one; they run one after the other.
        image: As it came.
        slabs: Within a part some slices after the other.
        with_probabilities: Both.
    """
    total: Tensor = None
    for part in parts:
        with tf.control_dependencies([] if total is None else [total]):
            after = Image(*(tf.identity(one) for one in image))
        likely = restored(part.plan, *_scored(part, after, slabs), decided=False, slabs=slabs) * np.float32(part.weight)
        total = likely if total is None else total + likely
    # Only now temperature and thresholds of the ensemble, on the scores that the mean stands for.
    scores = tf.math.log(tf.maximum(total, 1e-30))
    if plan.regions:
        scores -= tf.math.log(tf.maximum(1 - total, 1e-7))
    decision = Decision.of(plan)
    likely = probabilities(decision, scores)
    found = {"labels": tf.cast(decide(decision, likely), decision.dtype)}
    return found | {"probabilities": likely} if with_probabilities else found


def _scored(part: Part, image: Image, slabs: bool) -> tuple[Tensor, list[Axis], Turn]:
    """Logits on the network's grid, and the way back from there."""
    plan = part.plan
    turn = turn_between(image.direction, plan.preparation.orientation)
    with tf.control_dependencies(require_applicable(plan, tf.shape(image.voxels)[:3], image.spacing_mm, turn)):
        array = turned(image.voxels, turn)
    axes = axes_between(plan, tf.shape(array)[:3], tf.gather(image.spacing_mm, turn.permutation))
    unchanged = [(axis.source == axis.target) & (axis.scale == 1) for axis in axes]
    matrices = [axis_weights(*axis) for axis in axes]
    array = resampled(array, matrices, unchanged)
    rules = plan.preparation.normalisation
    channels = [normalised(array[..., c], rules[c if len(rules) > 1 else 0]) for c in range(plan.inputs.channels)]
    if part.coarse is not None:
        first = part.coarse
        labels = turned(restored(first.plan, *_scored(first, image, slabs), decided=True, slabs=slabs)[..., None], turn)
        channels += _guides(plan, tf.cast(labels, tf.int32), matrices, unchanged)
    return logits_of(plan, part.network, tf.stack(channels, -1), slabs=slabs), axes, turn


def _guides(plan: Plan, labels: Tensor, matrices: list[Tensor], unchanged: list[Tensor]) -> list[Tensor]:
    """One channel for each label, 1 where it lies, on the network's grid; `Chain.guided`.

    Args:
        plan: Of the network that is guided.
        labels: int32 (z, y, x, 1), turned to the Plan's axes.
        matrices: From the image's grid to the network's.
        unchanged: Axes that stay.
    """
    best = winner = None
    for value in sorted({0, *(label.value for label in plan.labels)}):
        cover = resampled(tf.cast(labels == value, tf.float32), matrices, unchanged)[..., 0]
        if best is None:
            best, winner = cover, tf.zeros(tf.shape(cover), tf.int32)
            continue
        larger = cover > best + 1e-5
        best, winner = tf.where(larger, cover, best), tf.where(larger, value, winner)
    return [tf.cast(winner == label.value, tf.float32) for label in plan.labels]
