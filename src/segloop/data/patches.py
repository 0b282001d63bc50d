"""Batch number n of augmented training patches, in `keras.ops`: what every backend trains on.

Nothing here has state. Batch n depends on the seed and n alone, so a run can be resumed or replayed, workers can each
make a part of it, and TensorFlow and JAX make the same one.
"""

from __future__ import annotations

import numpy as np
from keras import KerasTensor, ops

from segloop.data.augment import Augment, Pool, require_sides_kept, uniform
from segloop.data.doubt import Doubt
from segloop.data.places import Places
from segloop.plan import Plan

_STREAM_DECK = 64


class Patches:
    """Makes batches of a Plan's patches from cases.

    Args:
        plan: Patch, batch and transforms.
        seed: Of every random choice.
        cases: How many there are.
        share: Which patches of each batch are made, as (first, end); None makes all of them.
        apart: Make one patch after the other, which is quicker on a CPU; see `Augment`.

    Raises:
        PlanError: `plan.invalid` when left and right would be mixed up.
    """

    def __init__(
        self, plan: Plan, seed: int, cases: int, share: tuple[int, int] | None = None, *, apart: bool = False
    ) -> None:
        spec = plan.training
        self.batch, self.seed, self.cases = spec.batch, seed, cases
        self.share = share or (0, spec.batch)
        require_sides_kept(plan)
        self.augment = Augment.of(plan, apart=apart)
        self.doubt = Doubt(plan) if plan.guides else None

    def __call__(self, number: KerasTensor, pool: Pool, places: Places) -> tuple[KerasTensor, KerasTensor]:
        """Batch `number`, an integer scalar: image (b, z, y, x, c) float32, labels (b, z, y, x) uint8; no z in 2-D."""
        case, centre = self.wanted(number, places)
        return self.made(number, pool, case, centre)

    def wanted(self, number: KerasTensor, places: Places) -> tuple[KerasTensor, KerasTensor]:
        """What `chosen` gives, of the patches that are made here."""
        case, centre = self.chosen(number, places)
        first, end = self.share
        return case[first:end], centre[first:end]

    def made(
        self, number: KerasTensor, pool: Pool, case: KerasTensor, centre: KerasTensor
    ) -> tuple[KerasTensor, KerasTensor]:
        """The patches of batch `number` that are made here, from images of a pool.

        Args:
            number: Of the batch.
            pool: Images that hold what the patches need.
            case: Which image each patch comes from, (b,) int32.
            centre: Middle of each patch in voxels of its image, (b, 3).
        """
        key = self._key(number)
        first, end = self.share
        draw = self.augment.draw(key, self.batch)
        draw = draw if end - first == self.batch else draw.part(first, end)
        image, labels = self.augment.sample(draw, pool, case, centre)
        if self.doubt is not None:
            image = self.doubt(key, image, draw.swapped, self.batch, first)
        return image, labels

    def chosen(self, number: KerasTensor, places: Places) -> tuple[KerasTensor, KerasTensor]:
        """The case that each patch of batch `number` comes from, (batch,) int32, and its middle there, (batch, 3)."""
        return places.choose(self._key(number), turns(number, self.batch, self.cases, self.seed))

    def _key(self, number: KerasTensor) -> KerasTensor:
        return ops.cast(number, "uint32") + np.uint32(self.seed * 1_000_003 % 2**32)


def turns(number: KerasTensor, batch: int, cases: int, seed: int) -> KerasTensor:
    """Whose turn it is in batch `number`, (batch,) int32: an endless row of shuffled decks of all cases, cut up."""
    position = ops.cast(number, "int32") * batch + np.arange(batch, dtype=np.int32)
    if cases == 1:
        return ops.zeros_like(position)
    deck = position // cases
    # As many decks as a batch can touch; each case's place in a deck is the rank of a random number.
    touched = [deck[0] + i for i in range((batch - 2) // cases + 2)]
    start = np.uint32(seed * 7_368_787 % 2**32)
    ranks = [ops.argsort(uniform(ops.cast(d, "uint32") + start, _STREAM_DECK, (cases,))) for d in touched]
    place = (deck - deck[0]) * cases + position % cases
    return ops.cast(ops.take(ops.concatenate(ranks), place), "int32")


__all__ = ["Patches", "turns"]
