"""Fingerprint and budget to Plan, with the reason for every choice.

The rules follow nnU-Net (Isensee et al., Nat Methods 18:203, 2021) where it is about the data - median spacing, patch,
pooling, kernels, normalisation - and are cut down to a CPU where it is about size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Literal

import numpy as np
from jaxtyping import Integer

from segloop.data.fingerprint import Fingerprint
from segloop.data.reasons import about_cascade, about_coverage, about_size
from segloop.data.rules import Axis, mirroring, normalisation, post, series_rule
from segloop.data.sizing import COVERED, Budget, Fit, Need, epochs, fit_coarser, fit_network
from segloop.data.teaching import augmentation, foreground, loss
from segloop.errors import PlanError
from segloop.plan import InferenceSpec, LossSpec, NetworkSpec, Plan, PreparationSpec, TrainingSpec
from segloop.volume import Shape, Vector

__all__ = ["Budget", "Variant", "make_plan"]

Variant = Literal["auto", "full", "low", "cascade"]
"""At which resolution a 3-D network works: full, low, or first low and then full."""

# An axis this many times coarser than the others is kept finer than its median (nnU-Net's threshold).
_ANISOTROPY = 3.0
_ANISOTROPIC_PERCENTILE = 10.0
# Fewer slices than this tell a 3-D network no more than a 2-D one.
_FEWEST_SLICES = 5
# A network normalises over what it sees: far beyond its training patch, a window is closer to what it learnt.
_WHOLE_PATCHES = 4
# Mirroring along three axes would be eight passes for one answer.
_MOST_PASSES = 4


def make_plan(
    facts: Fingerprint,
    budget: Budget | None = None,
    *,
    name: str = "",
    dims: Literal[2, 3] | None = None,
    variant: Variant = "auto",
) -> Plan:
    """The Plan for data of this fingerprint.

    Args:
        facts: What the data are like.
        budget: Memory and work of one step; the default Budget when None.
        name: The model's name; the dataset's in lower case when empty.
        dims: 2 or 3; what the images suggest when None. 2 on volumes trains slice by slice.
        variant: `full` resolution; `low`, on voxels so coarse that a patch shows a quarter of the image; `cascade`,
            where a network at low resolution shows what it finds to one at full resolution; `auto` is `cascade` where a
            patch at full resolution shows less than a quarter of the median image, else `full`.

    Raises:
        PlanError: `plan.memory` with the smallest budget that would do; `plan.invalid` for a 3-D plan of 2-D images, or
            a low or cascade plan where a patch shows a quarter of the image anyway.
    """
    budget = budget or Budget()
    chosen, why_dims = _dimensions(facts, dims)
    if chosen == 3 and budget.size is not None:
        raise PlanError(
            f"A patch edge of {budget.size} pixels was asked for, which only 2-D plans have; this one is 3-D.",
            found=budget.size,
            expected=None,
            hint="Leave out --size, or add --dims 2.",
        )
    losses, why_loss = loss(facts)
    grid = _grid(facts, budget, chosen, variant, losses)
    coarse, spacing, fit = None, grid.spacing_mm, grid.fit
    if grid.guided:
        coarse = _uncleaned(make_plan(facts, budget, name=name, dims=dims, variant="low"), post(facts)[1])
    shapes = _shapes_at(facts, spacing)
    values, why_values = normalisation(facts)
    axes, pairs, why_mirror = mirroring(
        {label.spec.value: label.spec.name for label in facts.labels}, facts.regions, photographs=facts.photographs
    )
    augmented, why_augmented = augmentation(facts, axes, pairs, dims=chosen, spacing_mm=spacing, guided=grid.guided)
    focus, why_focus = foreground(facts, TrainingSpec().foreground_fraction)
    inference, why_inference = _inference(shapes, fit.patch, fit.network, axes)
    cleaning, why_post = post(facts)
    return Plan(
        name=name or facts.name.lower(),
        labels=tuple(label.spec for label in facts.labels),
        regions=facts.regions,
        inputs=series_rule(facts),
        preparation=PreparationSpec(spacing_mm=spacing, normalisation=values),
        network=fit.network,
        training=TrainingSpec(
            patch=fit.patch,
            batch=fit.batch,
            epochs=epochs(chosen, fit, budget),
            augmentation=augmented,
            ignore_label=facts.ignore_label,
            loss=losses,
            foreground_fraction=focus,
        ),
        inference=inference,
        post=cleaning,
        coarse=coarse,
        reasons=(
            why_dims,
            *grid.reasons,
            *why_values,
            *why_mirror,
            *why_augmented,
            *why_loss,
            *why_focus,
            *why_inference,
            *why_post,
        ),
    )


def _uncleaned(coarse: Plan, said: Sequence[str]) -> Plan:
    """A cascade's first plan without clean-up; `said` are the reasons for what it would have had."""
    why = "No clean-up: the second network sees all that this one finds, and judges itself which parts to believe."
    reasons = [reason for reason in coarse.reasons if reason not in said]
    return coarse.changed({"post.steps": [], "reasons": [*reasons, why]})


def _dimensions(facts: Fingerprint, asked: Literal[2, 3] | None) -> tuple[Literal[2, 3], str]:
    if asked == 3 and facts.dims == 2:
        raise PlanError("The images have one slice each: a 3-D plan cannot be made from them.", found=2, expected=3)
    if facts.dims == 2:
        return 2, "2-D network: every image is a single slice."
    slices = int(np.median([shape[0] for shape in facts.shapes]))
    if asked == 2:
        return 2, f"2-D network because it was asked for: each of the {slices} slices (median) is segmented by itself."
    if asked is None and slices < _FEWEST_SLICES:
        return 2, f"2-D network: the median image has {slices} slices, too few for the third dimension to tell much."
    return (
        3,
        f"3-D network: the median image has {slices} slices, and what lies above and below a voxel helps to name it.",
    )


@dataclass(frozen=True, slots=True)
class _Grid:
    """What a network works on, and what fits there.

    Args:
        spacing_mm: Of the training grid; None where each image keeps its own.
        fit: Patch, batch and network.
        reasons: Why.
        guided: The network is the second one of a cascade.
    """

    spacing_mm: Vector | None
    fit: Fit
    reasons: tuple[str, ...]
    guided: bool = False


def _grid(facts: Fingerprint, budget: Budget, dims: Literal[2, 3], variant: Variant, losses: LossSpec) -> _Grid:
    spacing, why_spacing = _target_spacing(facts)
    need = _need(facts, spacing, dims, losses)
    fit = fit_network(need, budget)
    why: list[str] = []
    if dims == 3 and variant != "full":
        try:
            coarser = fit_coarser(need, fit, budget)
            if coarser is not None and variant == "low":
                spacing, why_spacing = _lowered(need, fit, coarser)
                return _Grid(spacing, coarser[1], (why_spacing, *about_size(*coarser, budget)))
            if coarser is not None:
                # The coarse network's labels become channels of the fine one's input, one for each label.
                guided = replace(need, channels=need.channels + len(facts.labels))
                why = [about_cascade(need, fit, coarser[0].median)]
                second = fit_network(guided, budget)
                return _Grid(spacing, second, (*why, why_spacing, *about_size(guided, second, budget)), guided=True)
        except PlanError as fault:
            if variant != "auto":
                raise
            why = [f"No cascade, although a patch shows only {about_coverage(need, fit)}: {fault.message}"]
    if variant in ("low", "cascade"):
        raise PlanError(
            f"A coarser plan would win nothing: a patch at full resolution shows {about_coverage(need, fit)}.",
            found=round(prod(fit.patch) / prod(need.median), 3),
            expected=f"less than {COVERED} in 3-D",
            hint="Plan at full resolution.",
        )
    return _Grid(spacing, fit, (*why, why_spacing, *about_size(need, fit, budget)))


def _need(facts: Fingerprint, spacing: Vector | None, dims: Literal[2, 3], losses: LossSpec) -> Need:
    shapes = _shapes_at(facts, spacing)
    z, y, x = (int(n) for n in np.median(shapes, axis=0).round())
    return Need(
        median=(z, y, x),
        spacing_mm=spacing or (1.0, 1.0, 1.0),
        voxels=int(shapes.prod(axis=1).sum()),
        channels=facts.channels,
        outputs=facts.outputs,
        dims=dims,
        loss=losses,
        labels=len(facts.labels),
    )


def _lowered(need: Need, fit: Fit, coarser: tuple[Need, Fit]) -> tuple[Vector, str]:
    z, y, x = (round(d, 4) for d in coarser[0].spacing_mm)
    why = (
        f"Spacing {z:g} × {y:g} × {x:g} mm (z, y, x): so coarse that a patch shows a quarter of the median image; "
        f"at full resolution it would show {about_coverage(need, fit)}."
    )
    return (z, y, x), why


def _target_spacing(facts: Fingerprint) -> tuple[Vector | None, str]:
    if facts.photographs:
        return None, "No resampling: the images carry no spacing, so each keeps its own pixels."
    spacings = np.array(facts.spacings_mm)
    target = np.median(spacings, axis=0)
    shape = np.median(facts.shapes, axis=0)
    why = "the median over the cases, so that most images hardly change"
    worst = int(np.argmax(target))
    others = [axis for axis in range(3) if axis != worst]
    if target[worst] > _ANISOTROPY * target[others].max() and shape[worst] * _ANISOTROPY < shape[others].min():
        target[worst] = max(np.percentile(spacings[:, worst], _ANISOTROPIC_PERCENTILE), target[others].max())
        why = (
            f"the median over the cases, but axis {'zyx'[worst]} at its {_ANISOTROPIC_PERCENTILE:.0f}th percentile: "
            "it is far coarser than the others and thin slices should not be thrown away"
        )
    z, y, x = (round(float(value), 6) for value in target)
    return (z, y, x), f"Spacing {z:g} × {y:g} × {x:g} mm (z, y, x): {why}."


def _shapes_at(facts: Fingerprint, spacing: Vector | None) -> Integer[np.ndarray, "cases 3"]:
    """Voxels (case, 3) of each image once it is resampled to `spacing`."""
    if spacing is None:
        return np.array(facts.shapes)
    voxels = np.round(np.array(facts.extents_mm) / np.array(spacing))
    return np.asarray(np.maximum(voxels, 1), dtype=int)


def _inference(
    shapes: np.ndarray, patch: Shape, spec: NetworkSpec, axes: tuple[Axis, ...]
) -> tuple[InferenceSpec, list[str]]:
    padded = np.ceil(shapes / np.array(spec.divisor)).astype(int) * np.array(spec.divisor)
    if spec.dims == 2:
        padded[:, 0] = 1
    largest = int(padded.prod(axis=1).max())
    bound = _WHOLE_PATCHES * prod(patch)
    if largest <= bound:
        why = (
            f"Inference on whole images: the largest has {largest:,} voxels, at most {_WHOLE_PATCHES} patches of the "
            "training, so the network still sees what it learnt on."
        )
        if not axes or 2 ** len(axes) > _MOST_PASSES:
            return InferenceSpec(mode="whole", patch=patch, whole_voxels=bound), [why]
        again = (
            f"Each image is also segmented mirrored along {' and '.join('zyx'[axis] for axis in axes)}, and the "
            "answers averaged: they err in different places, and a further pass over so small an image costs little."
        )
        return InferenceSpec(mode="whole", patch=patch, whole_voxels=bound, mirror_axes=axes), [why, again]
    why = (
        f"Inference by a sliding window of one patch: the largest image has {largest:,} voxels, more than "
        f"{_WHOLE_PATCHES} training patches."
    )
    return InferenceSpec(mode="window", patch=patch, whole_voxels=bound), [why]
