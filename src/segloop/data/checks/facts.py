"""What is kept of a case once its voxels are forgotten: enough to compare it with all the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import cc3d
import numpy as np
from jaxtyping import Float, Integer, Shaped

from segloop.data.checks.entries import Entry
from segloop.data.checks.faults import Fault
from segloop.volume import Geometry, Vector

MOST_VALUES = 256
"""Different numbers in a label map up to which each is looked at; beyond, it is no label map."""

SPECK_VOXELS = 3
"""Largest scrap of a label that counts as a slip of the brush."""

_SPECK_SHARE = 0.05
_SAMPLE = 20_000
# "Air" is what lies within this share of an image's range above its lowest values.
_AIR = 0.02
_THUMBNAIL_EDGE, _PICTURE_EDGE = 16, 32


@dataclass(frozen=True, slots=True)
class Levels:
    """Grey values of an image's first channel; of a colour picture their mean.

    Args:
        lowest: Lowest finite value.
        low: 0.5th percentile.
        median: 50th percentile.
        high: 99.5th percentile.
        highest: Highest finite value.
    """

    lowest: float
    low: float
    median: float
    high: float
    highest: float


@dataclass(frozen=True, slots=True)
class LabelFacts:
    """One label number in one case.

    Args:
        voxels: How many have it.
        share: Of all voxels.
        volume_ml: Their volume.
        place: Centre of mass as a share of the image along z, y, x, canonical.
        centre_mm: Centre of mass in patient space.
        components: 26-connected parts.
        specks: Parts of at most three voxels and a twentieth of the label.
        rank: Share of the image's voxels that are darker than the label's median; None without a common grid.
        air: Share of the label's voxels that are as dark as the image's background; None without a common grid.
        median: Median grey value inside; None without a common grid.
    """

    voxels: int
    share: float
    volume_ml: float
    place: Vector
    centre_mm: Vector
    components: int
    specks: int
    rank: float | None = None
    air: float | None = None
    median: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class CaseFacts:
    """One case as compared with the others.

    Args:
        entry: Its files.
        faults: What is wrong with it alone.
        geometry: The image's, canonical; None when it cannot be read.
        channels: Of the image; 0 when it cannot be read.
        grey_in_colour: The image has three equal channels.
        image_digest: Equal for equal voxels, whatever the file format, orientation or number type.
        label_digest: As above; empty for a label map without foreground.
        shape_digest: Of the label map's bounding box alone.
        thumbnail: Coarse image, zero mean.
        levels: Grey values; None when the image cannot be read.
        values: Different numbers in the label map, at most `MOST_VALUES` + 1; None when it cannot be read.
        labels: Facts of each number but 0.
        margins: `symmetry.mirror_margins`; None without a common grid or without foreground.
    """

    entry: Entry
    faults: tuple[Fault, ...]
    geometry: Geometry | None = None
    channels: int = 0
    grey_in_colour: bool = False
    image_digest: str = ""
    label_digest: str = ""
    shape_digest: str = ""
    thumbnail: Float[np.ndarray, " n"] | None = None
    levels: Levels | None = None
    values: tuple[int, ...] | None = None
    labels: Mapping[int, LabelFacts] = field(default_factory=dict)
    margins: Float[np.ndarray, "3 2"] | None = None

    @property
    def broken(self) -> bool:
        """Whether an error of its own explains whatever else is strange about it."""
        return any(fault.severity == "error" for fault in self.faults)

    @property
    def id(self) -> str:
        """The case's name."""
        return self.entry.id


def levels(grey: Shaped[np.ndarray, "z y x"]) -> tuple[Levels, Float[np.ndarray, " n"]]:
    """Grey values of a finite image, and a sorted sample of at most 40,000 of them."""
    flat = grey.reshape(-1)
    sample = np.sort(flat[:: max(1, flat.size // _SAMPLE)].astype(np.float64))
    low, median, high = (float(sample[int(q * (len(sample) - 1))]) for q in (0.005, 0.5, 0.995))
    return Levels(float(flat.min()), low, median, high, float(flat.max())), sample


def thumbnail(grey: Shaped[np.ndarray, "z y x"]) -> Float[np.ndarray, " n"]:
    """The image as averages of 16 × 16 × 16 blocks (a single slice 32 × 32), zero mean, length 1, float32."""
    edge = _THUMBNAIL_EDGE if grey.shape[0] > 1 else _PICTURE_EDGE
    small = grey
    for axis in range(3):
        starts = np.linspace(0, grey.shape[axis], min(edge, grey.shape[axis]), endpoint=False).astype(int)
        counts = np.diff([*starts, grey.shape[axis]]).reshape([-1 if a == axis else 1 for a in range(3)])
        small = np.add.reduceat(small, starts, axis=axis, dtype=np.float64) / counts
    full = (1 if grey.shape[0] == 1 else edge, edge, edge)
    nearest = [np.arange(n) * have // n for n, have in zip(full, small.shape, strict=True)]
    flat = small[np.ix_(*nearest)].ravel()
    flat = flat - flat.mean()
    unit: Float[np.ndarray, " n"] = (flat / max(float(np.linalg.norm(flat)), 1e-12)).astype(np.float32)
    return unit


def label_facts(
    array: Integer[np.ndarray, "z y x"],
    geometry: Geometry,
    grey: Shaped[np.ndarray, "z y x"] | None,
    sample: Float[np.ndarray, " n"],
) -> tuple[tuple[int, ...], dict[int, LabelFacts], Integer[np.ndarray, "z2 y2 x2"]]:
    """The numbers of a label map, the facts of each but 0, and the label map cut down to its foreground.

    Args:
        array: Label numbers, canonical.
        geometry: Their grid.
        grey: The image on that grid, finite; None when there is none.
        sample: Sorted sample of its grey values; unused without `grey`.
    """
    box = _box(array != 0)
    crop = array[box]
    found = np.unique(crop).tolist() if crop.size else []
    values = found if len(found) and crop.size == array.size else sorted({0, *found})
    if len(values) > MOST_VALUES or not crop.size or min(values) < 0 or max(values) > 65535:
        return tuple(values[: MOST_VALUES + 1]), {}, crop
    parts = cc3d.connected_components(np.ascontiguousarray(crop, np.uint16), connectivity=26)
    statistics = cc3d.statistics(parts, no_slice_conversion=True)
    owner = np.zeros(len(statistics["voxel_counts"]), np.int64)
    owner[parts.reshape(-1)] = crop.reshape(-1)
    facts: dict[int, LabelFacts] = {}
    for value in (v for v in values if v):
        mine = np.flatnonzero(owner == value)
        sizes = statistics["voxel_counts"][mine].astype(np.int64)
        centre = np.average(statistics["centroids"][mine], axis=0, weights=sizes) + [s.start for s in box]
        inside = None if grey is None else grey[box][crop == value]
        total = int(sizes.sum())
        rank, air, median = (None, None, None) if inside is None else _seen(inside, sample)
        z, y, x = ((centre + 0.5) / array.shape).tolist()
        a, b, c = geometry.to_lps(centre).tolist()
        facts[value] = LabelFacts(
            voxels=total,
            share=total / array.size,
            volume_ml=total * geometry.voxel_ml,
            place=(z, y, x),
            centre_mm=(a, b, c),
            components=len(sizes),
            specks=int(((sizes <= SPECK_VOXELS) & (sizes < _SPECK_SHARE * total)).sum()),
            rank=rank,
            air=air,
            median=median,
        )
    return tuple(values), facts, crop


def _seen(inside: Shaped[np.ndarray, " n"], sample: Float[np.ndarray, " n"]) -> tuple[float, float, float]:
    """Rank, share of air and median of the grey values inside a label."""
    few = inside[:: max(1, inside.size // _SAMPLE)]
    median = float(np.median(few))
    low, high = sample[int(0.005 * (len(sample) - 1))], sample[int(0.995 * (len(sample) - 1))]
    air = float((few <= low + _AIR * (high - low)).mean())
    return float(np.searchsorted(sample, median)) / len(sample), air, median


def _box(inside: Shaped[np.ndarray, "z y x"]) -> tuple[slice, slice, slice]:
    """Where anything is inside; empty slices when nothing is."""
    spans = []
    for axis in range(3):
        where = np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != axis)))
        spans.append(slice(int(where[0]), int(where[-1]) + 1) if len(where) else slice(0, 0))
    return spans[0], spans[1], spans[2]
