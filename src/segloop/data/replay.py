"""A step's batch made again, long after: what did the network see there?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
from jaxtyping import Float, UInt8
from keras import KerasTensor, ops

from segloop.data.augment import Pool
from segloop.data.feed import Example, training_feed
from segloop.data.patches import Patches
from segloop.data.places import Places
from segloop.data.surroundings import surroundings
from segloop.plan import Plan


@dataclass(frozen=True, slots=True, eq=False)
class Replayed:
    """The batch of one step.

    Args:
        step: Number of the step, from 0.
        cases: Id of the case that each patch comes from.
        rounds: How often every case had had its turn before, for each patch: the epoch of (seed, epoch, case).
        image: As the network was shown it, (b, z, y, x, c) float32; no z in 2-D.
        labels: Classes, (b, z, y, x) uint8; no z in 2-D.
    """

    step: int
    cases: tuple[str, ...]
    rounds: tuple[int, ...]
    image: Float[np.ndarray, "b ... c"]
    labels: UInt8[np.ndarray, "b ..."]


def replay(plan: Plan, examples: Sequence[Example], seed: int, step: int) -> Replayed:
    """The very batch of a step, whatever was trained before or after it.

    A batch depends on the seed, its number and the cases alone. Number and place in the batch are one and the same as
    round and turn, since place p of batch n has turn n * batch + p, and a round is as many turns as there are cases;
    so each patch is a function of seed, epoch and case.

    Args:
        plan: Of the run.
        examples: The cases it was trained on, in its order.
        seed: Of the run.
        step: Steps done before it: 0 is the first.

    Returns:
        On TensorFlow equal to the bit to what training on TensorFlow saw on the same machine; on other backends, or
        between backends, up to rounding.
    """
    places, patches = Places.of(examples, plan), Patches(plan, seed, len(examples))
    number = ops.convert_to_tensor(np.int32(step))
    case, centre = (ops.convert_to_numpy(part) for part in patches.chosen(number, places))
    if keras.config.backend() == "tensorflow":
        image, (labels,) = next(iter(training_feed(examples, plan, seed, start=step).as_numpy_iterator()))
    else:
        image, labels = (ops.convert_to_numpy(part) for part in _made(plan, examples, patches, number, case, centre))
    turns = step * plan.training.batch + np.arange(len(case))
    return Replayed(
        step,
        tuple(examples[int(i)].id for i in case),
        tuple(int(turn) // len(examples) for turn in turns),
        image,
        labels,
    )


def _made(
    plan: Plan, examples: Sequence[Example], patches: Patches, number: KerasTensor, case: np.ndarray, centre: np.ndarray
) -> tuple[KerasTensor, KerasTensor]:
    """Images and labels of the batch, wherever the cases lie."""
    around = surroundings(examples, plan, patches.augment.reach)
    if around is None:
        pool = Pool.of([e.image for e in examples], [e.labels for e in examples], plan.network.dims)
        return patches.made(number, pool, ops.convert_to_tensor(case), centre)
    images, labels, inside = around.read(case, centre)
    return patches.made(number, Pool.framed(images, labels, around.border), ops.arange(len(case)), inside)


__all__ = ["Replayed", "replay"]
