"""Whether an image is of the kind a model was made for."""

from __future__ import annotations

from segloop.plan import Range, SeriesRule
from segloop.volume import CANONICAL, Geometry, Reorientation

# Headers and affines round, so a range's ends are met within a thousandth.
_ROUNDING = 1e-3


def matches(
    rule: SeriesRule,
    geometry: Geometry | None,
    modality: str = "",
    description: str | None = None,
    channels: int = 1,
) -> tuple[str, ...]:
    """Why an image does not fit a rule, one clause per reason; empty when it fits.

    The same function judges DICOM series and plain files. What an input does not state is not held against it: an empty
    `modality` (NIfTI), a `description` of None (not DICOM), a `geometry` of None (a faulty series, refused elsewhere).

    Args:
        rule: The Plan's rule.
        geometry: The image's grid; spacing and extent are compared after turning it to the canonical orientation.
        modality: DICOM modality.
        description: SeriesDescription; an empty one contains no word.
        channels: 3 for colour.

    >>> matches(SeriesRule(modalities=("MR",)), None, modality="CT")
    ('its modality is CT, not MR',)
    """
    reasons: list[str] = []
    if rule.modalities and modality and modality.upper() not in {m.upper() for m in rule.modalities}:
        reasons.append(f"its modality is {modality}, not {' or '.join(rule.modalities)}")
    words = rule.description_contains
    if words and description is not None and not any(word.casefold() in description.casefold() for word in words):
        reasons.append(f"its description {description!r} contains none of {', '.join(map(repr, words))}")
    if channels != rule.channels:
        reasons.append(f"it has {channels} channel(s) per voxel, not {rule.channels}")
    if geometry is not None:
        reasons += _grid_reasons(rule, geometry)
    return tuple(reasons)


def _grid_reasons(rule: SeriesRule, geometry: Geometry) -> list[str]:
    reasons: list[str] = []
    canonical = Reorientation.between(geometry, CANONICAL).geometry(geometry)
    # The slices are the array's first axis as read, whichever way they lie.
    if geometry.shape[0] < rule.min_slices:
        reasons.append(f"it has {geometry.shape[0]} slice(s), fewer than {rule.min_slices}")
    if rule.spacing_mm is not None:
        # A single slice has no measured distance along z.
        spacing = sorted(geometry.spacing_mm if geometry.shape[0] > 1 else geometry.spacing_mm[1:])
        for name, value, allowed in zip(
            ("finest", "coarsest"), (spacing[0], spacing[-1]), rule.spacing_mm, strict=True
        ):
            if not _inside(value, allowed):
                reasons.append(f"its {name} voxel spacing is {value:.3g} mm, outside {_text(allowed)} mm")
    if rule.extent_mm is not None:
        for side, value, allowed in zip(
            ("head to foot", "front to back", "side to side"), canonical.extent_mm, rule.extent_mm, strict=True
        ):
            if not _inside(value, allowed):
                reasons.append(f"it covers {value:.4g} mm {side}, outside {_text(allowed)} mm")
    return reasons


def _inside(value: float, allowed: Range) -> bool:
    low, high = allowed
    return low * (1 - _ROUNDING) <= value <= high * (1 + _ROUNDING)


def _text(allowed: Range) -> str:
    return f"{allowed[0]:.4g} to {allowed[1]:.4g}"
