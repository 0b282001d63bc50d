"""The parts of a Plan that say what training shows the network and what it punishes: augmentation, loss, sampling."""

from __future__ import annotations

from math import ceil
from typing import Literal

import numpy as np

from segloop.data.fingerprint import Fingerprint, LabelFingerprint
from segloop.data.rules import Axis, has_air
from segloop.plan import AugmentationSpec, LossSpec
from segloop.volume import Vector

# Spacings that differ by more than this between scanners show the network images of different sharpness.
_VARIED = 1.25
_LOW_RESOLUTION, _BIAS_FIELD = 0.1, 0.15
_DOUBT = 0.5

# Of measured labels, retinal vessels have a slenderness above 150 and organs, lesions and cells one of at most 10.
_SLENDER, _THIN_VOXELS = 30.0, 12.0
_MOST_EROSIONS = 10

_TINY = 1e-3
_OFTEN = 0.75


def augmentation(
    facts: Fingerprint,
    axes: tuple[Axis, ...],
    pairs: tuple[tuple[int, int], ...],
    *,
    dims: Literal[2, 3],
    spacing_mm: Vector | None,
    guided: bool = False,
) -> tuple[AugmentationSpec, list[str]]:
    """Random variants: the usual ones, and those that these images give a reason for.

    Args:
        facts: What the data are like.
        axes: Axes that may be mirrored.
        pairs: Label numbers that then change places.
        dims: Of the network.
        spacing_mm: Of the training grid; None where each photograph keeps its own pixels.
        guided: The network is shown the labels of a coarser one.
    """
    rotation = (180.0, 0.0, 0.0) if dims == 2 else (20.0, 20.0, 20.0)
    turned = "by any angle" if dims == 2 else "by up to 20°"
    # Pixels stand for mm in a photograph: fields as wide as its structures.
    scale = 8 / 3 if spacing_mm is None else max(float(np.median(spacing_mm)), 0.1)
    smoothness = 48.0 if spacing_mm is None else 12.0 * scale
    unit = "pixels" if spacing_mm is None else "mm"
    reasons = [
        f"Augmentation: patches are turned {turned}, scaled, bent by up to {3 * scale:.3g} {unit} and changed in "
        "brightness, contrast, sharpness and noise, so that a few cases stand for many."
    ]
    varied = _spread(facts) >= _VARIED and not facts.photographs
    if varied:
        reasons.append(
            f"Low resolution is simulated in {_LOW_RESOLUTION:.0%} of the patches: voxel sizes differ "
            f"{_spread(facts):.2g}-fold between cases, so some images are blurrier than others."
        )
    uneven = has_air(facts)
    if uneven:
        reasons.append(
            f"A smooth bias field is laid over {_BIAS_FIELD:.0%} of the patches: MR coils brighten what lies near them."
        )
    if guided:
        reasons.append(
            f"In {_DOUBT:.0%} of the patches the coarse network's labels are worn, swollen, holed or withheld: it "
            "knows the training cases better than new ones, and must not be trusted blindly."
        )
    spec = AugmentationSpec(
        mirror_axes=axes,
        rotation_degrees=rotation,
        elastic_mm=3.0 * scale,
        elastic_smoothness_mm=smoothness,
        low_resolution_probability=_LOW_RESOLUTION if varied else 0.0,
        bias_field_probability=_BIAS_FIELD if uneven else 0.0,
        swap_labels=pairs,
        doubt_probability=_DOUBT if guided else 0.0,
    )
    return spec, reasons


def loss(facts: Fingerprint) -> tuple[LossSpec, list[str]]:
    """Dice and cross-entropy; with centre lines where a label is made of thin lines or tubes."""
    thin = [label for label in facts.labels if _is_thin(label)]
    if not thin:
        return LossSpec(), [
            "Loss: Dice, which counts small labels as much as large ones, and cross-entropy, which every voxel has a "
            "say in."
        ]
    widest = max(label.width for label in thin)
    # A vessel twice as wide as the typical one is still worn down to its centre line.
    spec = LossSpec(extra="cldice", iterations=min(max(ceil(widest), LossSpec().iterations), _MOST_EROSIONS))
    names = ", ".join(label.spec.name for label in thin)
    return spec, [
        f"Loss: Dice, cross-entropy and centre-line Dice, because {names} is thin like a vessel (about "
        f"{widest:.1f} voxels wide) and a gap in it matters more than its area."
    ]


def foreground(facts: Fingerprint, usual: float) -> tuple[float, list[str]]:
    """Share of patches centred on a label: more of them where a label is tiny."""
    tiny = [label for label in facts.labels if 0 < label.share < _TINY]
    if not tiny:
        return usual, [f"{usual:.0%} of the patches are centred on a label, so that every step sees some."]
    names = ", ".join(f"{label.spec.name} ({label.share:.2g} of all voxels)" for label in tiny)
    return max(_OFTEN, usual), [
        f"{_OFTEN:.0%} of the patches are centred on a label instead of {usual:.0%}, because {names} would hardly be "
        "seen otherwise."
    ]


def _is_thin(label: LabelFingerprint) -> bool:
    return label.slenderness >= _SLENDER and 0 < label.width <= _THIN_VOXELS


def _spread(facts: Fingerprint) -> float:
    """How many times larger voxels are in cases with large ones than in those with small ones, on the worst axis."""
    low, high = np.percentile(np.array(facts.spacings_mm), [10, 90], axis=0)
    return float((high / low).max())
