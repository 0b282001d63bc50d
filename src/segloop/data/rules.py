"""The parts of a Plan that follow from what the images and labels mean: values, mirroring, clean-up, applicability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from segloop.data.fingerprint import Fingerprint
from segloop.data.terms import words
from segloop.plan import Normalisation, PostSpec, PostStep, Range, SeriesRule

Axis = Literal[0, 1, 2]

# How far beyond the training data an image may lie: half a smallest one, 1.6 times a largest one.
_BELOW, _ABOVE = 0.5, 1.6
_FEWEST_SLICES = 3

# A label named by its side changes its meaning when left and right are exchanged.
_SIDES = (frozenset({"left", "right", "links", "rechts", "lt", "rt"}), ("左", "右"))


def mirror_axes(names: Sequence[str], *, photographs: bool = False) -> tuple[tuple[Axis, ...], list[str]]:
    """Axes (0 z, 1 y, 2 x) that augmentation may mirror, with the reasons.

    Args:
        names: Label names, English, German or Chinese.
        photographs: The axes are those of a picture, in which up and down are often arbitrary.
    """
    lateral = [name for name in names if _tells(name, *_SIDES)]
    if lateral:
        reasons = [f"Axis x is never mirrored: the label names {', '.join(lateral[:4])} tell left from right."]
        return ((1,) if photographs else ()), reasons
    if photographs:
        return (1, 2), ["Mirroring along y, x: no label name depends on a side."]
    return (2,), [
        "Mirroring along x only: bodies are nearly alike left and right and no label name depends on the side, while "
        "mirroring along y or z makes anatomy that does not exist."
    ]


def normalisation(facts: Fingerprint) -> tuple[tuple[Normalisation, ...], list[str]]:
    """How values become network input, by modality: fixed windows where the unit is physical, else per image."""
    if facts.modality in ("CT", "PT"):
        steps = tuple(
            Normalisation(
                kind="window",
                # Uptake has a true zero, and its background lies below what the labels hold.
                window=(0.0 if facts.modality == "PT" else value.low, max(value.high, value.low + 1e-3)),
                mean=value.mean,
                sd=max(value.sd, 1e-6),
            )
            for value in facts.intensities
        )
        unit = "Hounsfield units" if facts.modality == "CT" else "standardised uptake"
        span = "0" if facts.modality == "PT" else "the 0.5th"
        return steps, [
            f"Values are {unit}: clipped to {span} to the 99.5th percentile inside the labels, then their mean and sd."
        ]
    what = f"modality {facts.modality}" if facts.modality else "no stated modality"
    return (Normalisation(),), [f"Values have no fixed unit ({what}): z-score per image and channel."]


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


def _tells(name: str, tokens: frozenset[str], characters: tuple[str, ...]) -> bool:
    return bool(tokens & set(words(name))) or any(character in name for character in characters)
