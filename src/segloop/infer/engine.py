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

from segloop.errors import PlanError
from segloop.infer.bundle import Bundle
from segloop.infer.runtimes import Runtime, choose, open_runtime
from segloop.infer.window import axis_profiles, network_shape, total_weights, windows
from segloop.plan import Plan, Provenance
from segloop.post import clean
from segloop.prep import Chain
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
            i - 1; before clean-up. None unless asked for.
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

    Attributes:
        bundle: As given.
        runtime: The opened runtime.
        choice: Why this runtime, in one sentence.

    Raises:
        ModelError: `runtime.unavailable`.
    """

    def __init__(self, bundle: Bundle, runtime: str | Runtime = "auto", memory: int | None = None) -> None:
        self.bundle, self.memory = bundle, memory
        if not isinstance(runtime, str):
            self.runtime: Runtime = runtime
            self.choice = f"{runtime.name} was given"
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
        plan = self.bundle.plan
        Chain(plan).require_applicable(volume)
        labels, probabilities, seconds = segment(
            plan, self.runtime, volume, memory=self.memory, keep_probabilities=keep_probabilities
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
    with _timed(seconds, "prepare"):
        prepared = Chain(plan).prepare(volume)
    with _timed(seconds, "network"):
        logits = run_network(plan, runtime, prepared.array, memory)
    with _timed(seconds, "restore"):
        values = tuple(label.value for label in plan.labels)
        array = prepared.restore.labels(logits, values)
        probabilities = prepared.restore.probabilities(logits) if keep_probabilities else None
        labels = Labels(array, volume.geometry, plan.label_names)
    with _timed(seconds, "post"):
        labels = _cleaned(labels, plan)
    return labels, probabilities, seconds


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
    """Logits of a prepared image, float32, of its size; the mean over the mirrored images that the Plan asks for."""
    axes = plan.inference.mirror_axes
    mirrored = [flips for count in range(len(axes) + 1) for flips in combinations(axes, count)]
    total = _logits(plan, runtime, array, memory)
    for flips in mirrored[1:]:
        total = total + np.flip(_logits(plan, runtime, np.flip(array, flips), memory), flips)
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
    from segloop.data.network import activation_bytes

    return activation_bytes(plan.network, shape, 1)


@contextmanager
def _timed(seconds: Phases, phase: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[phase] = time.perf_counter() - started
