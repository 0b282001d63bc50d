"""The grid that a series' slices form, or the reason why they form none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from segloop.errors import InputError
from segloop.io.dicom.refs import RESAMPLED, SHEARED
from segloop.io.dicom.regrid import Regrid
from segloop.io.dicom.slices import PIXEL_SIZES, Slice
from segloop.plan import UnevenSlices
from segloop.volume import Geometry, Vector

SLICE_TOLERANCE_MM = 0.06
SLICE_TOLERANCE = 0.01
"""A slice may lie off its place in a regular stack by the larger of 0.06 mm (positions are often rounded to 0.1 mm) and
1 % of the spacing; no step may be half as long or half as long again as the usual one."""
MAX_SHEAR = 5e-3
"""Sine of the angle between stack and slice normal, 0.29 degrees: rounding stays far below, a gantry tilt far above."""
MAX_TILT_DEGREES = 45.0
"""No gantry tilts further (30 degrees are usual); beyond it the positions are wrong."""
MAX_UNEVEN = 3.0
"""Slices further apart than this multiple of the usual distance are not bridged by interpolation."""

_SAME_ORIENTATION = 1e-3
_SAME_SPACING = 1e-3
_UNIT_LENGTH = 1e-2
_SAME_PLACE_MM = 1e-2
# Images of one projection state no place in the patient and need none for a 2-D model.
_PROJECTIONS = frozenset({"CR", "DX", "MG", "IO", "PX", "RF", "XA", "XC", "ES", "GM", "OP", "SM", "US", "OT"})


@dataclass(frozen=True, slots=True)
class Stack:
    """Slices in order, and the grid they form."""

    slices: tuple[Slice, ...]
    geometry: Geometry
    notes: tuple[str, ...] = ()
    regrid: Regrid | None = None
    warnings: tuple[str, ...] = ()


def stack(slices: Sequence[Slice], modality: str, uneven: UnevenSlices = "refuse") -> Stack:
    """Order slices along their normal and find the grid.

    The distance between slices is measured from their positions; SliceThickness and SpacingBetweenSlices serve only
    for a single slice, and then a note says so. A slice missing at either end leaves no trace in the positions. A stack
    aslant to its slices (gantry tilt) gets a rectangular grid and a `regrid` onto it.

    Args:
        slices: In any order.
        modality: DICOM modality; a projection needs no position.
        uneven: Whether slices at varying distances are refused or get a `regrid` as well.

    Raises:
        InputError: `geometry.mixed_orientation`, `geometry.missing_slices`, `geometry.nonuniform_spacing`,
            `geometry.gantry_tilt` or `geometry.invalid`.

    Source: DICOM PS3.3 C.7.6.2.1.1 (image position and orientation).
    """
    sizes = {s.size for s in slices}
    if len(sizes) > 1:
        raise InputError(
            f"Its slices have different sizes: {_some(sizes)} (rows, columns, channels).",
            code="geometry.mixed_orientation",
        )
    if len(slices) == 1 and not slices[0].position and modality.upper() in _PROJECTIONS:
        return _projection(slices[0])
    for s in slices:
        if len(s.position) != 3 or len(s.orientation) != 6 or len(s.spacing) != 2 or not min(s.spacing) > 0:
            raise InputError(
                f"{s.name} does not say where it lies: position, orientation or pixel spacing is absent or malformed.",
                code="geometry.invalid",
                found={"position": list(s.position), "orientation": list(s.orientation), "spacing": list(s.spacing)},
                expected="3, 6 and 2 numbers",
            )
    row, column = _axes(slices)
    spacing = _common_spacing(slices)
    normal = np.cross(row, column)
    positions = np.array([s.position for s in slices])
    order = np.argsort(positions @ normal, kind="stable")
    positions = positions[order]
    notes: tuple[str, ...] = ()
    if len(slices) == 1:
        thickness = slices[0].thickness
        spaces = _Spaces(thickness or 1.0, normal)
        notes = (
            f"a single slice: {spaces.step:g} mm along z is {'what the header states' if thickness else 'assumed'}",
        )
    else:
        spaces = _spaces(positions, normal, min(spacing), uneven)
        notes = _disagreement(slices, spaces.step)
    rows, columns, _ = slices[0].size
    geometry = Geometry(
        (len(slices), rows, columns),
        (spaces.step, *spacing),
        _vector(positions[0]),
        (_vector(normal if spaces.warnings else spaces.direction), _vector(column), _vector(row)),
    )
    notes += _pixel_size(slices[0])
    ordered = tuple(slices[i] for i in order)
    if not spaces.warnings:
        return Stack(ordered, geometry, notes)
    regrid = Regrid.between(geometry, [_vector(position) for position in positions], spaces.step)
    return Stack(ordered, regrid.regular, notes + spaces.notes, regrid, spaces.warnings)


def _pixel_size(first: Slice) -> tuple[str, ...]:
    said = PIXEL_SIZES[first.spacing_from]
    return (said,) if said else ()


def _disagreement(slices: Sequence[Slice], step: float) -> tuple[str, ...]:
    """A note where the header states another third spacing than the positions have; the positions count."""
    stated = slices[0].thickness
    if stated is None or abs(stated - step) <= max(SLICE_TOLERANCE_MM, SLICE_TOLERANCE * step):
        return ()
    return (f"its slices lie {step:.4g} mm apart, while its header states {stated:.4g} mm; the positions count",)


def _projection(only: Slice) -> Stack:
    rows, columns, _ = only.size
    stated = len(only.spacing) == 2 and min(only.spacing) > 0
    spacing = (1.0, *(only.spacing if stated else (1.0, 1.0)))
    note = "a projection: it states no place in the patient" + (
        "" if stated else ", and no pixel size; 1 mm is assumed"
    )
    return Stack((only,), Geometry((1, rows, columns), _vector(spacing)), (note, *_pixel_size(only)))


def _axes(slices: Sequence[Slice]) -> tuple[np.ndarray, np.ndarray]:
    """The direction along a row and down a column that all slices share, as unit vectors."""
    orientations = np.array([s.orientation for s in slices]).reshape(-1, 2, 3)
    apart = np.abs(orientations - orientations[0]).max()
    if not apart <= _SAME_ORIENTATION:
        kinds = len({tuple(np.round(o.ravel(), 2)) for o in orientations})
        raise InputError(
            f"Its slices lie in {kinds} different orientations.",
            code="geometry.mixed_orientation",
            found=kinds,
            expected=1,
            hint="A survey image, or two stacks in one series? Export them as series of their own.",
        )
    axes = orientations.mean(axis=0)
    lengths = np.linalg.norm(axes, axis=1, keepdims=True)
    if not (np.abs(lengths - 1) <= _UNIT_LENGTH).all() or abs(float(axes[0] @ axes[1])) > MAX_SHEAR:
        raise InputError(
            "The rows and columns of its slices are not perpendicular unit vectors.",
            code="geometry.invalid",
            found=axes.tolist(),
        )
    row, column = axes / lengths
    return row, column


def _common_spacing(slices: Sequence[Slice]) -> tuple[float, float]:
    spacings = np.array([s.spacing for s in slices])
    if not (np.abs(spacings / spacings[0] - 1) <= _SAME_SPACING).all():
        raise InputError(
            f"Its slices have different pixel spacings: {_some({s.spacing for s in slices})} mm.",
            code="geometry.mixed_orientation",
        )
    down, along = spacings[0]
    return float(down), float(along)


@dataclass(frozen=True, slots=True)
class _Spaces:
    """Distance and direction from each slice to the next; with `warnings` the slices need a `Regrid`."""

    step: float
    direction: np.ndarray
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def _spaces(positions: Float[np.ndarray, "n 3"], normal: np.ndarray, pixel_mm: float, uneven: UnevenSlices) -> _Spaces:
    """How the slices follow each other; `positions` are ordered along `normal`."""
    places = positions @ normal
    steps = np.diff(places)
    if steps.min() < _SAME_PLACE_MM:
        repeated = int((steps < _SAME_PLACE_MM).sum())
        raise InputError(
            f"{repeated} of its {len(places)} slices lie at the place of another one.",
            code="geometry.nonuniform_spacing",
            found="0 mm between slices",
            hint="Several time points, echoes or reconstructions in one series? Export them as series of their own.",
        )
    count = len(steps)
    usual = float(np.median(steps))
    line = np.polynomial.Polynomial.fit(np.arange(count + 1), places, 1) if count > 1 else None
    off = float(np.ptp(places - line(np.arange(count + 1)))) / 2 if line else 0.0
    even = steps.min() > 0.5 * usual and steps.max() < 1.5 * usual
    regular = even and off <= max(SLICE_TOLERANCE_MM, SLICE_TOLERANCE * usual)
    if not regular:
        _refuse_missing(steps)
        if uneven == "refuse" or steps.max() > MAX_UNEVEN * usual:
            _refuse_uneven(steps)
    chord = positions[-1] - positions[0]
    direction = chord / np.linalg.norm(chord)
    shear = float(np.linalg.norm(direction - (direction @ normal) * normal))
    angle = float(np.degrees(np.arcsin(min(1.0, shear))))
    if angle > MAX_TILT_DEGREES:
        raise InputError(
            f"Its slices are stacked {angle:.1f} degrees off their normal, which no gantry tilt explains.",
            code="geometry.gantry_tilt",
            found=f"{angle:.2f} degrees",
            expected=f"at most {MAX_TILT_DEGREES:g} degrees",
            hint="Export the series again from the scanner.",
        )
    along = (places - places[0]) / (direction @ normal)
    astray = np.linalg.norm(positions - positions[0] - np.outer(along, direction), axis=1).max()
    if astray > 0.5 * pixel_mm:
        raise InputError(
            f"Its slices are shifted sideways against each other, by up to {astray:.2f} mm.",
            code="geometry.mixed_orientation",
            found=f"{astray:.2f} mm",
            expected=f"at most half a pixel, {0.5 * pixel_mm:.2f} mm",
        )
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    if shear > MAX_SHEAR:
        warnings += (SHEARED,)
        notes += (f"stacked {angle:.1f} degrees off their normal (gantry tilt); resampled to a rectangular grid",)
    if not regular:
        warnings += (RESAMPLED,)
        notes += (f"slices lie {steps.min():.4g} to {steps.max():.4g} mm apart; resampled to one distance",)
    length = float(places[-1] - places[0])
    if warnings:
        return _Spaces(length / (count if regular else max(1, round(length / usual))), normal, warnings, notes)
    return _Spaces(float(np.linalg.norm(chord)) / count, direction)


def _refuse_missing(steps: Float[np.ndarray, " n"]) -> None:
    # A gap is a multiple of the regular step, and of the steps in a series with gaps most are regular.
    regular = float(np.sort(steps)[(len(steps) - 1) // 2])
    multiples = np.rint(steps / regular)
    tolerance = np.maximum(2 * SLICE_TOLERANCE_MM, 2 * SLICE_TOLERANCE * regular * np.maximum(multiples, 1))
    if multiples.min() >= 1 and multiples.max() >= 2 and (np.abs(steps - regular * multiples) <= tolerance).all():
        missing = int((multiples - 1).sum())
        widest = int(steps.argmax())
        raise InputError(
            f"{missing} slice(s) are missing: slices are {regular:.4g} mm apart, but {steps[widest]:.4g} mm lie "
            f"between the {widest + 1}. and the {widest + 2}.",
            code="geometry.missing_slices",
            found=f"{steps[widest]:.4g} mm",
            expected=f"{regular:.4g} mm",
            hint="Send the whole series again.",
        )


def _refuse_uneven(steps: Float[np.ndarray, " n"]) -> None:
    raise InputError(
        f"The distance between its slices varies from {steps.min():.4g} to {steps.max():.4g} mm.",
        code="geometry.nonuniform_spacing",
        found=[round(float(steps.min()), 4), round(float(steps.max()), 4)],
        expected="one distance",
        hint="Export a reconstruction with one slice distance, or set study.uneven_slices to resample.",
    )


def _some(values: set[tuple[int, int, int]] | set[tuple[float, ...]]) -> str:
    listed = sorted(values)
    more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
    return ", ".join("×".join(f"{v:.4g}" for v in value) for value in listed[:3]) + more


def _vector(values: Sequence[float] | np.ndarray) -> Vector:
    a, b, c = (float(v) for v in values)
    return (a, b, c)
