"""From a Volume to the array a network sees, and exactly back.

The order is fixed: turn the axes to the Plan's orientation (a permutation and flips, no interpolation), resample to
the Plan's spacing, normalise each channel. Where a network needs more voxels (its divisor, a patch size), they are
added after normalisation with the value 0, half before (rounded down) and the rest after, as `centre_padding` says;
training and inference pad alike. Images and masks of training pass through the same `Chain` as those of inference.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Shaped

from segloop.errors import InputError
from segloop.plan import Plan
from segloop.prep.decision import Decision
from segloop.prep.resample import AxisWeights, Match, match, resample
from segloop.prep.values import normalise
from segloop.volume import Geometry, Labels, Reorientation, Vector, Volume

# Bytes of float32 scores that the way back holds at once besides the network's own output.
_SLAB_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Restore:
    """The way back from the network's grid to the grid the image came on.

    Scores become probabilities on the network's grid, are brought linearly to the source spacing (averaged over a voxel
    where that is coarser), and only then decided, as a `Decision` says: interpolating decided labels would move their
    borders.

    Args:
        turn: Source axes to network axes.
        grids: Source grid with turned axes to network grid.
        source: The grid the image came on.
    """

    turn: Reorientation
    grids: Match
    source: Geometry

    @classmethod
    def unmoved(cls, geometry: Geometry) -> Restore:
        """The way back from scores that lie on the source grid already."""
        return cls(Reorientation((0, 1, 2), (False, False, False)), Match(geometry, geometry), geometry)

    def labels(self, logits: Float[np.ndarray, "z y x k"], decision: Decision) -> Shaped[np.ndarray, "z y x"]:
        """The label number of each source voxel.

        Works slab by slab, so scores never exist for the whole source grid at once.

        Args:
            logits: Scores on the network grid.
            decision: What they mean.

        Returns:
            uint8, or uint16 where a label number needs it, on the source grid, contiguous.
        """
        turned = np.empty(self.grids.source.shape, decision.dtype)
        # The order of scores and of probabilities agrees, so a grid that stays needs no exponentials to be decided.
        unchanged = all(matrix is None for matrix in self.grids.back.weights())
        for start, stop, part in self._slabs(logits, None if unchanged else decision):
            turned[start:stop] = decision.from_scores(part) if unchanged else decision.labels(part)
        return np.ascontiguousarray(self.turn.inverse.array(turned))

    def probabilities(self, logits: Float[np.ndarray, "z y x k"], decision: Decision) -> Float[np.ndarray, "z y x k"]:
        """Probabilities on the source grid, float32: `decision.labels` of them is `labels`. All of it is in memory."""
        turned = np.empty((*self.grids.source.shape, logits.shape[-1]), np.float32)
        for start, stop, scores in self._slabs(logits, decision):
            turned[start:stop] = np.moveaxis(scores, 0, -1)
        return np.ascontiguousarray(self.turn.inverse.array(turned))

    def values(self, values: Float[np.ndarray, "z y x"]) -> Float[np.ndarray, "z y x"]:
        """One number per voxel of the network's grid, brought linearly to the source grid, float32."""
        moved = resample(values, self.grids.back.weights())
        return np.ascontiguousarray(self.turn.inverse.array(moved))

    def _slabs(self, logits: np.ndarray, decision: Decision | None) -> Iterator[tuple[int, int, np.ndarray]]:
        """(first z, end z, (k, z, y, x)) along the turned source grid: probabilities, or scores without a decision."""
        if logits.shape[:3] != self.grids.target.shape:
            raise ValueError(f"scores of shape {self.grids.target.shape} are needed. Received: {logits.shape}")
        weights = self.grids.back.weights()
        unchanged = all(matrix is None for matrix in weights)
        depth, height, width = self.grids.source.shape
        slab = max(1, _SLAB_BYTES // (4 * height * width * logits.shape[-1]))
        for start in range(0, depth, slab):
            stop = min(depth, start + slab)
            part, matrices = _part(logits, weights, start, stop)
            scores = np.moveaxis(part, -1, 0).astype(np.float32, order="C")
            if decision is not None:
                scores = decision.probabilities(scores)
            if not unchanged:
                scores = np.stack([resample(one, matrices) for one in scores])
            yield start, stop, scores


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """An image ready for the network.

    Args:
        array: float32 (z, y, x, channel), contiguous.
        geometry: Its grid.
        restore: The way back to the source grid.
    """

    array: Float[np.ndarray, "z y x c"]
    geometry: Geometry
    restore: Restore


@dataclass(frozen=True, slots=True)
class Chain:
    """The Plan's preparation, for images and label maps.

    A 2-D plan leaves the spacing between slices alone, since its network never sees across them.
    """

    plan: Plan

    def require_applicable(self, volume: Volume) -> None:
        """Refuse an image that the model was not made for.

        Modality (where the volume states one), slices, spacing, field of view and channels are compared with
        `plan.inputs`.

        Raises:
            InputError: `input.not_applicable` with every reason.
        """
        from segloop.io.rules import matches

        reasons = matches(self.plan.inputs, volume.geometry, volume.modality, None, volume.channels)
        if reasons:
            raise InputError(
                f"The image is not of the kind {self.plan.name} was made for: {'; '.join(reasons)}.",
                code="input.not_applicable",
                found=list(reasons),
                expected=self.plan.inputs.model_dump(mode="json", exclude_none=True),
                hint="Choose another series or another model.",
            )

    def grid(self, geometry: Geometry) -> Restore:
        """How an image on `geometry` corresponds with the network's grid."""
        turn = Reorientation.between(geometry, self.plan.preparation.orientation)
        turned = turn.geometry(geometry)
        wanted = self.plan.preparation.spacing_mm or turned.spacing_mm
        spacing_mm: Vector = wanted if self.plan.network.dims == 3 else (turned.spacing_mm[0], wanted[1], wanted[2])
        return Restore(turn, match(turned, spacing_mm), geometry)

    def prepare(self, volume: Volume) -> Prepared:
        """The array the network sees.

        Raises:
            InputError: `input.not_an_image` when voxels are complex; `input.unreadable` when some are not finite;
                `input.not_applicable` when the number of channels is another.
        """
        _require_finite(volume.array)
        channels = self.plan.inputs.channels
        if volume.channels != channels:
            raise InputError(
                f"The image has {volume.channels} channels; {self.plan.name} needs {channels}.",
                code="input.not_applicable",
                found=volume.channels,
                expected=channels,
            )
        restore = self.grid(volume.geometry)
        turned = restore.turn.array(volume.array.reshape(*volume.geometry.shape, channels))
        weights = restore.grids.weights()
        array = np.empty((*restore.grids.target.shape, channels), np.float32)
        rules = self.plan.preparation.normalisation
        for channel in range(channels):
            rule = rules[channel if len(rules) > 1 else 0]
            array[..., channel] = normalise(resample(turned[..., channel], weights), rule)
        return Prepared(array, restore.grids.target, restore)

    def guided(self, prepared: Prepared, labels: Labels) -> Prepared:
        """The prepared image with one more channel for each of the Plan's labels: 1 where the label lies, else 0.

        Args:
            prepared: By this chain.
            labels: What a cascade's coarse network found, on the grid the image came on.
        """
        found = self.labels(labels).array
        channels = [(found == label.value)[..., None].astype(np.float32) for label in self.plan.labels]
        return replace(prepared, array=np.concatenate([prepared.array, *channels], axis=-1))

    def labels(self, labels: Labels) -> Labels:
        """A label map on the network's grid.

        Turned without interpolation. Where the spacing changes, each label's indicator is resampled linearly (as the
        image is) and the largest wins: its border then lies where the image's does, and thin structures on a coarser
        grid are kept by majority, not by the luck of a sample point. A tie goes to the lower label number.
        """
        restore = self.grid(labels.geometry)
        turned = restore.turn.array(labels.array)
        weights = restore.grids.weights()
        if all(matrix is None for matrix in weights):
            return replace(labels, array=np.ascontiguousarray(turned), geometry=restore.grids.target)
        return replace(labels, array=_most_covered(turned, weights), geometry=restore.grids.target)


def _require_finite(array: np.ndarray) -> None:
    if array.dtype.kind not in "biuf":
        raise InputError(
            f"The image holds {array.dtype} voxels; real numbers are expected.",
            code="input.not_an_image",
            found=str(array.dtype),
            expected="real numbers",
            hint="Convert complex data to magnitude first.",
        )
    if array.dtype.kind != "f":
        return
    with np.errstate(over="ignore"):  # what float32 cannot hold counts as infinite
        bad = int(array.size - np.isfinite(array.astype(np.float32, copy=False)).sum())
    if bad:
        raise InputError(
            f"{bad} of {array.size} voxels are not finite numbers (NaN or infinity).",
            code="input.unreadable",
            found=bad,
            expected=0,
            hint="Replace them, for instance by the background value, in the program that wrote the image.",
        )


def _part(
    logits: np.ndarray, weights: AxisWeights, start: int, stop: int
) -> tuple[Float[np.ndarray, "z y x k"], AxisWeights]:
    """The slices of the network grid that source slices start to stop depend on, with the matrices cut to fit."""
    depth, height, width = weights
    if depth is None:
        return logits[start:stop], weights
    rows = depth[start:stop]
    used = np.flatnonzero(rows.any(axis=0))
    first, end = int(used[0]), int(used[-1]) + 1
    return logits[first:end], (np.ascontiguousarray(rows[:, first:end]), height, width)


def _most_covered(turned: np.ndarray, weights: AxisWeights) -> np.ndarray:
    best: np.ndarray | None = None
    winner: np.ndarray | None = None
    for value in np.unique(turned):
        cover = resample(turned == value, weights)
        if best is None or winner is None:
            best, winner = cover, np.full(cover.shape, value, turned.dtype)
            continue
        # Sums of the same weights in another order differ in the last bits: a tie must not depend on them.
        larger = cover > best + 1e-5
        winner[larger] = value
        np.copyto(best, cover, where=larger)
    assert winner is not None  # a grid has at least one voxel
    return winner
