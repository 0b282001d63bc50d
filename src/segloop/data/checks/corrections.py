"""One file corrected: a label map put on its image's grid, an image without its impossible values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from segloop.data.checks.faults import Fault
from segloop.data.checks.grids import regridded
from segloop.data.checks.reading import Image, LabelMap, read_image, read_label_map
from segloop.volume import Labels, Volume

IN_LABEL = (
    *("shape_differs", "spacing_differs", "origin_differs", "direction_differs", "mirrored_label"),
    *("fractional_label", "float_label", "four_dimensional"),
)
"""Faults that are mended by writing the label map anew."""

IN_IMAGE = ("not_finite", "wrong_rescale", "channel_count")
"""Faults that are mended by writing an image file anew."""

_LARGEST_LABEL = 65535


def corrected_label(label: Path, image: Path | None) -> Labels | Volume | None:
    """The label map in whole numbers on the grid of its image; None when that cannot be had exactly.

    Args:
        label: Its file.
        image: The (first) image file; without one the grid stays.
    """
    read = read_label_map(label)
    if not isinstance(read, LabelMap):
        return None
    array, geometry = read.array, read.geometry
    if image is not None:
        seen = read_image(image)
        if not isinstance(seen, Image):
            return None
        placed = regridded(array, geometry, seen.geometry)
        if placed is None:
            return None
        array, geometry = placed, seen.geometry
    array = np.ascontiguousarray(array)
    if array.min() < 0 or array.max() > _LARGEST_LABEL:
        return Volume(array, geometry)
    return Labels(array.astype(np.uint8 if array.max() <= 255 else np.uint16), geometry)


def corrected_image(path: Path, faults: Sequence[Fault]) -> Volume | None:
    """The image without the faults that were found in its file; None when it can no longer be read.

    Args:
        path: Its file.
        faults: Of `IN_IMAGE`, all of this file.
    """
    read = read_image(path)
    if not isinstance(read, Image):
        return None
    array = read.array
    for fault in faults:
        if fault.kind == "not_finite":
            array = _finite(array)
        elif fault.kind == "channel_count":
            array = array[..., 0]
        else:
            assert isinstance(fault.found, float)
            assert isinstance(fault.expected, float)
            array = _shifted(array, fault.expected - fault.found)
    return Volume(np.ascontiguousarray(array), read.geometry)


def _finite(array: Shaped[np.ndarray, "z y x ..."]) -> Shaped[np.ndarray, "z y x ..."]:
    lowest = float(array[np.isfinite(array)].min())
    finite: Shaped[np.ndarray, "z y x ..."] = np.nan_to_num(array, nan=lowest, posinf=lowest, neginf=lowest)
    return finite


def _shifted(array: Shaped[np.ndarray, "z y x ..."], by: float) -> Shaped[np.ndarray, "z y x ..."]:
    if array.dtype.kind == "f":
        shifted: Shaped[np.ndarray, "z y x ..."] = array + array.dtype.type(by)
        return shifted
    moved = array.astype(np.int64) + int(by)
    kinds = (np.int16, np.int32, np.int64)
    return moved.astype(next(k for k in kinds if np.iinfo(k).min <= moved.min() and moved.max() <= np.iinfo(k).max))
