"""Does a label map fit its image better when it is mirrored? Two measures, each compared with that of its mirror image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float, Integer, Shaped
from scipy import ndimage

_MOST = 20_000
_ENOUGH, _AGREED = 8, 0.9
# Mirrored must fit better by half of what other cases fit worse.
_CLEAR = 0.5


def mirror_margins(
    array: Integer[np.ndarray, "z y x"], grey: Shaped[np.ndarray, "z y x"], sample: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "3 2"]:
    """How much better each label fits where it is than mirrored along z, y, x; below 0, mirrored fits better.

    The first measure is how alike the grey values inside a label are (standard deviation of their rank in the image),
    the second how steep the image is along the label's border, as a share of both. An axis with one voxel gives 0.

    Args:
        array: Label numbers, canonical.
        grey: The image on that grid, finite.
        sample: Sorted sample of its grey values.
    """
    inside = np.argwhere(array)
    inside = inside[:: max(1, len(inside) // _MOST)]
    values = array[tuple(inside.T)]
    border = np.argwhere((array != 0) & (ndimage.minimum_filter(array, 3) != ndimage.maximum_filter(array, 3)))
    border = border[:: max(1, len(border) // _MOST)]
    spread, steep = _spread(inside, values, grey, sample), _steepness(border, grey)
    margins = np.zeros((3, 2))
    for axis in range(3):
        if array.shape[axis] > 1:
            there = _steepness(_mirrored(border, axis, array.shape), grey)
            margins[axis, 0] = _spread(_mirrored(inside, axis, array.shape), values, grey, sample) - spread
            margins[axis, 1] = (steep - there) / max(steep + there, 1e-12)
    return margins


def mirrored_axes(margins: Mapping[str, Float[np.ndarray, "3 2"]]) -> Iterator[tuple[str, int, int, int]]:
    """Cases that fit better mirrored along an axis along which nearly all others fit better as they are.

    Args:
        margins: `mirror_margins` of each case.

    Yields:
        The case, the axis (0 z, 1 y, 2 x), and how many of how many cases fit as they are.
    """
    ids, table = list(margins), np.array(list(margins.values())).reshape(-1, 3, 2)
    for axis in range(3):
        told = set[int]()
        for measure in range(2):
            values, others = table[:, axis, measure], table[:, axis, 1 - measure]
            right = int((values > 0).sum())
            if right < _ENOUGH or right < _AGREED * len(values):
                continue
            limit = -_CLEAR * float(np.median(values[values > 0]))
            told.update(np.flatnonzero((values < limit) & (others <= 0)).tolist())
        yield from ((ids[i], axis, len(ids) - len(told), len(ids)) for i in sorted(told))


def _mirrored(places: Integer[np.ndarray, "n 3"], axis: int, shape: Sequence[int]) -> Integer[np.ndarray, "n 3"]:
    there = places.copy()
    there[:, axis] = shape[axis] - 1 - there[:, axis]
    return there


def _spread(
    places: Integer[np.ndarray, "n 3"],
    values: Integer[np.ndarray, " n"],
    grey: Shaped[np.ndarray, "z y x"],
    sample: Float[np.ndarray, " n"],
) -> float:
    """Standard deviation of the rank of grey values, averaged over labels by their size."""
    ranks = np.searchsorted(sample, grey[tuple(places.T)]) / len(sample)
    found, counts = np.unique(values, return_counts=True)
    return float(np.average([ranks[values == value].std() for value in found], weights=counts))


def _steepness(places: Integer[np.ndarray, "n 3"], grey: Shaped[np.ndarray, "z y x"]) -> float:
    """Mean length of the gradient in grey values per two voxels."""
    total = np.zeros(len(places))
    for axis in range(3):
        step = np.eye(3, dtype=int)[axis]
        top = np.array(grey.shape) - 1
        after = grey[tuple(np.minimum(places + step, top).T)].astype(np.float64)
        before = grey[tuple(np.maximum(places - step, 0).T)].astype(np.float64)
        total += (after - before) ** 2
    return float(np.sqrt(total).mean()) if len(places) else 0.0
