"""Where the frames of a segmentation lie on a grid: exactly on its voxels, or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Integer

from segloop.errors import GeometryMismatch, InputError
from segloop.io.rois.frames import SegFrame
from segloop.io.rois.target import OFF_GRID_VOXELS, Target
from segloop.volume import Geometry, Vector

_SAME_PLACE_MM = 1e-2
_REGULAR = 0.02


@dataclass(frozen=True, slots=True)
class Place:
    """How the rows and columns of a frame run through a grid.

    Attributes:
        slice_axis: The array axis across the frame, and the index on it.
        slice_index: See `slice_axis`.
        axes: Array axis along growing rows, and along growing columns.
        signs: Which way the index runs on each.
        starts: Index of row 0 and of column 0 on each.
    """

    slice_axis: int
    slice_index: int
    axes: tuple[int, int]
    signs: tuple[int, int]
    starts: tuple[int, int]

    def into(
        self, array: Integer[np.ndarray, "z y x"], mask: Bool[np.ndarray, "rows columns"]
    ) -> tuple[Integer[np.ndarray, "r c"], Bool[np.ndarray, "r c"]] | None:
        """The part of `array` that the frame covers, as a view, and the mask turned to it; None when it is cut off."""
        plane_axes = (self.slice_axis, *self.axes)
        if not 0 <= self.slice_index < array.shape[self.slice_axis]:
            return None
        plane = array.transpose(plane_axes)[self.slice_index]
        turned = mask[:: self.signs[0], :: self.signs[1]]
        here, there = [], []
        for i in (0, 1):
            length, size = mask.shape[i], plane.shape[i]
            begin = self.starts[i] if self.signs[i] > 0 else self.starts[i] - (length - 1)
            first, last = max(begin, 0), min(begin + length, size)
            here.append(slice(first, max(first, last)))
            there.append(slice(first - begin, max(first, last) - begin))
        inside = turned[there[0], there[1]]
        if int(inside.sum()) != int(mask.sum()):
            return None
        return plane[here[0], here[1]], inside


def place(frame: SegFrame, size: tuple[int, int], target: Target, path: Path) -> Place:
    """Where a frame lies on the target's grid.

    A frame that says nothing of the patient's space is placed by the image it names. Where a frame says both, the two
    must agree.

    Args:
        frame: The frame.
        size: Its rows and columns.
        target: The grid.
        path: For messages.

    Raises:
        GeometryMismatch: Its pixels are not the grid's voxels, or position and named image contradict each other.
    """
    named = {target.slices[source] for source in frame.sources if source in target.slices}
    if not frame.position:
        if len(named) == 1 and size == target.shape[1:]:
            return Place(0, named.pop(), (1, 2), (1, 1), (0, 0))
        raise _off(path, frame, target, "it states no position and names no single image of the series")
    if len(frame.position) != 3 or len(frame.axes) != 6 or len(frame.spacing) != 2:
        raise _off(path, frame, target, "its position, orientation or pixel spacing is incomplete")
    start = np.asarray(frame.position)
    along, down = np.asarray(frame.axes[:3]) * frame.spacing[1], np.asarray(frame.axes[3:]) * frame.spacing[0]
    corner, to_row, to_column = target.to_index(np.array([start, start + down, start + along]))
    steps = np.array([to_row - corner, to_column - corner])
    whole = np.rint(steps)
    used = [int(np.abs(step).argmax()) for step in whole]
    if (np.abs(whole).sum(axis=1) != 1).any() or used[0] == used[1]:
        raise _off(path, frame, target, "its pixels have another size or direction than the voxels")
    far = np.array([size[0] - 1, size[1] - 1])
    drift = np.abs(
        np.outer([0, 1, 0, 1], far[0] * (steps - whole)[0])
        + np.outer([0, 0, 1, 1], far[1] * (steps - whole)[1])
        + corner
        - np.rint(corner)
    ).max()
    if drift > OFF_GRID_VOXELS:
        raise _off(path, frame, target, f"it lies {drift:.2f} voxels off them")
    first = np.rint(corner).astype(int)
    axis = 3 - used[0] - used[1]
    if axis == 0 and len(named) == 1 and len(frame.sources) == 1 and named != {int(first[0])}:
        raise _off(path, frame, target, f"it lies on slice {first[0]} and names the image of slice {named.pop()}")
    signs = (int(whole[0, used[0]]), int(whole[1, used[1]]))
    return Place(axis, int(first[axis]), (used[0], used[1]), signs, (int(first[used[0]]), int(first[used[1]])))


def own_grid(frames: Sequence[SegFrame], size: tuple[int, int], path: Path) -> Geometry:
    """The grid that the frames form by themselves; slices without a frame lie between them.

    Raises:
        InputError: `geometry.mixed_orientation` or `geometry.nonuniform_spacing` when they form none,
            `geometry.invalid` when they state no place.
    """
    if any(len(f.position) != 3 or len(f.axes) != 6 or len(f.spacing) != 2 for f in frames):
        raise InputError(
            f"{path.name} does not say where its frames lie in the patient.",
            code="geometry.invalid",
            expected="position, orientation and pixel spacing for every frame",
            hint="Give the series it was drawn on.",
        )
    axes = np.array([f.axes for f in frames])
    spacing = np.array([f.spacing for f in frames])
    if np.ptp(axes, axis=0).max() > 1e-3 or np.ptp(spacing, axis=0).max() > 1e-3 * spacing.max():
        raise InputError(
            f"The frames of {path.name} have different orientations or pixel sizes.",
            code="geometry.mixed_orientation",
            hint="Give the series it was drawn on.",
        )
    row, column = axes[0, :3], axes[0, 3:]
    normal = np.cross(row, column)
    positions = np.array([f.position for f in frames])
    order = np.argsort(positions @ normal, kind="stable")
    places = (positions @ normal)[order]
    distinct = places[np.concatenate([[True], np.diff(places) > _SAME_PLACE_MM])]
    stated = next((f.between_mm for f in frames if f.between_mm), None)
    step = _step(distinct, stated, path)
    first = positions[order[0]]
    count = round(float(distinct[-1] - distinct[0]) / step) + 1
    down_mm, along_mm = (float(v) for v in spacing[0])
    return Geometry(
        (count, *size),
        (step, down_mm, along_mm),
        _vector(first),
        (_vector(normal), _vector(column), _vector(row)),
    )


def _step(places: Float[np.ndarray, " n"], stated: float | None, path: Path) -> float:
    """Distance between slices of which some have no frame: the stated one if it fits, else the smallest that does."""
    steps = np.diff(places)
    if not len(steps):
        return stated or 1.0
    for step in (stated, float(steps.min())):
        if step and (np.abs(steps / step - np.rint(steps / step)) <= _REGULAR).all() and steps.min() > 0.5 * step:
            return float(places[-1] - places[0]) / round(float(places[-1] - places[0]) / step)
    raise InputError(
        f"The frames of {path.name} lie at no regular distance from each other.",
        code="geometry.nonuniform_spacing",
        found=[round(float(steps.min()), 4), round(float(steps.max()), 4)],
        expected="multiples of one distance",
        hint="Give the series it was drawn on.",
    )


def _off(path: Path, frame: SegFrame, target: Target, why: str) -> GeometryMismatch:
    return GeometryMismatch(
        f"Frame {frame.index + 1} of {path.name} does not lie on the voxels of its series: {why}.",
        found={"position": list(frame.position), "orientation": list(frame.axes), "spacing": list(frame.spacing)},
        expected=target.geometry.describe(),
        hint="Give the series it was drawn on, or resample it to that series first.",
    )


def _vector(values: Sequence[float] | np.ndarray) -> Vector:
    a, b, c = (float(v) for v in values)
    return (a, b, c)
