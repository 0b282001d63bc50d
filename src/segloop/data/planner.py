"""Fingerprint and budget to Plan, with the reason for every choice.

The rules follow nnU-Net (Isensee et al., Nat Methods 18:203, 2021) where it is about the data - median spacing, patch,
pooling, kernels, normalisation - and are cut down to a CPU where it is about size.
"""

from __future__ import annotations

from math import ceil, prod
from typing import Literal

import numpy as np
from jaxtyping import Integer
from pydantic import Field

from segloop.data.fingerprint import Fingerprint
from segloop.data.network import activation_bytes, network
from segloop.data.rules import mirror_axes, normalisation, post, series_rule
from segloop.errors import PlanError
from segloop.plan import (
    AugmentationSpec,
    Frozen,
    InferenceSpec,
    NetworkSpec,
    Plan,
    PreparationSpec,
    TrainingSpec,
)
from segloop.volume import Shape, Vector

# An axis this many times coarser than the others is kept finer than its median (nnU-Net's threshold).
_ANISOTROPY = 3.0
_ANISOTROPIC_PERCENTILE = 10.0
# A network normalises over what it sees: far beyond its training patch, a window is closer to what it learnt.
_WHOLE_PATCHES = 4
_SMALLEST_EDGE = 8


class Budget(Frozen):
    """What a training step may cost.

    Attributes:
        memory_bytes: Memory for the activations, gradients and weights of one step.
        step_voxels: Most voxels in one step. The default keeps a step of the planned networks near two seconds on two
            CPU cores; give more to an accelerator.
        size: Patch edge in pixels for 2-D plans; None lets the planner choose, at most 256.
    """

    memory_bytes: int = Field(default=8 * 2**30, ge=1)
    step_voxels: int = Field(default=1_500_000, ge=1)
    size: int | None = Field(default=None, ge=32)


def make_plan(
    facts: Fingerprint, budget: Budget | None = None, *, name: str = "", dims: Literal[2, 3] | None = None
) -> Plan:
    """The Plan for data of this fingerprint.

    Args:
        facts: What the data are like.
        budget: Memory and work of one step; the default Budget when None.
        name: The model's name; the dataset's in lower case when empty.
        dims: 2 or 3; what the images have when None. 2 on volumes trains slice by slice.

    Raises:
        PlanError: `plan.memory` when not even the smallest patch fits, `plan.invalid` for a 3-D plan of 2-D images.
    """
    budget = budget or Budget()
    chosen: Literal[2, 3] = dims or facts.dims
    if chosen == 3 and facts.dims == 2:
        raise PlanError("The images have one slice each: a 3-D plan cannot be made from them.", found=2, expected=3)
    spacing, reasons = _target_spacing(facts)
    shapes = _shapes_at(facts, spacing)
    median = np.median(shapes, axis=0).round().astype(int)
    patch, spec, batch = _fit(facts, median, spacing or (1.0, 1.0, 1.0), chosen, budget)
    reasons.append(
        f"Patch {_by(patch)}, batch {batch}: the median image is {_by(median)} voxels on the target grid, rounded up "
        f"to the network's divisor {_by(spec.divisor)} and bounded by {budget.step_voxels:,} voxels per step and "
        f"{budget.memory_bytes / 2**30:.1f} GiB ({activation_bytes(spec, patch, batch) / 2**30:.2f} GiB estimated)."
    )
    steps, why_values = normalisation(facts)
    axes, why_mirror = mirror_axes([label.spec.name for label in facts.labels], photographs=facts.photographs)
    cleaning, why_post = post(facts)
    inference, why_inference = _inference(shapes, patch, spec)
    return Plan(
        name=name or facts.name.lower(),
        labels=tuple(label.spec for label in facts.labels),
        inputs=series_rule(facts),
        preparation=PreparationSpec(spacing_mm=spacing, normalisation=steps),
        network=spec,
        training=TrainingSpec(patch=patch, batch=batch, augmentation=_augmentation(axes, chosen, spacing)),
        inference=inference,
        post=cleaning,
        reasons=(*reasons, *why_values, *why_mirror, *why_inference, *why_post),
    )


def _target_spacing(facts: Fingerprint) -> tuple[Vector | None, list[str]]:
    if facts.photographs:
        return None, ["No resampling: the images carry no spacing, so each keeps its own pixels."]
    spacings = np.array(facts.spacings_mm)
    target = np.median(spacings, axis=0)
    shape = np.median(facts.shapes, axis=0)
    why = "the median over the cases"
    worst = int(np.argmax(target))
    others = [axis for axis in range(3) if axis != worst]
    if target[worst] > _ANISOTROPY * target[others].max() and shape[worst] * _ANISOTROPY < shape[others].min():
        target[worst] = max(np.percentile(spacings[:, worst], _ANISOTROPIC_PERCENTILE), target[others].max())
        why += f", axis {'zyx'[worst]} at its {_ANISOTROPIC_PERCENTILE:.0f}th percentile because it is far coarser"
    z, y, x = (round(float(value), 6) for value in target)
    return (z, y, x), [f"Spacing {z:g} × {y:g} × {x:g} mm (z, y, x): {why}."]


def _shapes_at(facts: Fingerprint, spacing: Vector | None) -> Integer[np.ndarray, "cases 3"]:
    """Voxels (case, 3) of each image once it is resampled to `spacing`."""
    if spacing is None:
        return np.array(facts.shapes)
    voxels = np.round(np.array(facts.extents_mm) / np.array(spacing))
    return np.asarray(np.maximum(voxels, 1), dtype=int)


def _fit(
    facts: Fingerprint, median: np.ndarray, spacing: Vector, dims: Literal[2, 3], budget: Budget
) -> tuple[Shape, NetworkSpec, int]:
    """Largest patch, up to the median image, whose step fits the budget, with its network and batch."""
    size = [float(n) for n in median]
    if dims == 2:
        size = [1.0, *(float(budget.size or min(n, 256)) for n in size[1:])]
    batch, smallest = (8, 2) if dims == 2 else (4, 2)
    while True:
        rounded = (ceil(size[0]), ceil(size[1]), ceil(size[2]))
        spec = network(rounded, spacing, dims, channels=facts.channels, classes=len(facts.labels) + 1)
        z, y, x = (ceil(n / d) * d for n, d in zip(rounded, spec.divisor, strict=True))
        patch = (z, y, x)
        if batch * prod(patch) <= budget.step_voxels and activation_bytes(spec, patch, batch) <= budget.memory_bytes:
            return patch, spec, batch
        if batch > smallest:
            batch //= 2
            continue
        # The axis that covers most of the image gives way first, so that the patch sees as much as it can of each.
        can = [axis for axis in range(3 - dims, 3) if size[axis] - spec.divisor[axis] >= _SMALLEST_EDGE]
        if not can:
            raise PlanError(
                f"No patch of at least {_SMALLEST_EDGE} voxels along each axis fits {budget.memory_bytes / 2**20:.1f} "
                f"MiB and {budget.step_voxels:,} voxels; {_by(patch)} does not.",
                code="plan.memory",
                found=budget.memory_bytes,
                expected=activation_bytes(spec, patch, batch),
                hint="Give more memory with --memory.",
            )
        axis = max(can, key=lambda a: (size[a] / median[a], size[a]))
        size[axis] -= spec.divisor[axis]


def _inference(shapes: np.ndarray, patch: Shape, spec: NetworkSpec) -> tuple[InferenceSpec, list[str]]:
    padded = np.ceil(shapes / np.array(spec.divisor)).astype(int) * np.array(spec.divisor)
    if spec.dims == 2:
        padded[:, 0] = 1
    largest = int(padded.prod(axis=1).max())
    bound = _WHOLE_PATCHES * prod(patch)
    if largest <= bound:
        why = f"Whole images at once: the largest has {largest:,} voxels, at most {_WHOLE_PATCHES} training patches."
        return InferenceSpec(mode="whole", patch=patch, whole_voxels=bound), [why]
    why = f"Sliding window: the largest image has {largest:,} voxels, more than {_WHOLE_PATCHES} training patches."
    return InferenceSpec(mode="window", patch=patch, whole_voxels=bound), [why]


def _augmentation(axes: tuple[Literal[0, 1, 2], ...], dims: int, spacing: Vector | None) -> AugmentationSpec:
    rotation = (180.0, 0.0, 0.0) if dims == 2 else (20.0, 20.0, 20.0)
    if spacing is None:
        # Pixels stand for mm: fields as wide as the structures of a photograph.
        return AugmentationSpec(mirror_axes=axes, rotation_degrees=rotation, elastic_mm=8.0, elastic_smoothness_mm=48.0)
    scale = max(float(np.median(spacing)), 0.1)
    return AugmentationSpec(
        mirror_axes=axes, rotation_degrees=rotation, elastic_mm=3.0 * scale, elastic_smoothness_mm=12.0 * scale
    )


def _by(shape: np.ndarray | Shape) -> str:
    return "×".join(str(int(n)) for n in shape)
