"""Does a label map fit its image better when it is mirrored? Two measures, compared with those of all other cases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Integer, Shaped

_MOST = 60_000
_ENOUGH, _FEW = 8, 0.15
# Mirrored must fit better by this share of what the other cases fit worse, and by so many robust standard deviations.
_CLEAR, _UNLIKE = 0.3, 4.0
# The measure that tells the two apart better decides: alone where all other cases agree and it does so well. Else, and
# where the cases agree in the other one as well, that one must not speak against it.
_ALL, _NEARLY_ALL, _SEPARATE = 0.97, 0.9, 2.5


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
    found = np.flatnonzero(array)
    if len(found) > _MOST:
        found = np.random.default_rng(0).choice(found, _MOST, replace=False)
    inside = np.stack(np.unravel_index(found, array.shape), axis=-1)
    values = array[tuple(inside.T)]
    border = inside[_on_border(inside, values, array)]
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
    if len(margins) < _ENOUGH:
        return
    ids, table = list(margins), np.array(list(margins.values()))
    for axis in range(3):
        usual, spread = _usual(table[:, axis])
        measure = int(np.argmax(usual / spread))
        values, other = table[:, axis, measure], table[:, axis, 1 - measure]
        if (values > 0).sum() < _ENOUGH:
            continue
        clear = max(_CLEAR * usual[measure], _UNLIKE * spread[measure] - usual[measure])
        against = values < -clear
        agreed = float((values[~against] > 0).mean())
        if agreed < _ALL or usual[measure] < _SEPARATE * spread[measure] or (other > 0).mean() >= _ALL:
            against &= other <= 0
        if agreed >= _NEARLY_ALL and against.sum() <= _FEW * len(values):
            right = len(ids) - int(against.sum())
            yield from ((ids[i], axis, right, len(ids)) for i in np.flatnonzero(against).tolist())


def _usual(values: Float[np.ndarray, "n 2"]) -> tuple[Float[np.ndarray, " 2"], Float[np.ndarray, " 2"]]:
    """Median and robust standard deviation of each measure."""
    middle = np.median(values, axis=0)
    return middle, np.maximum(1.4826 * np.median(np.abs(values - middle), axis=0), 1e-9)


def _on_border(
    places: Integer[np.ndarray, "n 3"], values: Integer[np.ndarray, " n"], array: Integer[np.ndarray, "z y x"]
) -> Bool[np.ndarray, " n"]:
    """Which voxels have a face neighbour of another number."""
    border = np.zeros(len(places), bool)
    for step in (*np.eye(3, dtype=int), *-np.eye(3, dtype=int)):
        near = np.clip(places + step, 0, np.array(array.shape) - 1)
        border |= array[tuple(near.T)] != values
    return border


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
