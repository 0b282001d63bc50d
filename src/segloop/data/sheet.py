"""A picture of what augmentation does: cases as they are, and beside each the variants of it that training draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from jaxtyping import Bool, Float, UInt8
from keras import KerasTensor, ops
from PIL import Image

from segloop.data.augment import Augment, Pool, with_preset
from segloop.data.feed import Example
from segloop.plan import IGNORED, Plan
from segloop.volume import Reorientation, Shape

_Patch = tuple[Float[np.ndarray, "z y x c"], UInt8[np.ndarray, "z y x"]]
_Picture = UInt8[np.ndarray, "row column 3"]

_LONGEST_SIDE = 224
_GAP, _WIDE_GAP = 4, 16
# Contours are drawn on a finer canvas that is then reduced, so that the line around a thin vessel does not cover it.
_FINER, _LINE = 3, 3
_GREY = (170, 170, 170)
# Patient sides that axes run to so that rows go down and columns right on the screen: front up, left on the right.
_SCREEN = ("SI", "PA", "LR")


def augmentation_sheet(
    plan: Plan, examples: Sequence[Example], seed: int, columns: int = 6, rows: int = 4
) -> UInt8[np.ndarray, "row column 3"]:
    """Patches of some cases in the first column, and in the others variants of each as training would draw them.

    A patch lies around the labels of the slice that has most of them. That slice is shown, with the border of each
    label in its colour: in 3-D an axial one, front up and the patient's left on the viewer's right. Pixels are square
    on the screen. A row has the grey scale of its original, so a change of brightness can be seen.

    Args:
        plan: Patch, transforms and the labels' colours.
        examples: Cases on the training grid, at least one; the rows are spread over them.
        seed: Of the variants; the same seed gives the same picture.
        columns: Pictures in a row, at least 2.
        rows: Cases; fewer where there are fewer.

    Raises:
        ValueError: There is no case, no row, or no column for a variant.
    """
    if not examples or rows < 1 or columns < 2:
        raise ValueError(f"A sheet needs a case, a row and 2 columns. Received: {len(examples)}, {rows}, {columns}")
    chosen = np.linspace(0, len(examples) - 1, min(rows, len(examples))).round().astype(int)
    turn = _to_screen(plan.preparation.orientation)
    _, y, x = turn.permutation
    spacing = plan.preparation.spacing_mm or (1.0, 1.0, 1.0)
    extent = plan.training.patch[y] * spacing[y], plan.training.patch[x] * spacing[x]
    height, width = (max(1, round(_LONGEST_SIDE * side / max(extent))) for side in extent)
    samplers = [_sampler(with_preset(plan, "none"), 1), _sampler(plan, columns - 1)]
    cells = []
    for row, index in enumerate(chosen):
        patches = [
            (turn.array(image), turn.array(mask))
            for sample in samplers
            for image, mask in sample(examples[index], _start(examples[index], plan), seed + row)
        ]
        original, mask = patches[0]
        at = int(_labelled(mask).sum(axis=(1, 2)).argmax()) if _labelled(mask).any() else len(mask) // 2
        own = plan.inputs.channels
        low, high = np.percentile(original[at, ..., :own], (0.5, 99.5), axis=(0, 1))
        cells.append(
            [
                _drawn((image[at, ..., :own] - low) / np.maximum(high - low, 1e-6), mask[at], plan, (height, width))
                for image, mask in patches
            ]
        )
    return _grid(cells)


def _sampler(plan: Plan, count: int) -> Callable[[Example, np.ndarray, int], list[_Patch]]:
    """What gives `count` variants of the patch of a case that starts at a voxel, by a seed."""
    augment, size = Augment.of(plan), plan.training.patch

    def drawn(border: Shape, arrays: Sequence[KerasTensor], seed: KerasTensor, centre: KerasTensor) -> Any:
        images, labels, offsets, shapes = arrays
        pool = Pool(images, labels, offsets, shapes, border)
        return augment.sample(augment.draw(seed, count), pool, ops.zeros((count,), "int32"), centre)

    if keras.config.backend() == "jax":
        import jax

        # As one function: operation by operation JAX takes half a minute to compile it.
        drawn = jax.jit(drawn, static_argnums=0)

    def sample(example: Example, start: np.ndarray, seed: int) -> list[_Patch]:
        pool = Pool.of([example.image], [example.labels], plan.network.dims)
        arrays = [ops.convert_to_tensor(a) for a in (pool.images, pool.labels, pool.offsets, pool.shapes)]
        middle = (start + (np.asarray(size) - 1) / 2).astype(np.float32)
        centre = ops.convert_to_tensor(np.tile(middle, (count, 1)))
        image, labels = drawn(pool.border, arrays, ops.convert_to_tensor(seed, "int32"), centre)
        images = ops.convert_to_numpy(image).reshape(count, *size, example.image.shape[-1])
        return list(zip(images, ops.convert_to_numpy(labels).reshape(count, *size), strict=True))

    return sample


def _start(example: Example, plan: Plan) -> np.ndarray:
    """First voxel of the patch around the labels of the fullest slice, on the image as far as that is large enough."""
    inside = _labelled(example.labels)
    size, shape = np.asarray(plan.training.patch), np.asarray(inside.shape)
    middle = shape // 2
    if inside.any():
        axis = _to_screen(plan.preparation.orientation).permutation[0]
        areas = inside.sum(axis=tuple(a for a in range(3) if a != axis))
        places = np.argwhere(inside)
        middle = places[places[:, axis] == areas.argmax()].mean(axis=0).round().astype(int)
    low = -(np.maximum(size - shape, 0) // 2)
    start: np.ndarray = np.clip(middle - size // 2, low, np.where(shape < size, low, shape - size))
    return start


def _labelled(mask: UInt8[np.ndarray, "z y x"]) -> Bool[np.ndarray, "z y x"]:
    inside: np.ndarray = (mask > 0) & (mask != IGNORED)
    return inside


def _to_screen(orientation: str) -> Reorientation:
    """Array axes of an orientation to slice, row and column of an axial picture."""
    places = [next(i for i, code in enumerate(orientation) if code in sides) for sides in _SCREEN]
    flips = [orientation[place] != sides[0] for place, sides in zip(places, _SCREEN, strict=True)]
    return Reorientation((places[0], places[1], places[2]), (flips[0], flips[1], flips[2]))


def _drawn(
    values: Float[np.ndarray, "y x c"], mask: UInt8[np.ndarray, "y x"], plan: Plan, size: tuple[int, int]
) -> _Picture:
    """One slice, values 0..1 black to white, with the border of each label just inside it.

    Three channels of a 2-D plan are red, green and blue; of any other number of channels the first is shown.
    """
    colour = plan.network.dims == 2 and values.shape[-1] == 3
    shown = values if colour else np.repeat(values[..., :1], 3, axis=-1)
    picture = Image.fromarray(np.rint(np.clip(shown, 0, 1) * 255).astype(np.uint8))
    height, width = (side * _FINER for side in size)
    canvas = np.array(picture.resize((width, height), Image.Resampling.BICUBIC))
    at_row, at_column = (np.arange(n) * m // n for n, m in zip((height, width), mask.shape, strict=True))
    fine = mask[np.ix_(at_row, at_column)]
    colours = [*enumerate((label.colour for label in plan.labels), 1), (IGNORED, _GREY)]
    for index, paint in colours:
        region = fine == index
        inner = np.pad(region, _LINE)
        for _ in range(_LINE):
            inner[1:-1, 1:-1] &= inner[:-2, 1:-1] & inner[2:, 1:-1] & inner[1:-1, :-2] & inner[1:-1, 2:]
        canvas[region & ~inner[_LINE:-_LINE, _LINE:-_LINE]] = paint
    return np.asarray(Image.fromarray(canvas).resize((size[1], size[0]), Image.Resampling.BOX))


def _grid(cells: Sequence[Sequence[_Picture]]) -> _Picture:
    """Rows of equal pictures on black; a white line after the first column."""
    height, width = cells[0][0].shape[:2]
    count = len(cells[0]) - 1
    across = 2 * _GAP + width + _WIDE_GAP + count * width + (count - 1) * _GAP
    sheet = np.zeros((len(cells) * (height + _GAP) + _GAP, across, 3), np.uint8)
    line = _GAP + width + _WIDE_GAP // 2
    sheet[:, line - 1 : line + 1] = 255
    for row, pictures in enumerate(cells):
        top = _GAP + row * (height + _GAP)
        for column, picture in enumerate(pictures):
            left = _GAP if column == 0 else _GAP + width + _WIDE_GAP + (column - 1) * (width + _GAP)
            sheet[top : top + height, left : left + width] = picture
    return sheet


__all__ = ["augmentation_sheet"]
