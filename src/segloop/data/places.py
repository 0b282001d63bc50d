"""Where training patches are centred: on each label as often as the Plan says, and anywhere.

Written in `keras.ops`, without hidden state: what is chosen depends on the key alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import UInt8
from keras import KerasTensor, ops

from segloop.data.augment import uniform
from segloop.plan import Plan, Size

_PLACES_PER_LABEL = 4096
_STREAM_PLACE, _STREAM_CASE = 7, 8


class Labelled(Protocol):
    """Anything with a class for each voxel."""

    @property
    def labels(self) -> UInt8[np.ndarray, "z y x"]:
        """0 background, 1 the Plan's first label, and so on."""


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Voxels of each target (a label, or one of the Plan's regions) in each of n cases.

    Args:
        shapes: Size of each case along z, y, x, (cases, 3) int32.
        voxels: Indices (z, y, x) that belong to a target, side by side, (places, 3) int32; at most 4096 of a target and
            case.
        first: Where in `voxels` those of case i and target j begin, (cases x targets,) int32.
        count: How many there are, (cases x targets,) int32; 0 where the case has none.
        holders: Cases that have the first target, then those that have the second, …, (n,) int32.
        holders_first: Where in `holders` those of each target begin, (targets,) int32.
        holders_count: How many there are, (targets,) int32.
        shares: How often each target is chosen; all 0 when no case has any.
        patch: Voxels of a patch.
        focused: Share of the patches that are centred on a target.
    """

    shapes: KerasTensor
    voxels: KerasTensor
    first: KerasTensor
    count: KerasTensor
    holders: KerasTensor
    holders_first: KerasTensor
    holders_count: KerasTensor
    shares: tuple[float, ...]
    patch: Size
    focused: float

    @classmethod
    def of(cls, cases: Sequence[Labelled], plan: Plan) -> Places:
        """The places of these cases, as NumPy arrays.

        A label that no case has is left out, and its share goes to the others in their proportion.

        Args:
            cases: At least one.
            plan: Its labels or regions, and how often each is wanted.
        """
        draw, targets = np.random.default_rng(0), plan.found_classes
        first = np.zeros((len(cases), len(targets)), np.int32)
        count = np.zeros_like(first)
        places: list[np.ndarray] = [np.zeros((1, 3), np.int32)]
        total = 1
        for row, case in enumerate(cases):
            for column, members in enumerate(targets):
                inside = case.labels == members[0] if len(members) == 1 else np.isin(case.labels, members)
                found = np.flatnonzero(inside)
                if len(found) > _PLACES_PER_LABEL:
                    found = draw.choice(found, _PLACES_PER_LABEL, replace=False)
                places.append(np.stack(np.unravel_index(found, case.labels.shape), -1).astype(np.int32))
                first[row, column], count[row, column] = total, len(found)
                total += len(found)
        held = [np.flatnonzero(column) for column in count.T]
        numbers = np.asarray([len(rows) for rows in held], np.int32)
        wanted = np.asarray(plan.training.label_shares or (1.0,) * len(targets)) * (numbers > 0)
        return cls(
            np.asarray([case.labels.shape for case in cases], np.int32),
            np.concatenate(places),
            first.ravel(),
            count.ravel(),
            np.concatenate([*held, [0]]).astype(np.int32),
            np.cumsum([0, *numbers[:-1]]).astype(np.int32),
            numbers,
            tuple(float(share) for share in wanted / max(wanted.sum(), 1e-9)),
            plan.training.patch,
            plan.training.foreground_fraction,
        )

    def choose(self, key: KerasTensor, case: KerasTensor) -> tuple[KerasTensor, KerasTensor]:
        """The case and the centre of each of b patches.

        For a focused patch the target is drawn first. Where the case whose turn it is does not have it, a case that has
        takes its place: a label that few cases have is trained on as often as wanted all the same. Patches stay on the
        image as far as it is large enough.

        Args:
            key: One integer; another one for every batch.
            case: Whose turn it is, (b,) int32.

        Returns:
            Cases (b,) int32, and the middle of each patch in voxels of its case, (b, 3) float32; the middle of n voxels
            from a is a + (n-1)/2.
        """
        batch, targets = case.shape[0], len(self.shares)
        u = uniform(key, _STREAM_PLACE, (batch, 6))
        edges = np.cumsum(self.shares)[:-1]
        # Rounding must not leave a gap for a last label that no case has.
        edges = np.where(edges < 1 - 1e-6, edges, 2.0).astype(np.float32)
        target = ops.sum(ops.cast(u[:, 0:1] >= edges[None], "int32"), axis=1)
        focused = u[:, 2] < (self.focused if any(self.shares) else 0.0)
        other = ops.take(self.holders, self._pick(target, uniform(key, _STREAM_CASE, (batch,))))
        lacking = ops.equal(ops.take(self.count, case * targets + target), 0)
        case = ops.where(ops.logical_and(focused, lacking), other, case)

        cell = case * targets + target
        chosen = ops.take(self.first, cell) + _index(u[:, 1], ops.take(self.count, cell))
        # Without anything to focus on, `chosen` may lie one beyond the end; its voxel is not used.
        around = ops.take(self.voxels, ops.minimum(chosen, self.voxels.shape[0] - 1), axis=0)
        patch = np.asarray(self.patch, np.int32)
        shape = ops.take(self.shapes, case, axis=0)
        # A smaller image lies in the middle of its padding, the odd voxel after it, as `Chain` and inference pad.
        low, high = -(ops.maximum(patch - shape, 0) // 2), ops.maximum(shape - patch, 0)
        high = ops.where(shape < patch, low, high)
        anywhere = ops.minimum(low + ops.cast(u[:, 3:6] * ops.cast(high - low + 1, "float32"), "int32"), high)
        near = ops.minimum(ops.maximum(around - patch // 2, low), high)
        start = ops.where(focused[:, None], near, anywhere)
        return case, ops.cast(start, "float32") + (patch - 1).astype(np.float32) / 2

    def _pick(self, target: KerasTensor, u: KerasTensor) -> KerasTensor:
        """Place in `holders` of one case that has the target."""
        return ops.take(self.holders_first, target) + _index(u, ops.take(self.holders_count, target))


def _index(u: KerasTensor, count: KerasTensor) -> KerasTensor:
    """A number from 0 to count - 1 for u in [0, 1); 0 for a count of 0."""
    return ops.minimum(ops.cast(u * ops.cast(count, "float32"), "int32"), ops.maximum(count - 1, 0))
