"""Whether an image is of the kind a model was made for."""

from __future__ import annotations

from dataclasses import dataclass

from segloop.plan import Plane, Range, SeriesRule
from segloop.volume import CANONICAL, Geometry, Reorientation

# Headers and affines round, so a range's ends are met within a thousandth.
_ROUNDING = 1e-3


_PLANES: dict[str, Plane] = {
    "S": "axial",
    "I": "axial",
    "P": "coronal",
    "A": "coronal",
    "L": "sagittal",
    "R": "sagittal",
}


@dataclass(frozen=True, slots=True)
class Stated:
    """What the headers of a DICOM series state beyond its grid and description.

    Attributes:
        body_part: BodyPartExamined; empty where not stated.
        contrast: Whether a contrast agent is stated.
        derived: Whether its images were computed from others.
        slice_thickness_mm: SliceThickness; None where not stated.
    """

    body_part: str = ""
    contrast: bool = False
    derived: bool = False
    slice_thickness_mm: float | None = None


def matches(
    rule: SeriesRule,
    geometry: Geometry | None,
    modality: str = "",
    description: str | None = None,
    channels: int = 1,
    stated: Stated | None = None,
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
        stated: What else the headers state; None where the input is not DICOM.

    >>> matches(SeriesRule(modalities=("MR",)), None, modality="CT")
    ('its modality is CT, not MR',)
    """
    reasons: list[str] = []
    if rule.modalities and modality and modality.upper() not in {m.upper() for m in rule.modalities}:
        reasons.append(f"its modality is {modality}, not {' or '.join(rule.modalities)}")
    words = rule.description_contains
    if words and description is not None and not any(word.casefold() in description.casefold() for word in words):
        reasons.append(f"its description {description!r} contains none of {', '.join(map(repr, words))}")
    banned = [word for word in rule.description_excludes if description and word.casefold() in description.casefold()]
    if banned:
        reasons.append(f"its description {description!r} contains {', '.join(map(repr, banned))}")
    if stated is not None:
        reasons += _header_reasons(rule, stated)
    if channels != rule.channels:
        reasons.append(f"it has {channels} channel(s) per voxel, not {rule.channels}")
    if geometry is not None:
        reasons += _grid_reasons(rule, geometry)
    return tuple(reasons)


def _header_reasons(rule: SeriesRule, stated: Stated) -> list[str]:
    reasons: list[str] = []
    if rule.body_parts and stated.body_part and stated.body_part.upper() not in {p.upper() for p in rule.body_parts}:
        reasons.append(f"its body part is {stated.body_part}, not {' or '.join(rule.body_parts)}")
    if rule.contrast is not None and rule.contrast != stated.contrast:
        reasons.append("it states no contrast agent" if rule.contrast else "it states a contrast agent")
    if rule.original_only and stated.derived:
        reasons.append("its images are derived from others")
    thickness = stated.slice_thickness_mm
    if rule.slice_thickness_mm is not None and thickness and not _inside(thickness, rule.slice_thickness_mm):
        reasons.append(f"its slices are {thickness:.3g} mm thick, outside {_text(rule.slice_thickness_mm)} mm")
    return reasons


def _grid_reasons(rule: SeriesRule, geometry: Geometry) -> list[str]:
    reasons: list[str] = []
    canonical = Reorientation.between(geometry, CANONICAL).geometry(geometry)
    # The slices are the array's first axis as read, whichever way they lie.
    if geometry.shape[0] < rule.min_slices:
        reasons.append(f"it has {geometry.shape[0]} slice(s), fewer than {rule.min_slices}")
    if rule.max_slices is not None and geometry.shape[0] > rule.max_slices:
        reasons.append(f"it has {geometry.shape[0]} slices, more than {rule.max_slices}")
    plane = _PLANES[geometry.axis_codes[0]]
    if rule.planes and plane not in rule.planes:
        reasons.append(f"its slices are {plane}, not {' or '.join(rule.planes)}")
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
