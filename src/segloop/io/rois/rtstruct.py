"""DICOM RT Structure Set to `Labels`: contours drawn on slices become the voxels whose centres they enclose."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from pydicom import Dataset

from segloop.errors import GeometryMismatch, InputError
from segloop.io.dicom.header import quiet, text
from segloop.io.dicom.refs import SeriesRef
from segloop.io.rois.polygons import combined
from segloop.io.rois.reference import AREAS, STRUCTURE_SET, damaged, describe, read
from segloop.io.rois.target import OFF_GRID_VOXELS, Target
from segloop.volume import Geometry, Labels

_BEYOND_PIXELS = 1.0
_SPARSE_PLANES = 3


@dataclass(frozen=True, slots=True)
class _Contour:
    points: Float[np.ndarray, "n 3"]
    exclusive: bool
    sources: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class _Structure:
    number: int
    name: str
    contours: tuple[_Contour, ...]


def read_rtstruct(file: Path, where: SeriesRef | Geometry, structures: Collection[str] | None = None) -> Labels:
    """The structures of a structure set as one label map.

    Structures that have areas (closed contours) get the label numbers 1, 2, … in the order of their ROI numbers. A
    contour lies on the slice whose image it names; where it names none of the series, on the slice at its position.
    Holes may be inner contours or keyholes.

    Args:
        file: The RTSTRUCT.
        where: The series it was drawn on, or its grid; the labels lie on it voxel for voxel.
        structures: Names of the structures to read; None for all that have areas.

    Raises:
        GeometryMismatch: `geometry.off_slices` for a contour between slices, aslant to them or beyond the image, and
            for a structure drawn on every second slice only; `geometry.frame_of_reference`.
        InputError: `labels.overlap` when two structures share a voxel (read them one by one), `labels.mismatch`,
            `input.unreadable`, `input.not_an_image`, or the series' own fault.

    Source: DICOM PS3.3 C.8.8.5 (Structure Set), C.8.8.6 (ROI Contour).
    """
    target, found = _opened(file, where, structures)
    array = np.zeros(target.shape, np.uint8 if len(found) <= 255 else np.uint16)
    for number, structure in enumerate(found, 1):
        for z, mask in _masks(structure, target, file):
            taken = array[z][mask]
            if taken.any():
                other = found[int(taken[taken != 0][0]) - 1]
                raise InputError(
                    f"The structures {other.name!r} and {structure.name!r} of {file.name} overlap; one label map "
                    f"cannot hold both.",
                    code="labels.overlap",
                    found=[other.name, structure.name],
                    expected="structures that share no voxel",
                    hint="Read the structures one by one (`segloop convert --apart`), or name those that are wanted.",
                )
            array[z][mask] = number
    return target.labels(array, {i: s.name for i, s in enumerate(found, 1)})


def read_structures(file: Path, where: SeriesRef | Geometry) -> Iterator[Labels]:
    """Each structure of a structure set by itself, so that overlapping ones can be had; numbers as in `read_rtstruct`.

    Args:
        file: The RTSTRUCT.
        where: As in `read_rtstruct`.

    Raises:
        GeometryMismatch: As `read_rtstruct`.
        InputError: As `read_rtstruct`, but for the overlap.
    """
    target, found = _opened(file, where, None)
    for number, structure in enumerate(found, 1):
        array = np.zeros(target.shape, np.uint8 if len(found) <= 255 else np.uint16)
        for z, mask in _masks(structure, target, file):
            array[z][mask] = number
        yield target.labels(array, {number: structure.name})


def _opened(
    file: Path, where: SeriesRef | Geometry, wanted: Collection[str] | None
) -> tuple[Target, tuple[_Structure, ...]]:
    dataset = read(file)
    if text(dataset, "SOPClassUID") != STRUCTURE_SET:
        raise InputError(f"{file.name} is no structure set.", code="input.not_an_image", expected="an RT Structure Set")
    target = Target.of(where)
    try:
        with quiet():
            all_found = tuple(_structures(dataset))
            used = {s.number for s in all_found if wanted is None or s.name in wanted}
            frames = {
                text(roi, "ReferencedFrameOfReferenceUID")
                for roi in dataset.StructureSetROISequence
                if int(roi.ROINumber) in used
            }
    except (AttributeError, LookupError, TypeError, ValueError) as fault:
        raise damaged(file, "a structure or contour lacks its number or its points") from fault
    found = tuple(s for s in all_found if wanted is None or s.name in wanted)
    absent = sorted(set(wanted or ()) - {s.name for s in found})
    if absent or not found:
        raise InputError(
            f"{file.name} has no structure with closed contours"
            + (f" that is called {', '.join(map(repr, absent))}." if absent else "."),
            code="labels.mismatch",
            found=[s.name for s in all_found],
            expected=absent or "at least one structure with closed contours",
        )
    target.require_same_patient(file.name, text(dataset, "PatientID"), text(dataset, "IssuerOfPatientID"))
    target.require_same_space(file.name, frames, describe(file, dataset).series_uids)
    return target, found


def _structures(dataset: Dataset) -> Iterator[_Structure]:
    contours: dict[int, tuple[_Contour, ...]] = {}
    for item in dataset.get("ROIContourSequence") or ():
        number = int(item.ReferencedROINumber)
        contours[number] = contours.get(number, ()) + tuple(_contours(item))
    rois = {int(roi.ROINumber): text(roi, "ROIName") for roi in dataset.get("StructureSetROISequence") or ()}
    for number in sorted(rois):
        if contours.get(number):
            yield _Structure(number, rois[number] or f"structure {number}", contours[number])


def _contours(item: Dataset) -> Iterator[_Contour]:
    for contour in item.get("ContourSequence") or ():
        kind = text(contour, "ContourGeometricType").upper()
        if kind not in AREAS:
            continue
        sources = tuple(
            (str(image.get("ReferencedSOPInstanceUID", "")), int(image.get("ReferencedFrameNumber") or 0))
            for image in contour.get("ContourImageSequence") or ()
        )
        yield _Contour(_points(contour.get_item("ContourData")), kind == AREAS[1], sources)


def _points(element: Any) -> Float[np.ndarray, "n 3"]:
    """The triplets of a contour; decoded here, because pydicom makes an object of every number."""
    raw = element.value
    texts = raw.split(b"\\") if isinstance(raw, bytes) else raw
    numbers = np.array([float(v) for v in texts])
    if len(numbers) % 3 or not np.isfinite(numbers).all():
        raise ValueError("triplets of finite numbers expected")
    return numbers.reshape(-1, 3)


def _masks(structure: _Structure, target: Target, file: Path) -> Iterator[tuple[int, Bool[np.ndarray, "y x"]]]:
    """Slice by slice, what the structure encloses."""
    size = target.shape[1:]
    planes: defaultdict[int, list[tuple[Float[np.ndarray, "n 2"], bool]]] = defaultdict(list)
    for contour in structure.contours:
        if len(contour.points) > 2:
            z, polygon = _on_slice(structure, contour, target, file)
            planes[z].append((polygon, contour.exclusive))
    _refuse_sparse(structure, sorted(planes), target, file)
    for z in sorted(planes):
        polygons = [polygon for polygon, _ in planes[z]]
        mask, crossing = combined(polygons, size)
        if crossing and not all(exclusive for _, exclusive in planes[z]):
            raise InputError(
                f"Contours of the structure {structure.name!r} in {file.name} cross each other on slice {z}, so inside "
                f"and outside are not defined.",
                code="labels.mismatch",
                found=f"{len(polygons)} contours on slice {z}",
                expected="contours inside one another or apart",
                hint="Mend the structure where it was drawn.",
            )
        yield z, mask


def _on_slice(
    structure: _Structure, contour: _Contour, target: Target, file: Path
) -> tuple[int, Float[np.ndarray, "n 2"]]:
    """The slice that a contour lies on, and its corners as (row, column)."""
    count, rows, columns = target.shape
    index = target.to_index(contour.points)
    middle = float(np.median(index[:, 0]))
    named = {target.slices[source] for source in contour.sources if source in target.slices}
    z = named.pop() if len(named) == 1 else round(middle)
    off = float(np.abs(index[:, 0] - z).max())
    if off > OFF_GRID_VOXELS or not 0 <= z < count:
        aslant = float(np.ptp(index[:, 0])) > OFF_GRID_VOXELS
        why = (
            "is aslant to the slices" if aslant else f"lies {off * target.geometry.spacing_mm[0]:.2f} mm off slice {z}"
        )
        if not aslant and not -0.5 < middle < count - 0.5:
            why = "lies beyond the first or last slice"
        raise _off(structure, file, why, target)
    low, high = index[:, 1:].min(axis=0), index[:, 1:].max(axis=0)
    beyond = float(max(-0.5 - low.min(), high[0] - (rows - 0.5), high[1] - (columns - 0.5)))
    if beyond > _BEYOND_PIXELS:
        raise _off(structure, file, f"reaches {beyond:.1f} pixels beyond the image", target)
    return z, index[:, 1:]


def _refuse_sparse(structure: _Structure, slices: Sequence[int], target: Target, file: Path) -> None:
    """A structure drawn on every n-th slice only would be a mask with holes between them."""
    if len(slices) >= _SPARSE_PLANES and min(b - a for a, b in pairwise(slices)) > 1:
        raise GeometryMismatch(
            f"The structure {structure.name!r} of {file.name} is drawn on {len(slices)} slices, no two of them "
            f"neighbours; what lies between is not known.",
            code="geometry.off_slices",
            found=list(slices),
            expected=target.geometry.describe(),
            hint="Interpolate its contours where it was drawn, or give the series it was drawn on.",
        )


def _off(structure: _Structure, file: Path, why: str, target: Target) -> GeometryMismatch:
    return GeometryMismatch(
        f"A contour of the structure {structure.name!r} of {file.name} {why}.",
        code="geometry.off_slices",
        found=why,
        expected=target.geometry.describe(),
        hint="Give the series it was drawn on.",
    )
