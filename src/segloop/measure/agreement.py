"""Two masks to numbers: overlap, surface distances, and intervals over cases.

Each function is pure, says its unit in its name, and states its answer for empty masks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Integer
from scipy.spatial import KDTree

from segloop.errors import GeometryMismatch
from segloop.volume import Vector

Mask = Bool[np.ndarray, "z y x"]


def dice(reference: Mask, prediction: Mask) -> float:
    """Overlap: twice the common voxels over the sum of both.

    Args:
        reference: Expert mask.
        prediction: Mask under test, on the same grid.

    Returns:
        0 when exactly one mask is empty; `nan` when both are, so whoever averages must decide.

    Raises:
        GeometryMismatch: The masks differ in shape.

    >>> dice(np.ones((1, 2, 2), bool), np.array([[[True, True], [False, False]]]))
    0.6666666666666666
    """
    _require_same_shape(reference, prediction)
    total = int(np.count_nonzero(reference)) + int(np.count_nonzero(prediction))
    return 2 * int(np.count_nonzero(reference & prediction)) / total if total else float("nan")


def hausdorff_mm(reference: Mask, prediction: Mask, spacing_mm: Vector, percentile: float = 95.0) -> float:
    """Largest surface-to-surface distance in mm, ignoring the worst outliers.

    A voxel lies on a surface when it is foreground and one of its six face neighbours is not; beyond the volume counts
    as background. Distances run between voxel centres; the percentile is taken each way and the larger one returned.

    Args:
        reference: Expert mask.
        prediction: Mask under test, on the same grid.
        spacing_mm: Voxel size along z, y, x.
        percentile: 100 gives the classical Hausdorff distance.

    Returns:
        `inf` when exactly one mask is empty; `nan` when both are, so whoever averages must decide.

    Raises:
        GeometryMismatch: The masks differ in shape.

    Source: Podobnik & Vrtovec, implementation pitfalls of distance metrics, arXiv 2410.02630.
    """
    distances = _surface_distances(reference, prediction, spacing_mm)
    if distances is None:
        return _one_empty(reference, prediction, float("inf"))
    return max(float(np.percentile(way, percentile)) for way in distances)


def surface_dice(reference: Mask, prediction: Mask, spacing_mm: Vector, tolerance_mm: float = 1.0) -> float:
    """Share of both surfaces that lies within `tolerance_mm` of the other one.

    Surfaces are the voxels of `hausdorff_mm`, each counted once: with anisotropic voxels this weighs faces by
    number, not by area, unlike the surface elements of DeepMind's surface-distance.

    Args:
        reference: Expert mask.
        prediction: Mask under test, on the same grid.
        spacing_mm: Voxel size along z, y, x.
        tolerance_mm: Distance between voxel centres that still counts as agreement.

    Returns:
        0 when exactly one mask is empty; `nan` when both are, so whoever averages must decide.

    Raises:
        GeometryMismatch: The masks differ in shape.

    Source: Nikolov et al., J Med Internet Res 23:e26151 (2021).
    """
    distances = _surface_distances(reference, prediction, spacing_mm)
    if distances is None:
        return _one_empty(reference, prediction, 0.0)
    # Half a micrometre: sums of rounded spacings must not fall out of a tolerance they equal.
    within = sum(int(np.count_nonzero(way <= tolerance_mm + 5e-7)) for way in distances)
    return within / sum(len(way) for way in distances)


def bootstrap_interval(
    values: Sequence[float] | Float[np.ndarray, " n"], *, level: float = 0.95, draws: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean over cases.

    Args:
        values: One per case; those that are not finite are left out, as they are from the mean.
        level: Probability that the interval is to cover.
        draws: Resamples.
        seed: The same values and seed give the same interval.

    Returns:
        `(nan, nan)` without a finite value; a point with one.

    Source: Efron & Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
    """
    finite = np.asarray(values, float)
    finite = finite[np.isfinite(finite)]
    if not len(finite):
        return float("nan"), float("nan")
    random = np.random.default_rng(seed)
    # Drawn in blocks, so that many cases do not need draws times cases numbers at once.
    block = max(1, 1_000_000 // len(finite))
    means = np.concatenate(
        [
            finite[random.integers(0, len(finite), (min(block, draws - start), len(finite)))].mean(axis=1)
            for start in range(0, draws, block)
        ]
    )
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _surface_distances(
    reference: Mask, prediction: Mask, spacing_mm: Vector
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " m"]] | None:
    """Distance in mm of each surface voxel to the other surface, both ways; None when a mask is empty."""
    _require_same_shape(reference, prediction)
    if not reference.any() or not prediction.any():
        return None
    one, other = (_surface(mask) * np.asarray(spacing_mm) for mask in (reference, prediction))
    # Nearest neighbours among surface voxels cost by surface; a distance transform costs by volume, ten times more for
    # an organ.
    there, back = KDTree(other).query(one)[0], KDTree(one).query(other)[0]
    return np.asarray(there), np.asarray(back)


def _surface(mask: Mask) -> Integer[np.ndarray, "n 3"]:
    """Indices of foreground voxels of which a face neighbour is background; outside the volume is background."""
    corner = []
    for axis in range(3):
        held = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        corner.append((int(held[0]), int(held[-1]) + 1))
    inside = np.pad(mask[tuple(slice(*ends) for ends in corner)], 1)
    core = inside[1:-1, 1:-1, 1:-1]
    enclosed = core.copy()
    for axis in range(3):
        for start in (0, 2):
            window = [slice(1, -1)] * 3
            window[axis] = slice(start, start + core.shape[axis])
            enclosed &= inside[tuple(window)]
    return np.argwhere(core & ~enclosed) + [start for start, _ in corner]


def _one_empty(reference: Mask, prediction: Mask, value: float) -> float:
    return value if reference.any() != prediction.any() else float("nan")


def _require_same_shape(reference: Mask, prediction: Mask) -> None:
    if reference.shape != prediction.shape:
        raise GeometryMismatch(
            f"Two masks to be compared differ in shape: {reference.shape} and {prediction.shape}.",
            found=list(prediction.shape),
            expected=list(reference.shape),
        )
