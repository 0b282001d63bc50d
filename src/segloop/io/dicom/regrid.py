"""Slices that form no rectangular grid, resampled to one, and masks brought back onto the source slices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Integer, Shaped

from segloop.errors import GeometryMismatch
from segloop.volume import Geometry, Labels, Vector

# Header positions are rounded; less than this part of a voxel is no shift.
_NO_SHIFT = 1e-3


@dataclass(frozen=True, slots=True)
class Regrid:
    """How source slices lie in a regular grid whose first axis is their normal.

    Attributes:
        source: Source slices, rows and columns.
        positions: LPS mm of each source slice's first pixel, exactly as its header states it.
        places: Where each source slice lies along the regular grid's first axis, in voxels; ascending.
        shifts: Row and column of the regular grid at which each source slice's first pixel lies.
        regular: The grid that the images and masks of this software lie on.
    """

    source: tuple[int, int, int]
    positions: tuple[Vector, ...]
    places: tuple[float, ...]
    shifts: tuple[tuple[float, float], ...]
    regular: Geometry

    @classmethod
    def between(cls, source: Geometry, positions: Sequence[Vector], step_mm: float) -> Regrid:
        """The smallest regular grid that holds every source pixel.

        Args:
            source: Rows, columns, pixel spacing and axes of the slices; its first axis is their normal, its origin the
                first slice's.
            positions: Of every slice, ascending along the normal.
            step_mm: The regular grid's first spacing; the last slice's place is rounded to a whole number of steps.
        """
        offsets = (np.array(positions) - source.origin_mm) @ np.array(source.direction).T / source.spacing_mm
        places = offsets[:, 0] * (source.spacing_mm[0] / step_mm)
        shifts = offsets[:, 1:]
        low = np.floor(shifts.min(axis=0) + _NO_SHIFT)
        high = np.ceil(shifts.max(axis=0) - _NO_SHIFT)
        rows, columns = (int(n) for n in np.array(source.shape[1:]) + (high - low).astype(int))
        first, down, along = (float(v) for v in source.to_lps(np.array([0.0, *low])))
        regular = Geometry(
            (round(float(places[-1])) + 1, rows, columns),
            (step_mm, *source.spacing_mm[1:]),
            (first, down, along),
            source.direction,
        )
        return cls(
            (len(positions), *source.shape[1:]),
            tuple(positions),
            tuple(float(place) for place in places),
            tuple((float(row), float(column)) for row, column in shifts - low),
            regular,
        )

    def image(self, stored: Shaped[np.ndarray, "n y x ..."]) -> Shaped[np.ndarray, "z y2 x2 ..."]:
        """The slices on the regular grid, linearly interpolated, in their own dtype.

        Voxels that no slice reaches hold the lowest value there is (air in CT).
        """
        self._require(stored)
        fill = stored.min()
        result = np.empty((*self.regular.shape, *stored.shape[3:]), stored.dtype)
        whole = result.dtype.kind in "ui"
        for z, mixed in enumerate(self._mixed(stored, fill)):
            result[z] = np.rint(mixed) if whole else mixed
        return result

    def _mixed(self, stored: Shaped[np.ndarray, "n y x ..."], fill: float) -> Iterator[Float[np.ndarray, "y2 x2 ..."]]:
        """Each slice of the regular grid; no more than two shifted source slices are held."""
        held: dict[int, np.ndarray] = {}
        for z in range(self.regular.shape[0]):
            place = float(np.interp(z, self.places, np.arange(len(self.places))))
            lower = min(int(place + _NO_SHIFT), len(self.places) - 1)
            share = place - lower if place - lower > _NO_SHIFT else 0.0
            wanted = (lower, lower + 1) if share else (lower,)
            held = {k: held[k] if k in held else self._shifted(stored[k], k, fill) for k in wanted}
            yield held[lower] if not share else held[lower] * (1 - share) + held[lower + 1] * share

    def _shifted(self, plane: Shaped[np.ndarray, "y x ..."], k: int, fill: float) -> Float[np.ndarray, "y2 x2 ..."]:
        # Single precision holds the whole numbers of 16 bits, and not those of 32.
        moved = plane.astype(np.float64 if plane.dtype == np.int32 else np.float32)
        for axis, shift in enumerate(self.shifts[k]):
            size = self.regular.shape[1 + axis]
            at = np.arange(size) - shift
            outside = (at < -0.5) | (at > plane.shape[axis] - 0.5)
            at = np.clip(at, 0, plane.shape[axis] - 1)
            low = np.minimum((at + _NO_SHIFT).astype(int), plane.shape[axis] - 1)
            share = np.where(at - low > _NO_SHIFT, at - low, 0).astype(moved.dtype)
            high = np.minimum(low + 1, plane.shape[axis] - 1)
            weight = share.reshape((-1,) + (1,) * (plane.ndim - 1))
            lines = np.moveaxis(moved, axis, 0)
            lines = lines[low] * (1 - weight) + lines[high] * weight
            lines[outside] = fill
            moved = np.moveaxis(lines, 0, axis)
        return moved

    def labels(self, drawn: Integer[np.ndarray, "n y x"]) -> Integer[np.ndarray, "z y2 x2"]:
        """A mask drawn on the source slices, on the regular grid: each voxel takes the nearest source pixel's label.

        The counterpart of `to_source`; for a tilted stack the two undo each other.
        """
        self._require(drawn)
        result = np.zeros(self.regular.shape, drawn.dtype)
        middles = (np.array(self.places[:-1]) + np.array(self.places[1:])) / 2
        for z in range(self.regular.shape[0]):
            k = int(np.searchsorted(middles, z))
            rows, columns = (
                np.arange(size) - round(shift)
                for size, shift in zip(self.regular.shape[1:], self.shifts[k], strict=True)
            )
            inside = [(n >= 0) & (n < size) for n, size in zip((rows, columns), self.source[1:], strict=True)]
            result[z][np.ix_(*inside)] = drawn[k][np.ix_(rows[inside[0]], columns[inside[1]])]
        return result

    def to_source(self, labels: Labels) -> Integer[np.ndarray, "n y x"]:
        """A mask on the regular grid, on the source slices: each source pixel takes the nearest voxel's label.

        Raises:
            GeometryMismatch: The mask does not lie on the regular grid.
        """
        self.regular.require_same_grid(labels.geometry, "a mask to be brought back onto its source slices")
        result = np.empty(self.source, labels.array.dtype)
        for k, (place, shift) in enumerate(zip(self.places, self.shifts, strict=True)):
            # The offset is rounded once: half a pixel, rounded for each pixel anew, would take every second one twice.
            z, rows, columns = (
                np.clip(np.arange(size) + round(offset), 0, limit - 1)
                for size, offset, limit in zip((1, *self.source[1:]), (place, *shift), self.regular.shape, strict=True)
            )
            result[k] = labels.array[z[0]][np.ix_(rows, columns)]
        return result

    def _require(self, array: Shaped[np.ndarray, "n y x ..."]) -> None:
        if array.shape[:3] != self.source:
            raise GeometryMismatch(
                f"An array of {array.shape[:3]} is not of the source's slices, {self.source}.",
                found=list(array.shape[:3]),
                expected=list(self.source),
            )
