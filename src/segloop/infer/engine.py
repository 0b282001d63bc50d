"""Volume to Prediction: prepare, network, restore, clean."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import combinations
from math import ceil, prod
from types import MappingProxyType

import numpy as np
from jaxtyping import Float

from segloop.errors import ModelError, PlanError
from segloop.infer.bundle import Bundle
from segloop.infer.cascade import Cascade
from segloop.infer.members import Members, open_members
from segloop.infer.mirror import LATERAL, exchanged, exchanged_inputs, with_mirroring
from segloop.infer.runtimes import Runtime, choose, open_runtime
from segloop.infer.window import axis_profiles, network_shape, total_weights, windows
from segloop.plan import Plan, Provenance
from segloop.post import clean
from segloop.prep import Chain, Decision, Prepared, Restore
from segloop.prep.resample import centre_padding
from segloop.volume import Labels, Reorientation, Shape, Volume

EMPTY = "empty_result"
"""Warning of a prediction in which no voxel has a label."""

# Slices of a 2-D plan that pass through the network together.
_SLICES = 8

Phases = dict[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What a model says of one image.

    Args:
        labels: On the grid the image came on, after the Plan's clean-up, with names.
        probabilities: float32 (z, y, x, class) on the same grid, class 0 being background and class i the Plan's label
            i - 1, or one class for each of the Plan's regions; with its temperature, without its bias, before clean-up.
            None unless asked for.
        seconds: Wall time of `prepare`, `network`, `restore`, `post`.
        runtime: What ran the network.
        precision: Of its hidden layers.
        provenance: Of the weights.
        warnings: `empty_result` when no voxel has a label.
    """

    labels: Labels
    probabilities: Float[np.ndarray, "z y x k"] | None
    seconds: Mapping[str, float]
    runtime: str
    precision: str
    provenance: Provenance
    warnings: tuple[str, ...] = ()


class Segmenter:
    """A bundle made ready to segment images; call it with a `Volume`.

    Args:
        bundle: A checked bundle.
        runtime: `auto` (measures once on this machine), a name of `RUNTIMES`, or an opened runtime.
        memory: Bytes that one image may take in the network; None sets no limit. A smaller one turns whole images into
            windows.
        tta: Also segment the image mirrored along every axis that training mirrored, and average; each axis doubles the
            network's time.

    Attributes:
        bundle: As given.
        plan: The bundle's, with mirroring where asked for.
        runtime: The opened runtime; `Members` for an ensemble.
        choice: Why this runtime, in one sentence.

    Raises:
        InputError: `usage` when mirroring is asked of a model that was trained without.
        ModelError: `runtime.unavailable`.
    """

    def __init__(
        self, bundle: Bundle, runtime: str | Runtime = "auto", memory: int | None = None, *, tta: bool = False
    ) -> None:
        self.bundle, self.memory = bundle, memory
        self.plan = with_mirroring(bundle.plan) if tta else bundle.plan
        if not isinstance(runtime, str):
            self.runtime: Runtime = runtime
            self.choice = f"{runtime.name} was given"
        elif bundle.manifest.members:
            members = open_members(bundle, runtime)
            self.runtime, self.choice = members.mirrored() if tta else members, members.choice
        elif runtime == "auto":
            choice = choose(bundle)
            self.runtime, self.choice = open_runtime(bundle, choice.name), choice.text
        else:
            self.runtime, self.choice = open_runtime(bundle, runtime), f"{runtime} was asked for"

    def __call__(self, volume: Volume, keep_probabilities: bool = False) -> Prediction:
        """Labels of one image.

        Args:
            volume: In the unit the model was trained on (CT in HU).
            keep_probabilities: Also return the probabilities, which take 4 bytes per voxel and class.

        Raises:
            InputError: `input.not_applicable` for an image the model was not made for; `input.unreadable` when voxels
                are not finite.
            PlanError: `plan.memory` when not even one patch fits into the memory allowed.
        """
        require_applicable(self.plan, self.runtime, volume)
        labels, probabilities, seconds = segment(
            self.plan, self.runtime, volume, memory=self.memory, keep_probabilities=keep_probabilities
        )
        return Prediction(
            labels,
            probabilities,
            MappingProxyType(seconds),
            self.runtime.name,
            self.runtime.precision,
            self.bundle.manifest.provenance,
            () if labels.array.any() else (EMPTY,),
        )


def segment(
    plan: Plan, runtime: Runtime, volume: Volume, *, memory: int | None = None, keep_probabilities: bool = False
) -> tuple[Labels, Float[np.ndarray, "z y x k"] | None, Phases]:
    """Labels and, if asked for, probabilities on the volume's own grid, with the seconds of each phase.

    `Segmenter` without a bundle, and without the question whether the image suits the model.
    """
    seconds: Phases = {}
    if isinstance(runtime, Members):
        logits, restore = _together(runtime, volume, memory, seconds)
    else:
        logits, restore = _scored(plan, runtime, volume, memory, seconds)
    with _timed(seconds, "restore"):
        decision = Decision.of(plan)
        array = restore.labels(logits, decision)
        probabilities = restore.probabilities(logits, decision) if keep_probabilities else None
        labels = Labels(array, volume.geometry, plan.label_names)
    with _timed(seconds, "post"):
        labels = _cleaned(labels, plan)
    return labels, probabilities, seconds


def require_applicable(plan: Plan, runtime: Runtime, volume: Volume) -> None:
    """Refuse an image that the model, or a member of it, was not made for.

    Raises:
        InputError: `input.not_applicable` with every reason.
    """
    for recipe in (plan, *(member.plan for member in runtime.members)) if isinstance(runtime, Members) else (plan,):
        Chain(recipe).require_applicable(volume)


def _scored(
    plan: Plan, runtime: Runtime, volume: Volume, memory: int | None, seconds: Phases
) -> tuple[Float[np.ndarray, "z y x k"], Restore]:
    """Logits on the network's grid, and the way back from there."""
    with _timed(seconds, "prepare"):
        prepared = Chain(plan).prepare(volume)
    if plan.coarse is not None:
        guides = _first_stage(plan.coarse, runtime, volume, memory, seconds)
        with _timed(seconds, "prepare"):
            prepared = Chain(plan).guided(prepared, guides)
    with _timed(seconds, "network"):
        logits = run_network(plan, runtime, prepared.array, memory)
    return logits, prepared.restore


def prepared_for(bundle: Bundle, volume: Volume) -> Prepared:
    """The image as the bundle's network sees it: for a cascade with the labels that its coarse network finds."""
    chain = Chain(bundle.plan)
    prepared = chain.prepare(volume)
    if bundle.plan.coarse is None:
        return prepared
    return chain.guided(prepared, Segmenter(bundle.coarse(), "tensorflow")(volume).labels)


def _first_stage(plan: Plan, runtime: Runtime, volume: Volume, memory: int | None, seconds: Phases) -> Labels:
    """What the coarse network of a cascade finds, on the volume's own grid."""
    if not isinstance(runtime, Cascade):
        raise ModelError(
            f"{plan.name} is a cascade of two networks; the runtime {runtime.name} holds one.",
            code="runtime.unavailable",
            found=runtime.name,
            expected="a runtime opened from the bundle",
        )
    labels, _, phases = segment(plan, runtime.coarse, volume, memory=memory)
    for phase, spent in phases.items():
        seconds[phase] = seconds.get(phase, 0.0) + spent
    return labels


def _together(
    runtime: Members, volume: Volume, memory: int | None, seconds: Phases
) -> tuple[Float[np.ndarray, "z y x k"], Restore]:
    """Scores whose probabilities are the members' weighted mean, on the volume's own grid.

    The grid of the image is the one place where networks of different spacings and dimensions meet. All classes of the
    whole image are in memory, twice.
    """
    total: np.ndarray | None = None
    for member in runtime.members:
        logits, restore = _scored(member.plan, member.runtime, volume, memory, seconds)
        with _timed(seconds, "restore"):
            probabilities = restore.probabilities(logits, Decision.of(member.plan))
            probabilities *= np.float32(member.weight)
            total = probabilities if total is None else total + probabilities
    assert total is not None  # an ensemble has members
    plain = Decision.of(runtime.members[0].plan).uncalibrated
    with _timed(seconds, "restore"):
        scores = np.moveaxis(plain.scores(np.moveaxis(total, -1, 0)), 0, -1)
    return scores, Restore.unmoved(volume.geometry)


def _cleaned(labels: Labels, plan: Plan) -> Labels:
    """Clean in the Plan's orientation: of two equally large parts the same one stays, however the image was stored."""
    if not plan.post.steps:
        return labels
    turn = Reorientation.between(labels.geometry, plan.preparation.orientation)
    cleaned = clean(labels.reoriented(plan.preparation.orientation), plan.post)
    return replace(labels, array=np.ascontiguousarray(turn.inverse.array(cleaned.array)))


def run_network(
    plan: Plan, runtime: Runtime, array: Float[np.ndarray, "z y x c"], memory: int | None = None
) -> Float[np.ndarray, "z y x k"]:
    """Logits of a prepared image, float32, of its size; the mean over the mirrored images that the Plan asks for.

    In an image mirrored from left to right a left structure looks like a right one: the labels that a coarse network
    found of lateral pairs change places on the way there, and the outputs on the way back.
    """
    axes = plan.inference.mirror_axes
    mirrored = [flips for count in range(len(axes) + 1) for flips in combinations(axes, count)]
    total = _logits(plan, runtime, array, memory)
    for flips in mirrored[1:]:
        image = np.flip(array, flips)
        if LATERAL in flips:
            image = image[..., exchanged_inputs(plan)]
        logits = np.flip(_logits(plan, runtime, image, memory), flips)
        total = total + (logits[..., exchanged(plan)] if LATERAL in flips else logits)
    return total / len(mirrored) if len(mirrored) > 1 else total


def _logits(
    plan: Plan, runtime: Runtime, array: Float[np.ndarray, "z y x c"], memory: int | None
) -> Float[np.ndarray, "z y x k"]:
    """Logits of one image, float32, of its size.

    The image is padded with 0 (what normalisation gives the mean), half before and the rest after. It then passes
    whole, where `plan.inference` and `memory` allow, or in overlapping windows whose logits are averaged with Gaussian
    weights. A 2-D plan takes slices instead, several at a time.
    """
    spec, flat = plan.inference, plan.network.dims == 2
    patch: Shape = (1, *spec.patch[1:]) if flat else spec.patch
    padded_shape = network_shape(array.shape[:3], plan.network.divisor, patch)
    if flat:
        padded_shape = (array.shape[0], *padded_shape[1:])
    padding = centre_padding(array.shape[:3], padded_shape)
    padded = np.pad(array, [*padding, (0, 0)])
    at_once = prod(padded_shape[1:]) if flat else prod(padded_shape)
    fits = memory is None or _bytes(plan, (1, *padded_shape[1:]) if flat else padded_shape) <= memory
    if spec.mode == "whole" and at_once <= spec.whole_voxels and fits:
        logits = _slices(runtime, padded) if flat else runtime(padded[None])[0]
    else:
        if memory is not None and _bytes(plan, patch) > memory:
            raise PlanError(
                f"One window of {patch} voxels takes about {_bytes(plan, patch) / 2**20:.0f} MiB; "
                f"{memory / 2**20:.0f} MiB are allowed.",
                code="plan.memory",
                found=memory,
                expected=_bytes(plan, patch),
                hint="Allow more memory, or set a smaller inference.patch.",
            )
        logits = _blended(plan, runtime, padded)
    (z, _), (y, _), (x, _) = padding
    depth, height, width = array.shape[:3]
    return logits[z : z + depth, y : y + height, x : x + width]


def _blended(plan: Plan, runtime: Runtime, padded: Float[np.ndarray, "z y x c"]) -> Float[np.ndarray, "z y x k"]:
    spec, shape = plan.inference, padded.shape[:3]
    total = np.zeros((*shape, plan.network.classes), np.float32)
    flat = plan.network.dims == 2
    patch = (shape[0], *spec.patch[1:]) if flat else spec.patch
    depth, height, width = axis_profiles(patch, spec.sigma)
    if flat:  # slices do not overlap
        depth = np.ones(shape[0], np.float32)
    for z, y, x in windows(shape, patch, spec.overlap):
        place = np.s_[z : z + patch[0], y : y + patch[1], x : x + patch[2]]
        part = _slices(runtime, padded[place]) if flat else runtime(padded[place][None])[0]
        part *= (depth[:, None, None] * height[:, None] * width)[..., None]
        total[place] += part
    sums = total_weights(shape, patch, spec.overlap, spec.sigma)
    if flat:
        sums = (depth, *sums[1:])
    for axis, weight in enumerate(sums):
        total /= weight.reshape([-1 if i == axis else 1 for i in range(4)])
    return total


def _slices(runtime: Runtime, stack: Float[np.ndarray, "z y x c"]) -> Float[np.ndarray, "z y x k"]:
    """A 2-D network over every slice, in batches of even size so that few shapes occur."""
    count = ceil(stack.shape[0] / _SLICES)
    return np.concatenate([runtime(part) for part in np.array_split(stack, count)])


def _bytes(plan: Plan, shape: Shape) -> int:
    from segloop.data.cost import activation_bytes

    return activation_bytes(plan.network, shape, 1)


@contextmanager
def _timed(seconds: Phases, phase: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[phase] = seconds.get(phase, 0.0) + time.perf_counter() - started
