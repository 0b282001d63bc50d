"""The parts of a Plan that follow from what the images and labels mean: values, mirroring, clean-up, applicability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from segloop.data.checks.sides import lateral, lateral_pairs
from segloop.data.fingerprint import Fingerprint, Intensity
from segloop.plan import Normalisation, PostSpec, PostStep, Range, Region, SeriesRule

Axis = Literal[0, 1, 2]

# How far beyond the training data an image may lie: half a smallest one, 1.6 times a largest one.
_BELOW, _ABOVE = 0.5, 1.6
_FEWEST_SLICES = 3

# Above this share of air an MR image's own mean and deviation say more about the air than about the body.
_MUCH_AIR = 0.2
# Uptake whose mean lies this far above its median is skewed.
_SKEWED = 1.2


def mirroring(
    names: Mapping[int, str], regions: Sequence[Region] = (), *, photographs: bool = False
) -> tuple[tuple[Axis, ...], tuple[tuple[int, int], ...], list[str]]:
    """Axes (0 z, 1 y, 2 x) that augmentation may mirror, label numbers that then change places, and the reasons.

    Args:
        names: Label numbers and names, English, German or Chinese.
        regions: Overlapping labels; each needs its mirror image among them.
        photographs: The axes are those of a picture, in which up and down are often arbitrary.
    """
    others: tuple[Axis, ...] = (1,) if photographs else ()
    sided = [number for number, name in names.items() if lateral(name)]
    if not sided:
        if photographs:
            return (1, 2), (), ["Mirroring along y and x: no label name depends on a side."]
        return (
            (2,),
            (),
            [
                "Mirroring along x only: bodies are nearly alike left and right and no label name depends on the side, "
                "while mirroring along y or z makes anatomy that does not exist."
            ],
        )
    pairs = tuple(lateral_pairs(names).values())
    unpaired = [names[number] for number in sided if not any(number in pair for pair in pairs)]
    if unpaired:
        return (
            others,
            (),
            [
                f"Axis x is never mirrored: {', '.join(unpaired[:4])} tells left from right and has no opposite among "
                "the labels that it could change places with."
            ],
        )
    if not _mirrored_regions_exist(regions, pairs):
        return others, (), ["Axis x is never mirrored: a region of one side has no opposite among the regions."]
    swapped = "; ".join(f"{names[left]} and {names[right]}" for left, right in pairs)
    return (
        (*others, 2),
        pairs,
        [
            f"Mirroring along {' and '.join('zyx'[axis] for axis in (*others, 2))}: when x is mirrored, left and right "
            f"labels change places ({swapped})."
        ],
    )


def _mirrored_regions_exist(regions: Sequence[Region], pairs: Sequence[tuple[int, int]]) -> bool:
    opposite = {one: other for left, right in pairs for one, other in ((left, right), (right, left))}
    outputs = [frozenset(region.labels) for region in regions]
    return all(frozenset(opposite.get(number, number) for number in output) in outputs for output in outputs)


def has_air(facts: Fingerprint) -> bool:
    """True for MR images with air around the body, and not for crops from within it."""
    return facts.modality == "MR" and facts.empty >= _MUCH_AIR


def normalisation(facts: Fingerprint) -> tuple[tuple[Normalisation, ...], list[str]]:
    """How values become network input, by modality: fixed windows where the unit is physical, else per image."""
    if facts.modality == "CT":
        return tuple(_window(value, value.low) for value in facts.intensities), [
            "Values are Hounsfield units, the same on every scanner: clipped to the 0.5th to the 99.5th percentile "
            "found inside the labels, then standardised with the mean and deviation found there."
        ]
    if facts.modality == "PT":
        if any(value.mean > _SKEWED * value.median for value in facts.intensities):
            return tuple(_logarithm(value) for value in facts.intensities), [
                "Values are standardised uptake, the same on every scanner but skewed (mean "
                f"{facts.intensities[0].mean:.3g}, median {facts.intensities[0].median:.3g} inside the labels): the "
                "logarithm of 1 + uptake, clipped at the 99.5th percentile, tells moderate from low uptake better than "
                "uptake itself, most of whose range a few hot voxels take."
            ]
        return tuple(_window(value, 0.0) for value in facts.intensities), [
            # Uptake has a true zero, and its background lies below what the labels hold.
            "Values are standardised uptake, the same on every scanner: clipped to 0 to the 99.5th percentile found "
            "inside the labels, then standardised with the mean and deviation found there."
        ]
    if facts.photographs and facts.channels == 3:
        return (Normalisation(),), [
            "Red, green and blue are each standardised per image, since light and cameras differ between pictures."
        ]
    what = f"modality {facts.modality}" if facts.modality else "no stated modality"
    if has_air(facts):
        # Where most of an image is air, half a per cent of it is a good part of the body.
        return (Normalisation(kind="body", clip_percentiles=(0.5, 99.9)),), [
            f"Values have no fixed unit ({what}) and {facts.empty:.0%} of the median image is air: standardised per "
            "image and channel with the mean and deviation inside the body, so that the size of the air around it does "
            "not matter."
        ]
    return (Normalisation(),), [f"Values have no fixed unit ({what}): standardised per image and channel (z-score)."]


def _window(value: Intensity, low: float) -> Normalisation:
    return Normalisation(
        kind="window", window=(low, max(value.high, value.low + 1e-3)), mean=value.mean, sd=max(value.sd, 1e-6)
    )


def _logarithm(value: Intensity) -> Normalisation:
    return Normalisation(kind="log", window=(0.0, value.high), mean=value.log_mean, sd=max(value.log_sd, 1e-6))


def post(facts: Fingerprint) -> tuple[PostSpec, list[str]]:
    """Only the largest part is kept of a label that is one part in every training case, and is not counted in parts."""
    single = [
        label.spec
        for label in facts.labels
        if label.most_components == 1 and label.cases > 1 and not label.spec.components and not facts.photographs
    ]
    if not single:
        return PostSpec(), ["No clean-up: no label is one connected part in every training case."]
    steps = tuple(PostStep(label=spec.value, largest_component=True) for spec in single)
    return PostSpec(steps=steps), [
        f"Largest part only for {', '.join(s.name for s in single)}: one part in every training case."
    ]


def series_rule(facts: Fingerprint) -> SeriesRule:
    """Which images the model is for: modality, channels, and spacing and field of view near the training data's."""
    modalities = (facts.modality,) if facts.modality else ()
    if facts.photographs:
        return SeriesRule(modalities=modalities, channels=facts.channels)
    extents = np.array(facts.extents_mm)
    # A single slice has no measured distance to the next, so only its pixels count.
    spacings = [sorted(d if s[0] > 1 else d[1:]) for s, d in zip(facts.shapes, facts.spacings_mm, strict=True)]
    z, y, x = (_range(extents[:, axis].tolist()) for axis in range(3))
    return SeriesRule(
        modalities=modalities,
        min_slices=_FEWEST_SLICES if facts.dims == 3 else 1,
        spacing_mm=(_range([d[0] for d in spacings]), _range([d[-1] for d in spacings])),
        extent_mm=(z, y, x),
        channels=facts.channels,
    )


def _range(values: Sequence[float]) -> Range:
    return round(min(values) * _BELOW, 4), round(max(values) * _ABOVE, 4)
