"""The voxels of a series, in the unit its headers define (HU for CT)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pydicom
from jaxtyping import Shaped
from pydicom import Dataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
from pydicom.pixels.utils import pixel_array

from segloop.errors import InputError, SegloopError
from segloop.io.dicom.header import quiet
from segloop.io.dicom.refs import InstanceRef, SeriesRef
from segloop.volume import Volume


@dataclass(frozen=True, slots=True)
class _Plane:
    """Stored values of one slice and how they become real ones."""

    stored: Shaped[np.ndarray, "y x ..."]
    slope: float = 1.0
    intercept: float = 0.0


def read_series(series: SeriesRef) -> Volume:
    """The series as one volume, its slices in the order of `series.files`.

    Rescale slope and intercept are applied slice by slice. The result is int16, or int32 where that is too narrow, when
    every slope is 1 and one whole intercept is shared; else float32. Colour stays as stored, as RGB.

    Raises:
        InputError: The series' own fault; `input.unreadable` naming the file whose pixels cannot be decoded.
    """
    series.require_readable()
    geometry = series.geometry
    if geometry is None:
        raise InputError(f"{series.title} holds no volume.", code="input.not_an_image")
    with quiet():
        planes = _in_order(series)
    _, rows, columns = geometry.shape
    for plane in planes:
        if plane.stored.shape[:2] != (rows, columns):
            raise InputError(
                f"{series.title} decodes to {plane.stored.shape[:2]} pixels, its header says {(rows, columns)}.",
                found=list(plane.stored.shape[:2]),
                expected=[rows, columns],
            )
    return Volume(_combined(planes), geometry, series.modality)


def _in_order(series: SeriesRef) -> list[_Plane]:
    planes: list[_Plane] = []
    for file in series.files:
        try:
            planes += _planes(file)
        except SegloopError:
            raise
        # Each decoder has exceptions of its own; the file is at fault in all of them.
        except Exception as fault:
            reason = type(fault).__name__
            raise InputError(
                f"{file.path.name} cannot be read: its pixels do not decode ({reason}).",
                found=reason,
                hint="Send the file again; it is damaged, or compressed in a way this installation cannot decode.",
            ) from fault
    return planes


def _planes(file: InstanceRef) -> list[_Plane]:
    dataset = pydicom.dcmread(file.path, force=True)
    if "TransferSyntaxUID" not in getattr(dataset, "file_meta", Dataset()):
        dataset.ensure_file_meta()
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    stored = _without_overlay(pixel_array(dataset), dataset)
    stored = stored.astype(stored.dtype.newbyteorder("="), copy=False)
    if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
        stored = apply_color_lut(stored, dataset)
    if file.frames:
        stored = stored if int(dataset.get("NumberOfFrames") or 1) > 1 else stored[np.newaxis]
        return [_Plane(stored[number - 1], *_frame_rescale(dataset, number)) for number in file.frames]
    if "ModalityLUTSequence" in dataset:
        return [_Plane(apply_modality_lut(stored, dataset))]
    return [_Plane(stored, *_rescale(dataset))]


def _rescale(dataset: Dataset) -> tuple[float, float]:
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    return (1.0 if slope in (None, "") else float(slope), 0.0 if intercept in (None, "") else float(intercept))


def _frame_rescale(dataset: Dataset, number: int) -> tuple[float, float]:
    groups = (dataset.PerFrameFunctionalGroupsSequence[number - 1], *dataset.get("SharedFunctionalGroupsSequence", ()))
    for group in groups:
        items: Any = group.get("PixelValueTransformationSequence")
        if items:
            return _rescale(items[0])
    return _rescale(dataset)


def _without_overlay(stored: Shaped[np.ndarray, "*axes"], dataset: Dataset) -> Shaped[np.ndarray, "*axes"]:
    """Clear the bits above the stored ones where an overlay is hidden in them (PS3.5 8.1.2)."""
    allocated, used = int(dataset.get("BitsAllocated") or 0), int(dataset.get("BitsStored") or 0)
    hidden = any(
        (group, 0x0102) in dataset and (group, 0x3000) not in dataset and int(dataset[group, 0x0102].value or 0) >= used
        for group in range(0x6000, 0x6020, 2)
    )
    if not hidden or stored.dtype.kind not in "ui" or not 0 < used < allocated:
        return stored
    shift = stored.dtype.itemsize * 8 - used
    return (stored << shift) >> shift


def _combined(planes: list[_Plane]) -> Shaped[np.ndarray, "z y x ..."]:
    first = planes[0]
    if first.stored.ndim == 3:
        return np.stack([plane.stored for plane in planes])
    whole = all(
        plane.stored.dtype.kind in "ui" and plane.slope == 1 and plane.intercept == first.intercept for plane in planes
    )
    if whole and first.intercept.is_integer():
        low = min(int(plane.stored.min()) for plane in planes) + int(first.intercept)
        high = max(int(plane.stored.max()) for plane in planes) + int(first.intercept)
        narrow = low >= np.iinfo(np.int16).min and high <= np.iinfo(np.int16).max
        kind: Any = np.int16 if narrow else np.int32
        if low >= np.iinfo(np.int32).min and high <= np.iinfo(np.int32).max:
            return _filled(planes, kind)
    return _filled(planes, np.float32)


def _filled(planes: list[_Plane], kind: Any) -> Shaped[np.ndarray, "z y x"]:
    result = np.empty((len(planes), *planes[0].stored.shape), kind)
    for z, plane in enumerate(planes):
        if kind is np.float32:
            # Doubles in between: large integers times a slope lose digits in single precision.
            result[z] = plane.stored.astype(np.float64) * plane.slope + plane.intercept
        else:
            result[z] = plane.stored.astype(np.int32) + int(plane.intercept)
    return result
