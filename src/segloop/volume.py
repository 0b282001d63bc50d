"""Voxels with geometry: immutable, and without identity.

Arrays run `(z, y, x)` or `(z, y, x, channel)`; a 2-D image has `z = 1`. Patient space is LPS in millimetres: +x points
to the patient's left, +y to the back (posterior), +z to the head (superior).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
from jaxtyping import Float, Integer, Shaped

from segloop.errors import GeometryMismatch, InputError

Vector = tuple[float, float, float]
Shape = tuple[int, int, int]

CANONICAL = "SPL"
"""Array axes z, y, x running to superior, posterior, left: the orientation every network sees by default."""

# How far axes may be from perpendicular (cosine): real oblique headers round to a few decimals, and a gantry tilt is
# hundreds of times larger.
_ORTHOGONALITY = 5e-3
_POSITIVE, _NEGATIVE = "LPS", "RAI"


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where a grid of voxels lies in the patient.

    Args:
        shape: Voxels along z, y, x.
        spacing_mm: Distance between voxel centres along z, y, x.
        origin_mm: LPS point (x, y, z) of the centre of voxel (0, 0, 0).
        direction: For each array axis z, y, x the unit vector (x, y, z in LPS) along which its index grows. Left-handed
            grids are allowed.

    Raises:
        InputError: `geometry.invalid` when a size is not positive, a number not finite, or the axes are sheared.
    """

    shape: Shape
    spacing_mm: Vector = (1.0, 1.0, 1.0)
    origin_mm: Vector = (0.0, 0.0, 0.0)
    direction: tuple[Vector, Vector, Vector] = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))

    def __post_init__(self) -> None:
        axes = np.asarray(self.direction, float)
        numbers = (*self.spacing_mm, *self.origin_mm, *axes.ravel())
        if len(self.shape) != 3 or min(self.shape) < 1 or not np.isfinite(numbers).all() or min(self.spacing_mm) <= 0:
            raise InputError(
                f"A grid needs three positive sizes and spacings and finite numbers; found shape {self.shape}, "
                f"spacing {self.spacing_mm} mm, origin {self.origin_mm} mm.",
                code="geometry.invalid",
                found={"shape": list(self.shape), "spacing_mm": list(self.spacing_mm)},
            )
        if not np.allclose(axes @ axes.T, np.eye(3), atol=_ORTHOGONALITY):
            raise InputError(
                f"The grid's axes are not perpendicular unit vectors (sheared or scaled): {self.direction}.",
                code="geometry.invalid",
                found=axes.tolist(),
                expected="perpendicular axes",
                hint="Resample the image to a rectangular grid first.",
            )

    @classmethod
    def from_affine(cls, affine: Float[np.ndarray, "4 4"], shape: Sequence[int]) -> Geometry:
        """The geometry whose `affine` maps voxel index (z, y, x, 1) to LPS (x, y, z, 1)."""
        columns = np.asarray(affine, float)[:3, :3]
        spacing = np.linalg.norm(columns, axis=0)
        if not np.isfinite(spacing).all() or (spacing <= 0).any():
            raise InputError(
                "The image's affine is singular or not finite.",
                code="geometry.invalid",
                found=np.asarray(affine).tolist(),
            )
        direction = (columns / spacing).T
        z, y, x = (int(n) for n in shape[:3])
        return cls((z, y, x), _vector(spacing), _vector(np.asarray(affine)[:3, 3]), _rows(direction))

    @property
    def affine(self) -> Float[np.ndarray, "4 4"]:
        """Voxel index (z, y, x, 1) to LPS (x, y, z, 1), float64."""
        matrix = np.eye(4)
        matrix[:3, :3] = np.asarray(self.direction).T * np.asarray(self.spacing_mm)
        matrix[:3, 3] = self.origin_mm
        return matrix

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return abs(float(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    @property
    def extent_mm(self) -> Vector:
        """Field of view along z, y, x: voxels times spacing."""
        z, y, x = (n * s for n, s in zip(self.shape, self.spacing_mm, strict=True))
        return (z, y, x)

    @property
    def axis_codes(self) -> str:
        """Three letters of LPSRAI: the patient side towards which z, y, x grow, the closest fit when oblique."""
        signed = _closest_axes(np.asarray(self.direction))
        return "".join((_POSITIVE if sign > 0 else _NEGATIVE)[axis] for axis, sign in signed)

    def to_lps(self, index: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """Patient points (x, y, z) in mm of voxel indices (z, y, x), fractional allowed."""
        matrix = self.affine
        points: np.ndarray = np.asarray(index, float) @ matrix[:3, :3].T + matrix[:3, 3]
        return points

    def to_index(self, points_mm: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """Fractional voxel indices (z, y, x) of patient points (x, y, z) in mm."""
        matrix = self.affine
        index: np.ndarray = (np.asarray(points_mm, float) - matrix[:3, 3]) @ np.linalg.inv(matrix[:3, :3]).T
        return index

    def transposed(self, permutation: Sequence[int], flips: Sequence[bool]) -> Geometry:
        """The same patient space with array axes permuted, then flipped where told.

        Args:
            permutation: New axis i is the old axis `permutation[i]`.
            flips: Whether new axis i then runs backwards.
        """
        shape = tuple(self.shape[a] for a in permutation)
        start = np.zeros(3)
        for new, old in enumerate(permutation):
            start[old] = shape[new] - 1 if flips[new] else 0
        direction = [
            np.asarray(self.direction[a]) * (-1 if flip else 1) for a, flip in zip(permutation, flips, strict=True)
        ]
        return Geometry(
            (shape[0], shape[1], shape[2]),
            _vector([self.spacing_mm[a] for a in permutation]),
            _vector(self.to_lps(start)),
            _rows(np.asarray(direction)),
        )

    def same_grid(self, other: Geometry, tolerance_mm: float = 1e-2) -> bool:
        """True when shapes agree and all eight corners lie within `tolerance_mm` of each other."""
        if self.shape != other.shape:
            return False
        corners = np.array(list(itertools.product(*[(0, n - 1) for n in self.shape])), float)
        return bool(np.abs(self.to_lps(corners) - other.to_lps(corners)).max() <= tolerance_mm)

    def require_same_grid(self, other: Geometry, what: str, tolerance_mm: float = 1e-2) -> None:
        """Raise `GeometryMismatch` naming `what` unless `same_grid`."""
        if not self.same_grid(other, tolerance_mm):
            raise GeometryMismatch(
                f"{what}: found a grid of {other.describe()}, expected {self.describe()}.",
                found=other.describe(),
                expected=self.describe(),
            )

    def describe(self) -> str:
        """Shape, spacing, orientation and origin in one line for messages."""
        z, y, x = self.shape
        spacing = " × ".join(f"{s:.4g}" for s in self.spacing_mm)
        origin = ", ".join(f"{o:.2f}" for o in self.origin_mm)
        return f"{z}×{y}×{x} voxels of {spacing} mm, axes {self.axis_codes}, origin ({origin}) mm"


@dataclass(frozen=True, slots=True)
class Reorientation:
    """A permutation and flips of array axes, with the exact way back.

    Args:
        permutation: New axis i is the old axis `permutation[i]`.
        flips: Whether new axis i then runs backwards.
    """

    permutation: Shape
    flips: tuple[bool, bool, bool]

    @classmethod
    def between(cls, geometry: Geometry, codes: str) -> Reorientation:
        """How to turn a grid so that its axes run closest to `codes` (such as `"SPL"`).

        Raises:
            InputError: `geometry.invalid` when `codes` does not name each patient axis once.
        """
        wanted = [(_POSITIVE.find(c), 1) if c in _POSITIVE else (_NEGATIVE.find(c), -1) for c in codes.upper()]
        if sorted(a for a, _ in wanted) != [0, 1, 2]:
            raise InputError(f"Orientation {codes!r} must name each of L/R, A/P and S/I once.", code="geometry.invalid")
        own = _closest_axes(np.asarray(geometry.direction))
        place = {axis: i for i, (axis, _) in enumerate(own)}
        permutation = [place[axis] for axis, _ in wanted]
        flips = [own[old][1] != sign for old, (_, sign) in zip(permutation, wanted, strict=True)]
        return cls((permutation[0], permutation[1], permutation[2]), (flips[0], flips[1], flips[2]))

    @property
    def inverse(self) -> Reorientation:
        """The reorientation that undoes this one."""
        back = [self.permutation.index(i) for i in range(3)]
        flips = [self.flips[back[i]] for i in range(3)]
        return Reorientation((back[0], back[1], back[2]), (flips[0], flips[1], flips[2]))

    def array(self, values: Shaped[np.ndarray, "z y x ..."]) -> Shaped[np.ndarray, "z2 y2 x2 ..."]:
        """A view of `values` with its first three axes turned; channels stay last."""
        turned = values.transpose(*self.permutation, *range(3, values.ndim))
        return turned[tuple(slice(None, None, -1) if flip else slice(None) for flip in self.flips)]

    def geometry(self, geometry: Geometry) -> Geometry:
        """The geometry of the turned array."""
        return geometry.transposed(self.permutation, self.flips)


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """An image on a grid.

    Args:
        array: Voxels (z, y, x) or (z, y, x, channel) of any numeric dtype; kept as a read-only view.
        geometry: Where they lie.
        modality: DICOM modality (`"CT"`, `"MR"`, `"PT"`…) where known, else empty. CT values are in HU, PET in SUV.

    Raises:
        GeometryMismatch: The array's first three sizes are not the geometry's shape.
    """

    array: Shaped[np.ndarray, "z y x ..."]
    geometry: Geometry
    modality: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "array", _readonly(self.array, self.geometry, (3, 4)))

    @property
    def channels(self) -> int:
        """Number of channels; 1 for a (z, y, x) array."""
        return 1 if self.array.ndim == 3 else int(self.array.shape[3])

    def reoriented(self, codes: str) -> Volume:
        """The same image with array axes running closest to `codes`; no voxel is interpolated."""
        turn = Reorientation.between(self.geometry, codes)
        return replace(self, array=turn.array(self.array), geometry=turn.geometry(self.geometry))


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """A label map on a grid: every voxel holds one label number, 0 is background.

    Args:
        array: Integers (z, y, x); kept as a read-only view.
        geometry: Where they lie.
        names: Name of each label number but 0, whether or not it occurs.

    Raises:
        GeometryMismatch: Shape and geometry disagree.
        InputError: `labels.mismatch` when the array does not hold integers.
    """

    array: Integer[np.ndarray, "z y x"]
    geometry: Geometry
    names: Mapping[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.array.dtype.kind not in "ui":
            raise InputError(
                f"A label map holds whole numbers; found {self.array.dtype}.",
                code="labels.mismatch",
                found=str(self.array.dtype),
            )
        object.__setattr__(self, "array", _readonly(self.array, self.geometry, (3,)))
        object.__setattr__(self, "names", MappingProxyType(dict(self.names)))

    def __reduce__(self) -> tuple[type[Labels], tuple[np.ndarray, Geometry, dict[int, str]]]:
        """Cross a process boundary (a mapping proxy cannot by itself)."""
        return Labels, (self.array, self.geometry, dict(self.names))

    def only(self, value: int) -> Labels:
        """The voxels of one label as 1, everything else 0."""
        return Labels((self.array == value).astype(np.uint8), self.geometry, {1: self.names.get(value, str(value))})

    def reoriented(self, codes: str) -> Labels:
        """The same label map with array axes running closest to `codes`."""
        turn = Reorientation.between(self.geometry, codes)
        return replace(self, array=turn.array(self.array), geometry=turn.geometry(self.geometry))


def _readonly(array: np.ndarray, geometry: Geometry, dimensions: tuple[int, ...]) -> np.ndarray:
    if array.ndim not in dimensions or tuple(array.shape[:3]) != geometry.shape:
        raise GeometryMismatch(
            f"An array of shape {array.shape} does not fit a grid of {geometry.shape} (z, y, x).",
            found=list(array.shape),
            expected=list(geometry.shape),
        )
    view = array.view()
    view.flags.writeable = False
    return view


def _closest_axes(direction: Float[np.ndarray, "3 3"]) -> list[tuple[int, int]]:
    """For each array axis the patient axis (0 x, 1 y, 2 z) it follows most, and its sign; each patient axis once."""

    def agreement(order: Sequence[int]) -> float:
        return round(sum(abs(float(direction[i, a])) for i, a in enumerate(order)), 9)

    # Walked in one fixed order, so an exact 45 degree tie is always broken the same way.
    best = max(itertools.permutations(range(3)), key=agreement)
    return [(a, 1 if direction[i, a] >= 0 else -1) for i, a in enumerate(best)]


def _vector(values: Sequence[float] | np.ndarray) -> Vector:
    a, b, c = (float(v) for v in values)
    return (a, b, c)


def _rows(matrix: np.ndarray) -> tuple[Vector, Vector, Vector]:
    return (_vector(matrix[0]), _vector(matrix[1]), _vector(matrix[2]))
