"""One file to an image or a label map, or to the fault that names why it cannot be read."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from segloop.data import series
from segloop.data.checks.faults import Finding
from segloop.errors import InputError
from segloop.io import files
from segloop.volume import Geometry

_CUT_SHORT = re.compile(
    r"truncated|unexpected end|ended before|end of file|too short|expected \d+ bytes", re.IGNORECASE
)
_HEADER = 4096
_SLACK = 1e-3
"""How far a number may be from a whole one and still be meant as it: rounding in a rescale slope, not interpolation."""


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """Voxels (z, y, x) or (z, y, x, channel) where they lie."""

    array: Shaped[np.ndarray, "z y x ..."]
    geometry: Geometry


@dataclass(frozen=True, slots=True, eq=False)
class LabelMap:
    """Label numbers as stored, and what is odd about how they are stored.

    Args:
        array: Whole numbers (z, y, x), signed where negative ones occur; rounded where fractions were found.
        geometry: Where they lie.
        findings: Fractions, floating point, several volumes.
    """

    array: Shaped[np.ndarray, "z y x"]
    geometry: Geometry
    findings: tuple[Finding, ...] = ()


def read_image(path: Path) -> Image | Finding:
    """The image of a file, or why there is none; never raises for what a file may hold."""
    try:
        volume = files.read(path)
    except InputError as fault:
        return _why(path, fault)
    return Image(volume.array, volume.geometry)


def read_label_map(path: Path) -> LabelMap | Finding:
    """The label map of a file, or why there is none; never raises for what a file may hold."""
    try:
        if path.suffix.lower() == ".png":
            labels = files.read_labels(path, {})
            return LabelMap(labels.array, labels.geometry)
        volume = files.read(path)
    except InputError as fault:
        return _why(path, fault)
    array, findings = volume.array, list[Finding]()
    if array.ndim == 4:
        alike = bool((array == array[..., :1]).all())
        findings.append(Finding("four_dimensional", list(array.shape), list(array.shape[:3]), mendable=alike))
        array = array[..., 0]
    if array.dtype.kind == "f":
        array, finding = _whole(array)
        findings.append(finding)
    return LabelMap(array, volume.geometry, tuple(findings))


def read_series_image(slices: Sequence[Path]) -> Image | Finding:
    """As `read_image`, for the files of a DICOM series."""
    try:
        volume = series.read_image(slices)
    except InputError as fault:
        return Finding("unreadable_file", fault.message, "a DICOM series", cause=fault.message)
    return Image(volume.array, volume.geometry)


def read_series_labels(path: Path, slices: Sequence[Path], names: Mapping[int, str]) -> LabelMap | Finding:
    """As `read_label_map`, for a SEG or RTSTRUCT and the series it was drawn on."""
    try:
        labels = series.read_labels(path, slices, names)
    except InputError as fault:
        return Finding("unreadable_file", fault.message, "a segmentation of its series", cause=fault.message)
    return LabelMap(labels.array, labels.geometry)


def _whole(array: Shaped[np.ndarray, "z y x"]) -> tuple[Shaped[np.ndarray, "z y x"], Finding]:
    finite = np.nan_to_num(array, nan=0.0, posinf=0.0, neginf=0.0)
    rounded = np.rint(finite)
    off = np.abs(finite - rounded)
    bad = int((off > 0).sum() + (~np.isfinite(array)).sum())
    whole: Shaped[np.ndarray, "z y x"] = rounded.astype(np.int64)
    if not bad:
        return whole, Finding("float_label", str(array.dtype), "whole numbers", mendable=True)
    fractions = sorted({round(float(v), 4) for v in finite[off > 0][:1000]})[:5]
    found: Any = fractions or "not finite"
    mendable = bool(np.isfinite(array).all() and off.max() <= _SLACK)
    return whole, Finding("fractional_label", found, f"whole numbers; {bad} voxels are none", mendable=mendable)


def _why(path: Path, fault: InputError) -> Finding:
    if fault.code == "geometry.invalid":
        return _bad_geometry(fault)
    if fault.code == "labels.mismatch" or (isinstance(fault.found, list) and "dimensions" in fault.message):
        return Finding("four_dimensional", fault.found, fault.expected, cause=fault.message)
    size = path.stat().st_size if path.is_file() else 0
    reason = fault.found if isinstance(fault.found, str) else fault.message
    if path.is_file() and not size:
        return Finding("empty_file", "0 bytes", "an image")
    cause = fault.__cause__
    if isinstance(cause, zlib.error | gzip.BadGzipFile):
        return Finding("damaged_file", reason, "content that fits its checksum")
    if isinstance(cause, EOFError) or _CUT_SHORT.search(reason) or _ends_early(path):
        return Finding("truncated_file", f"{size} bytes: {reason}", "the whole file")
    return Finding("unreadable_file", reason, "an image file", cause=fault.message)


def _ends_early(path: Path) -> bool:
    """Whether a compressed MetaImage has fewer bytes than it says; its reader only says that it cannot read."""
    if path.suffix.lower() != ".mha" or not path.is_file():
        return False
    with path.open("rb") as stream:
        head = stream.read(_HEADER)
    size, start = re.search(rb"CompressedDataSize\s*=\s*(\d+)", head), re.search(rb"ElementDataFile.*\n", head)
    return bool(size and start and path.stat().st_size - start.end() < int(size[1]))


def _bad_geometry(fault: InputError) -> Finding:
    """Which of the reasons that a geometry is refused for it is."""
    found = fault.found
    if isinstance(found, dict):
        if min(found["shape"], default=0) < 1:
            return Finding("zero_size", found["shape"], "at least one voxel along every axis")
        return Finding("absurd_spacing", found["spacing_mm"], "positive numbers of mm")
    if isinstance(found, list):
        matrix = np.asarray(found, float)
        if matrix.shape == (4, 4):
            norms = [round(float(v), 6) for v in np.linalg.norm(matrix[:3, 2::-1], axis=0)]
            return Finding("absurd_spacing", norms, "positive numbers of mm")
        return Finding("sheared_axes", [[round(v, 4) for v in row] for row in found], "perpendicular axes")
    contradictory = "apart" in str(found)
    return Finding("geometry_contradictory" if contradictory else "geometry_unstated", found, fault.expected)
