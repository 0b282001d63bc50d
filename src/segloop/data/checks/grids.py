"""Do image and label map lie on one grid; if not, which part of the header differs, and can it be mended exactly?"""

from __future__ import annotations

import numpy as np
from jaxtyping import Shaped

from segloop.data.checks.faults import Finding
from segloop.volume import Geometry, Reorientation, Vector

TOLERANCE_MM = 1e-2
"""As `Dataset.read`: what lies closer is rounding in a header."""

_HALF_A_VOXEL = 0.5
_NEARLY_WHOLE = 0.05
_DEFAULT = Geometry((1, 1, 1))
_LOST = "The label map has the header that tools write who know none (1 mm, origin 0): it was saved from a bare array. "


def compare(image: Geometry, label: Geometry, *, mendable: bool) -> tuple[Finding, ...]:
    """What differs between the grids of an image and its label map; nothing where training would take them.

    Args:
        image: The image's.
        label: The label map's.
        mendable: Whether `regridded` has an answer.
    """
    if image.same_grid(label, TOLERANCE_MM):
        return ()
    turned = Reorientation.between(label, image.axis_codes).geometry(label)
    same_place = turned.same_grid(image, TOLERANCE_MM)
    lost = _is_default(label) and label.shape == image.shape and not same_place
    if label.axis_codes != image.axis_codes and not lost and _turned_apart(image, turned) <= _tolerance(image):
        mend = "" if mendable else "Find out which of the two headers is right; nothing here tells."
        cause = "" if mendable else "The axes run the other way, and turned back they lie elsewhere: a header is wrong."
        codes = label.axis_codes, image.axis_codes
        found = Finding("mirrored_label", *codes, cause=cause, mend=mend, mendable=mendable)
        if turned.shape == image.shape:
            return (found,)
        return found, Finding("shape_differs", list(turned.shape), list(image.shape), mendable=mendable)
    if label.shape != image.shape:
        return (Finding("shape_differs", list(label.shape), list(image.shape), mendable=mendable),)
    cause = _LOST + "Its voxels are those of the image." if lost else ""
    effects = {
        "direction_differs": (_turned_apart(image, label), _rows(label), _rows(image)),
        "spacing_differs": (_stretched_mm(image, label), _round(label.spacing_mm), _round(image.spacing_mm)),
        "origin_differs": (_shift_mm(image, label), _round(label.origin_mm), _round(image.origin_mm)),
    }
    largest = max(effect for effect, _, _ in effects.values())
    return tuple(
        Finding(kind, found, expected, cause=cause, mendable=mendable)
        for kind, (effect, found, expected) in effects.items()
        if effect >= min(TOLERANCE_MM, largest)
    )


def regridded(
    array: Shaped[np.ndarray, "z y x"], label: Geometry, image: Geometry
) -> Shaped[np.ndarray, "z2 y2 x2"] | None:
    """The label map on the image's grid, without interpolation and without a guess; None where that cannot be had.

    Args:
        array: The label map.
        label: Its grid.
        image: The image's grid.
    """
    turn = Reorientation.between(label, image.axis_codes)
    turned = turn.geometry(label)
    if turned.same_grid(image, TOLERANCE_MM):
        return turn.array(array)
    if label.shape == image.shape and (_is_default(label) or _only_rounded(image, label)):
        return array
    if turned.shape != image.shape and _turned_apart(image, turned) <= _tolerance(image):
        return _padded(turn.array(array), turned, image)
    return None


def _only_rounded(image: Geometry, label: Geometry) -> bool:
    """All corners within half a voxel, or the same place and direction with another distance between voxels."""
    half = _HALF_A_VOXEL * min(image.spacing_mm) + TOLERANCE_MM
    if image.same_grid(label, half):
        return True
    return _shift_mm(image, label) <= half and _turned_apart(image, label) <= _tolerance(image)


def _padded(
    array: Shaped[np.ndarray, "z y x"], own: Geometry, image: Geometry
) -> Shaped[np.ndarray, "z2 y2 x2"] | None:
    """The label map padded with background and cropped to the image's grid, where voxels fall on voxels."""
    corner = np.array(image.to_index(np.asarray(own.origin_mm)))
    start = np.rint(corner).astype(int)
    drift = np.abs(np.asarray(own.spacing_mm) - image.spacing_mm) * own.shape / np.asarray(image.spacing_mm)
    if np.abs(corner - start).max() > _NEARLY_WHOLE or drift.max() > _NEARLY_WHOLE:
        return None
    low = np.maximum(start, 0)
    high = np.minimum(start + own.shape, image.shape)
    if (high <= low).any():
        return None
    target = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    source = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, start, strict=True))
    if np.count_nonzero(array[source]) != np.count_nonzero(array):
        return None
    result = np.zeros(image.shape, array.dtype)
    result[target] = array[source]
    return result


def _is_default(geometry: Geometry) -> bool:
    """1 mm, origin 0, axes along LPS or RAS: what a tool writes that has only an array."""
    straight = [np.asarray(_DEFAULT.direction), np.asarray(_DEFAULT.direction) * [[1.0], [-1.0], [-1.0]]]
    axes = np.asarray(geometry.direction)
    return (
        geometry.spacing_mm == _DEFAULT.spacing_mm
        and not np.any(geometry.origin_mm)
        and any(np.allclose(axes, known) for known in straight)
    )


def _turned_apart(image: Geometry, label: Geometry) -> float:
    """How far, in mm, the far ends of the axes move apart by direction alone."""
    apart = np.linalg.norm(np.subtract(image.direction, label.direction), axis=1)
    return float((apart * image.extent_mm).max())


def _stretched_mm(image: Geometry, label: Geometry) -> float:
    pairs = zip(image.spacing_mm, label.spacing_mm, image.shape, strict=True)
    return max(abs(a - b) * (n - 1) for a, b, n in pairs)


def _shift_mm(image: Geometry, label: Geometry) -> float:
    return float(np.abs(np.subtract(image.origin_mm, label.origin_mm)).max())


def _tolerance(image: Geometry) -> float:
    """Half the smallest voxel: axes that drift apart less are the same axes."""
    return _HALF_A_VOXEL * min(image.spacing_mm)


def _round(values: Vector) -> list[float]:
    return [round(v, 4) for v in values]


def _rows(geometry: Geometry) -> list[list[float]]:
    return [[round(v, 6) for v in row] for row in geometry.direction]
