"""Lesions of two dates: which is which, by the place they take in the patient.

Two lesions are held to be one where they lie in each other's place. How well they do is a number between 0 and 1, the
pairs are chosen together so that their sum is as good as it can be, and what then is left over is new, resolved, a part
of a lesion that split, or one of several that merged.

Source: Santoro-Fernandes et al., Development and validation of a longitudinal soft-tissue metastatic lesion matching
algorithm, Phys Med Biol 66:155017 (2021): registration, dilation, clustering, linear assignment. Here the scans are
aligned by a shift alone, and the dilation is a tolerance that fades out with the distance instead of ending at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment
from scipy.spatial import KDTree

from segloop.measure.cutoff import cut_off
from segloop.measure.shape import parts
from segloop.volume import Geometry, Labels, Vector

SAME_SPACE_MM = 5.0
"""How far apart two outlines of one lesion may lie where both scans share one frame of reference: breathing."""

ALIGNED_MM = 10.0
"""The same where the scans were aligned by the centre of an organ: breathing, turning, and another filling."""

# A lesion left over belongs to another one's when it lies in its place by at least this much.
_BELONGS = 0.75
# Price of leaving one lesion unpaired; a pair costs 1 less what it is worth, so any shared place is better than none.
_ALONE = 0.5
_NEVER = 10.0


class Fate(StrEnum):
    """What became of a lesion between two dates."""

    FOLLOWED = "followed"
    NEW = "new"
    RESOLVED = "resolved"
    MERGED = "merged"
    SPLIT = "split"
    REGROUPED = "regrouped"
    OUT_OF_VIEW = "out_of_view"


@dataclass(frozen=True, slots=True)
class Lineage:
    """Lesions of the earlier date and those of the later one that they became.

    Args:
        before: Numbers of the earlier date's parts; none for one that was not there.
        after: Numbers of the later date's parts; none for one that is gone.
        pair: Of several, the earlier and the later one that fit best: these keep their name. None for a lesion of one
            date only.
        in_view: Whether the other date's image shows the place; only False for a lesion of one date only.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    pair: tuple[int, int] | None = None
    in_view: bool = True

    @property
    def fate(self) -> Fate:
        """What this is called; `REGROUPED` where several became several others and no one can say which is which."""
        if not self.in_view:
            return Fate.OUT_OF_VIEW
        if not self.before or not self.after:
            return Fate.RESOLVED if self.before else Fate.NEW
        many = (len(self.before) > 1, len(self.after) > 1)
        return {
            (False, False): Fate.FOLLOWED,
            (True, False): Fate.MERGED,
            (False, True): Fate.SPLIT,
            (True, True): Fate.REGROUPED,
        }[many]


def organ_shift_mm(before: Labels, after: Labels, lesions: Iterable[int]) -> Vector | None:
    """What to add to the earlier date's points so that the organs of both dates lie over each other.

    The shift takes the centre of all organs, with the lesions in them, onto that of the later date. Only organs count
    that both images show whole: of one that is cut off the centre is not known.

    Args:
        before: Label map of the earlier date.
        after: Label map of the later date; the same numbers mean the same.
        lesions: Numbers that are lesions, and so no landmarks.

    Returns:
        LPS mm, or None where there is no organ to go by.
    """
    sick = set(lesions)
    cut = {*cut_off(before), *cut_off(after)} - sick
    here, there = (_present(labels) for labels in (before, after))
    organs = (here & there) - sick - cut
    if not organs:
        return None
    start, end = (_centre(labels, organs | sick) for labels in (before, after))
    x, y, z = (float(v) for v in end - start)
    return (x, y, z)


def match_lesions(
    before: Labels, after: Labels, value: int, *, shift_mm: Vector = (0.0, 0.0, 0.0), reach_mm: float = SAME_SPACE_MM
) -> tuple[Lineage, ...]:
    """The parts of one label at two dates, as lineages in which every part stands once.

    Each voxel of a lesion counts 1 where the other lesion is, and less the farther off that is, down to 0 at
    `reach_mm`; what a pair is worth is the mean over the voxels of both, by volume. Pairs are chosen so that the sum
    over all is greatest. A lesion left over that lies in the place of a paired one, three quarters of it counted the
    same way, belongs to it: later ones are parts of a split, earlier ones have merged. What only lies near stays new.

    Args:
        before: Label map of the earlier date.
        after: Label map of the later date.
        value: Number of the label in both.
        shift_mm: Added to the earlier date's points, as `organ_shift_mm` gives it.
        reach_mm: Distance at which two lesions have nothing to do with each other. It is never less than the diagonal
            of a voxel, which is as exactly as a place is known.

    Returns:
        Lineages with an earlier lesion come first, by its number; then those of the later date only.
    """
    reach = max(reach_mm, *(float(np.linalg.norm(labels.geometry.spacing_mm)) for labels in (before, after)))
    old = [part.moved(shift_mm) for part in lesion_parts(before, value)]
    new = lesion_parts(after, value)
    one = np.array([[_share(a, b, reach) for b in new] for a in old]).reshape(len(old), len(new))
    other = np.array([[_share(b, a, reach) for b in new] for a in old]).reshape(len(old), len(new))
    sizes_old, sizes_new = (np.array([part.volume_ml for part in side]) for side in (old, new))
    total = sizes_old[:, None] + sizes_new[None, :]
    worth = (one * sizes_old[:, None] + other * sizes_new[None, :]) / np.where(total > 0, total, 1)
    pairs = _assigned(worth)
    kept = {a: ([a], [b]) for a, b in pairs}
    by_new = {b: a for a, b in pairs}
    lone_old = [a for a in range(len(old)) if a not in kept]
    lone_new = [b for b in range(len(new)) if b not in by_new]
    unclaimed: list[Lineage] = []
    # Against the pairs as they were chosen: a fragment belongs to a lesion, not to another fragment.
    for b in lone_new:
        hosts = [(other[a, b], -a) for a in kept if other[a, b] >= _BELONGS]
        if hosts:
            kept[-max(hosts)[1]][1].append(b)
        else:
            unclaimed.append(Lineage((), (new[b].number,), in_view=_shows(before.geometry, new[b].moved(shift_mm, -1))))
    for a in lone_old:
        hosts = [(one[a, b], -b) for b in by_new if one[a, b] >= _BELONGS]
        if hosts:
            kept[by_new[-max(hosts)[1]]][0].append(a)
        else:
            unclaimed.append(Lineage((old[a].number,), (), in_view=_shows(after.geometry, old[a])))
    joined = [
        Lineage(
            tuple(sorted(old[a].number for a in olds)),
            tuple(sorted(new[b].number for b in news)),
            (old[olds[0]].number, new[news[0]].number),
        )
        for olds, news in kept.values()
    ]
    return tuple(sorted((*joined, *unclaimed), key=lambda found: (not found.before, found.before, found.after)))


@dataclass(frozen=True, eq=False)
class LesionPart:
    """One connected part of a label in patient space.

    Args:
        number: 1, 2, … from large to small, as `measure_labels` counts them.
        points_mm: Centres of its voxels, LPS (x, y, z).
        voxel_ml: Volume of one of them.
    """

    number: int
    points_mm: Float[np.ndarray, "n 3"]
    voxel_ml: float

    @property
    def volume_ml(self) -> float:
        """Voxels times their volume."""
        return len(self.points_mm) * self.voxel_ml

    @cached_property
    def tree(self) -> KDTree:
        """For distances to the part."""
        return KDTree(self.points_mm)

    def moved(self, shift_mm: Vector, sign: int = 1) -> LesionPart:
        """The part elsewhere."""
        if not any(shift_mm):
            return self
        return LesionPart(self.number, self.points_mm + sign * np.asarray(shift_mm), self.voxel_ml)


def lesion_parts(labels: Labels, value: int) -> list[LesionPart]:
    """The connected parts of a label, numbered as they are measured."""
    found = []
    for number, (box, inside) in enumerate(parts(labels.array == value), start=1):
        index = np.argwhere(inside) + [side.start for side in box]
        found.append(LesionPart(number, labels.geometry.to_lps(index.astype(float)), labels.geometry.voxel_ml))
    return found


def _share(part: LesionPart, other: LesionPart, reach: float) -> float:
    """How much of `part` lies in the place of `other`: 1 all of it, 0 nothing within `reach`."""
    low, high = other.points_mm.min(axis=0) - reach, other.points_mm.max(axis=0) + reach
    near = part.points_mm[((part.points_mm >= low) & (part.points_mm <= high)).all(axis=1)]
    if not len(near):
        return 0.0
    distance = other.tree.query(near, distance_upper_bound=reach)[0]
    return float(np.clip(1 - distance / reach, 0, None).sum() / len(part.points_mm))


def _assigned(worth: Float[np.ndarray, "a b"]) -> Sequence[tuple[int, int]]:
    """The pairs that together are worth most, where a lesion may also stay alone."""
    olds, news = worth.shape
    cost = np.full((olds + news, olds + news), _NEVER)
    cost[:olds, :news] = np.where(worth > 0, 1 - worth, _NEVER)
    cost[:olds, news:][np.diag_indices(olds)] = _ALONE
    cost[olds:, :news][np.diag_indices(news)] = _ALONE
    cost[olds:, news:] = 0
    rows, columns = linear_sum_assignment(cost)
    return [(int(a), int(b)) for a, b in zip(rows, columns, strict=True) if a < olds and b < news and worth[a, b] > 0]


def _shows(geometry: Geometry, part: LesionPart) -> bool:
    """Whether an image covers at least half of the part's voxels."""
    index = geometry.to_index(part.points_mm)
    inside = ((index >= -0.5) & (index <= np.asarray(geometry.shape) - 0.5)).all(axis=1)
    return bool(inside.mean() >= 0.5)


def _centre(labels: Labels, values: Iterable[int]) -> Float[np.ndarray, " 3"]:
    chosen = np.zeros(int(labels.array.max()) + 1, bool)
    chosen[[value for value in values if value < len(chosen)]] = True
    along = [np.zeros(length) for length in labels.array.shape]
    # Slice by slice: a list of an organ's voxels would take many times the memory of the mask.
    for z, cut in enumerate(labels.array):
        inside = chosen[cut]
        if inside.any():
            along[0][z] = np.count_nonzero(inside)
            along[1] += np.count_nonzero(inside, axis=1)
            along[2] += np.count_nonzero(inside, axis=0)
    index = np.array([counts @ np.arange(len(counts)) / counts.sum() for counts in along])
    return np.asarray(labels.geometry.to_lps(index))


def _present(labels: Labels) -> set[int]:
    """Label numbers that occur."""
    return {int(value) for cut in labels.array for value in np.flatnonzero(np.bincount(cut.ravel()))} - {0}
