"""One label map to millilitres, millimetres and mean intensity, per label and per lesion."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import cc3d
import numpy as np
from jaxtyping import Bool, Float, Integer

from segloop.measure.diameters import diameters
from segloop.measure.quantities import Measurement, Quantity
from segloop.measure.surface import extents, surface_mm2
from segloop.plan import LabelSpec
from segloop.volume import Geometry, Labels, Vector, Volume

Mask = Bool[np.ndarray, "z y x"]
Box = tuple[slice, slice, slice]

_IN_PLANE = (Quantity.LONGEST_DIAMETER, Quantity.PERPENDICULAR_DIAMETER)
_UNITS = {"CT": "HU", "PT": "SUV"}


def measure_labels(
    labels: Labels, image: Volume | None = None, specs: Sequence[LabelSpec] | None = None
) -> tuple[Measurement, ...]:
    """Every label's measurements, and those of its parts where parts are counted.

    Whole label (component 0): volume and surface, then the diameters, longest and perpendicular, in the plane of a
    slice and in space (but not of a label counted in parts: a line from one lesion to another measures neither), then
    mean and standard deviation of the intensities. Parts (26-connected, from large to small; those of one size by
    position) have all of these.

    Args:
        labels: Label map in the geometry of the source, whose slices (axis 0) diameters are taken in.
        image: The image on the same grid; without it, or with several channels, intensities are left out.
        specs: The labels to measure; those of `labels.names`, none counted in parts, when None.

    Returns:
        A label that does not occur has the volume 0.0 and nothing else. An image of one slice has no surface and no
        diameters in space. A part of one voxel has the diameter 0.0, from
        centre to centre, and no perpendicular one.

    Raises:
        GeometryMismatch: Image and labels lie on different grids.
    """
    if image is not None:
        image.geometry.require_same_grid(labels.geometry, "Image and label map to be measured")
    chosen = specs if specs is not None else [LabelSpec(value=v, name=n) for v, n in sorted(labels.names.items())]
    found: list[Measurement] = []
    solid = labels.geometry.shape[0] > 1
    for spec in chosen:
        mask = labels.array == spec.value
        box = _box(mask)
        found += _measure(spec, 0, mask[box], _cropped(labels.geometry, box), solid)
        if not mask.any():
            continue
        values = image.array if image is not None and image.array.ndim == 3 else None
        unit = _UNITS.get(image.modality, "") if image is not None else ""
        if values is not None:
            found += _intensities(spec, 0, values[mask], unit)
        if spec.components:
            for number, (box, part) in enumerate(parts(mask), start=1):
                found += _measure(spec, number, part, _cropped(labels.geometry, box), solid)
                if values is not None:
                    found += _intensities(spec, number, values[box][part], unit)
    return tuple(found)


def parts(mask: Mask) -> Iterator[tuple[Box, Mask]]:
    """The 26-connected parts of a mask from large to small, each as its bounding box and the mask inside that box.

    Parts of one size come in the order of their first voxel.
    """
    around = _box(mask)
    numbered: Integer[np.ndarray, "z y x"] = cc3d.connected_components(
        np.ascontiguousarray(mask[around]), connectivity=26
    )
    if not numbered.any():
        return
    facts = cc3d.statistics(numbered)
    # cc3d numbers parts by first voxel, so a stable sort breaks ties by position.
    for number in 1 + np.argsort(-facts["voxel_counts"][1:].astype(np.int64), kind="stable"):
        own = facts["bounding_boxes"][number]
        z, y, x = (slice(start.start + s.start, start.start + s.stop) for start, s in zip(around, own, strict=True))
        yield (z, y, x), numbered[tuple(own)] == number


def _box(mask: Mask) -> Box:
    """The smallest box around a mask; one voxel where it is empty."""
    z, y, x = (np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3))
    return (_range(z), _range(y), _range(x))


def _range(places: Integer[np.ndarray, " n"]) -> slice:
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 1)


def _cropped(geometry: Geometry, box: Box) -> Geometry:
    z, y, x = (part.stop - part.start for part in box)
    ox, oy, oz = geometry.to_lps(np.array([part.start for part in box], float)).tolist()
    return replace(geometry, shape=(z, y, x), origin_mm=(ox, oy, oz))


def _measure(spec: LabelSpec, component: int, mask: Mask, geometry: Geometry, solid: bool) -> list[Measurement]:
    voxels = int(np.count_nonzero(mask))
    volume = Measurement(
        label=spec.value,
        name=spec.name,
        component=component,
        quantity=Quantity.VOLUME,
        value=voxels * geometry.voxel_ml,
        unit="ml",
    )
    if not voxels:
        return [volume]
    found: list[tuple[Quantity, float, str, tuple[Vector, ...]]] = []
    if solid:
        found.append((Quantity.SURFACE, surface_mm2(mask, geometry), "mm2", ()))
    if component or not spec.components:
        found += [(kind, length, "mm", ends) for kind, length, ends in _distances(mask, geometry, solid)]
    return [volume] + [
        volume.model_copy(update={"quantity": kind, "value": value, "unit": unit, "points_mm": ends})
        for kind, value, unit, ends in found
    ]


def _distances(mask: Mask, geometry: Geometry, solid: bool) -> Iterator[tuple[Quantity, float, tuple[Vector, ...]]]:
    """Diameters of one part in mm with their ends: in the plane of its slices, and in space."""
    for kind, line in zip(_IN_PLANE, diameters(mask, geometry) or (), strict=False):
        if line is not None:
            yield kind, line.length_mm, line.points_mm
    across = extents(mask, geometry) if solid else None
    if across is not None:
        longest, width = across
        yield Quantity.LONGEST_DIAMETER_3D, longest.length_mm, longest.points_mm
        yield Quantity.PERPENDICULAR_DIAMETER_3D, width, ()


def _intensities(spec: LabelSpec, component: int, values: Float[np.ndarray, " n"], unit: str) -> list[Measurement]:
    exact = values.astype(np.float64)
    pairs = ((Quantity.MEAN_INTENSITY, exact.mean()), (Quantity.SD_INTENSITY, exact.std()))
    return [
        Measurement(
            label=spec.value, name=spec.name, component=component, quantity=quantity, value=float(value), unit=unit
        )
        for quantity, value in pairs
    ]
