"""Clean-up of label maps: opening, closing, holes, components. Every step is a field of the Plan's `PostSpec`."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

import numpy as np
from jaxtyping import Bool, Integer

from segloop.plan import PostSpec, PostStep
from segloop.volume import Labels, Vector

Mask = Bool[np.ndarray, "z y x"]
Box = tuple[slice, slice, slice]

# A distance that equals the radius but for rounding counts as equal.
_ROUNDING = 1e-6


def clean(labels: Labels, spec: PostSpec) -> Labels:
    """The label map after the steps of `spec`, in their order, on the same grid.

    Within a step the order is opening, closing, holes, largest component, smallest volume. What a step takes away
    becomes background; what it adds was background before, so another label is never overwritten. An absent label stays
    absent. Without steps the same object comes back.

    Args:
        labels: Any orientation and spacing.
        spec: What to do.
    """
    if not spec.steps:
        return labels
    array = labels.array.copy()
    for step in spec.steps:
        _apply(array, step, labels)
    return replace(labels, array=array)


def opening(mask: Mask, radius_mm: float, spacing_mm: Vector) -> Mask:
    """Erosion, then dilation by a ball: what is thinner than twice the radius goes, the rest keeps its place.

    Distances run between voxel centres, so a radius below an axis' spacing does not act along it. The image's border
    does not count as background: an organ cut by the field of view is not rounded off there.
    """
    from scipy.ndimage import distance_transform_edt

    if mask.all():
        return mask
    reach = radius_mm * (1 + _ROUNDING)
    core = np.asarray(distance_transform_edt(mask, sampling=spacing_mm)) > reach
    if not core.any():
        return core
    return np.asarray(distance_transform_edt(~core, sampling=spacing_mm)) <= reach


def closing(mask: Mask, radius_mm: float, spacing_mm: Vector) -> Mask:
    """Dilation, then erosion by a ball: gaps thinner than twice the radius are bridged.

    Beyond the image's border lies background, so nothing grows towards it.
    """
    from scipy.ndimage import distance_transform_edt

    if not mask.any():
        return mask
    reach = radius_mm * (1 + _ROUNDING)
    margin = _voxels(reach, spacing_mm)
    wide = np.pad(mask, [(m, m) for m in margin])
    grown = np.asarray(distance_transform_edt(~wide, sampling=spacing_mm)) <= reach
    closed: Mask = np.asarray(distance_transform_edt(grown, sampling=spacing_mm)) > reach
    inner = tuple(slice(m, m + n) for m, n in zip(margin, mask.shape, strict=True))
    joined: Mask = np.logical_or(closed[inner], mask)
    return joined


def enclosed(mask: Mask) -> Mask:
    """Voxels outside the mask from which no path over faces leads to the image's border without crossing the mask.

    A single slice is judged in its plane.
    """
    import cc3d

    outside = cc3d.connected_components(~mask, connectivity=6)
    faces = [axis for axis in range(3) if mask.shape[axis] > 1]
    open_parts = [np.unique(np.take(outside, end, axis=axis)) for axis in faces for end in (0, -1)]
    reached = np.unique(np.concatenate([[0], *open_parts]))
    return ~mask & ~np.isin(outside, reached)


def large_components(mask: Mask, *, only_largest: bool, min_voxels: float) -> Mask:
    """The mask without its small 26-connected parts; of equally large ones the first in array order is the largest."""
    import cc3d

    parts = cc3d.connected_components(mask, connectivity=26)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    keep = sizes >= max(1.0, min_voxels * (1 - _ROUNDING))
    if only_largest:
        keep &= np.arange(sizes.size) == sizes.argmax()
    return np.asarray(keep[parts])


def _apply(array: Integer[np.ndarray, "z y x"], step: PostStep, labels: Labels) -> None:
    """Do one step in place."""
    spacing_mm = labels.geometry.spacing_mm
    box = _box(array == step.label, _voxels(step.closing_mm, spacing_mm))
    if box is None:
        return
    view = array[box]
    before = view == step.label
    mask = before
    if step.opening_mm:
        mask = opening(mask, step.opening_mm, spacing_mm)
    if step.closing_mm:
        mask = closing(mask, step.closing_mm, spacing_mm)
    # Growing stops at other labels before components are counted: a bridge that cannot be built joins nothing.
    mask = mask & (before | (view == 0))
    if step.fill_holes:
        mask = mask | (enclosed(mask) & (before | (view == 0)))
    if step.largest_component or step.min_component_ml:
        smallest = step.min_component_ml / labels.geometry.voxel_ml
        mask = large_components(mask, only_largest=step.largest_component, min_voxels=smallest)
    view[before & ~mask] = 0
    view[mask] = step.label


def _voxels(length_mm: float, spacing_mm: Vector) -> tuple[int, int, int]:
    """Voxels along each axis that cover a length, and one more."""
    z, y, x = (ceil(length_mm / spacing) + 1 for spacing in spacing_mm)
    return (z, y, x)


def _box(mask: Mask, margin: tuple[int, int, int]) -> Box | None:
    """The mask's bounding box widened by `margin` within the image; None when the mask is empty."""
    ends: list[slice] = []
    for axis in range(3):
        used = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        if not used.size:
            return None
        first, last = int(used[0]) - margin[axis], int(used[-1]) + margin[axis]
        ends.append(slice(max(0, first), last + 1))
    return (ends[0], ends[1], ends[2])
