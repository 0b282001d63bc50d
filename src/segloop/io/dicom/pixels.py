"""The voxels of a series, in the unit its headers define (HU for CT)."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from jaxtyping import Shaped

from segloop.errors import InputError, SegloopError
from segloop.io.dicom.decode import Part, Plane, parts, planes_of
from segloop.io.dicom.header import quiet
from segloop.io.dicom.refs import SeriesRef
from segloop.io.dicom.suv import suv_factor
from segloop.plan import ReadingSpec
from segloop.volume import Volume

_KINDS: tuple[Any, ...] = (np.int16, np.int32, np.float32)
"""Kinds of number that a grey volume may hold, the narrowest first."""
_FLOAT = len(_KINDS) - 1
_THREADS = min(8, os.cpu_count() or 1)


def read_series(series: SeriesRef, reading: ReadingSpec | None = None) -> Volume:
    """The series as one volume on `series.geometry`.

    Rescale slope and intercept are applied slice by slice. The result is int16, or int32 where that is too narrow, when
    every slope is 1 and every intercept whole; else float32. Colour comes as stored, as RGB; from a palette in 8 bits.
    MONOCHROME1 is inverted to the meaning of MONOCHROME2, but for CT, PET and NM, whose values are measurements. A
    series with `regrid` is resampled to its rectangular grid. Threads decode file by file straight into the one array,
    so the volume is never held twice.

    Args:
        series: From `scan`.
        reading: What the model's Plan asks for; by default values keep the unit they are stored in.

    Raises:
        InputError: The series' own fault; `input.unreadable` naming the file whose pixels cannot be decoded;
            `input.suv` or `input.no_window` where the headers lack what `reading` asks for.
    """
    reading = reading or ReadingSpec()
    series.require_readable()
    if series.geometry is None:
        raise InputError(f"{series.title} holds no volume.", code="input.not_an_image")
    with quiet():
        factor = suv_factor(series) if reading.pet == "suv-bw" and series.modality == "PT" else 1.0
        array = _read(series, reading.display)
    if factor != 1.0:
        array = array.astype(np.float32, copy=False)
        array *= np.float32(factor)
    if series.regrid is not None:
        array = series.regrid.image(array)
    return Volume(array, series.geometry, series.modality)


def _read(series: SeriesRef, display: bool) -> Shaped[np.ndarray, "z y x ..."]:
    """All slices in one array of the narrowest kind; starts again in the rare case that a later slice needs a wider."""
    work = parts(series.files, _THREADS)
    first = next(_decoded(series, work[0], display))
    # A file of one slice is decoded by now; of a file of many the first part begins again.
    others = work if work[0].frames else work[1:]
    kind = _needed(first)
    while True:
        array = np.empty(
            (_shape(series)[0], *first.stored.shape), first.stored.dtype if _colour(first) else _KINDS[kind]
        )
        _fill(array, first)

        def one(part: Part, array: np.ndarray = array) -> int:
            if _in_place(array, part, display):
                return 0
            return max(_fill(array, plane) for plane in _decoded(series, part, display))

        with ThreadPoolExecutor(_THREADS) as pool:
            try:
                wider = max(pool.map(one, others), default=kind)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        if wider <= kind:
            return array
        kind = wider


def _in_place(array: Shaped[np.ndarray, "z y x ..."], part: Part, display: bool) -> bool:
    """Whether a plain slice could be read straight into its place."""
    native = part.file.native
    if native is None or display or array.dtype != np.int16 or array.ndim != 3:
        return False
    try:
        return native.read_into(part.file.path, array[part.slices[0]])
    except (OSError, ValueError):
        return False  # the general way says what is wrong with the file


def _shape(series: SeriesRef) -> tuple[int, int, int]:
    assert series.geometry is not None
    return series.regrid.source if series.regrid is not None else series.geometry.shape


def _colour(plane: Plane) -> bool:
    return plane.stored.ndim == 3


def _decoded(series: SeriesRef, part: Part, display: bool) -> Iterator[Plane]:
    """The slices of one part, one by one, each of the size that the headers state."""
    shape = _shape(series)[1:]
    try:
        for plane in planes_of(part, series.modality, display):
            if plane.stored.shape[:2] != shape or _colour(plane) != (series.channels > 1):
                raise InputError(
                    f"{part.file.path.name} decodes to {plane.stored.shape} pixels, its header says {shape} in "
                    f"{series.channels} channel(s).",
                    found=list(plane.stored.shape),
                    expected=[*shape, series.channels],
                )
            _require_meaning(part.file.path.name, plane)
            yield plane
    except SegloopError:
        raise
    # Each decoder has exceptions of its own; the file is at fault in all of them.
    except Exception as fault:
        reason = type(fault).__name__
        raise InputError(
            f"{part.file.path.name} cannot be read: its pixels do not decode ({reason}).",
            found=reason,
            hint="Send the file again; it is damaged, or compressed in a way this installation cannot decode.",
        ) from fault


def _require_meaning(name: str, plane: Plane) -> None:
    """Refuse a rescale that would make one value, or none, of all pixels; an empty slice may have any factor."""
    known = math.isfinite(plane.slope) and math.isfinite(plane.intercept)
    if not known or (plane.slope == 0 and plane.stored.any()):
        raise InputError(
            f"{name} cannot be read: its rescale ({plane.slope:g} times, plus {plane.intercept:g}) leaves no image.",
            found=f"slope {plane.slope:g}, intercept {plane.intercept:g}",
            expected="finite numbers, and a slope other than 0",
            hint="Export the series again.",
        )


def _needed(plane: Plane) -> int:
    """The index of the narrowest of `_KINDS` that holds a slice exactly, float32 for what is not whole."""
    stored = plane.stored
    if _colour(plane):
        return 0
    if stored.dtype.kind not in "ui" or plane.slope != 1 or not float(plane.intercept).is_integer():
        return _FLOAT
    low, high = int(stored.min()) + int(plane.intercept), int(stored.max()) + int(plane.intercept)
    for index, kind in enumerate(_KINDS[:_FLOAT]):
        if low >= np.iinfo(kind).min and high <= np.iinfo(kind).max:
            return index
    return _FLOAT


def _fill(array: Shaped[np.ndarray, "z y x ..."], plane: Plane) -> int:
    """Put a slice in its place; returns the kind it needs, and leaves it out where `array` is too narrow for it."""
    needed = _needed(plane)
    if _colour(plane):
        array[plane.z] = plane.stored
    elif array.dtype == np.float32:
        array[plane.z] = plane.real()
    elif needed < _FLOAT and array.dtype.itemsize >= np.dtype(_KINDS[needed]).itemsize:
        # Modulo the width of the array: what was found to fit comes out right.
        np.add(plane.stored, int(plane.intercept), out=array[plane.z], dtype=array.dtype, casting="unsafe")
    return needed
