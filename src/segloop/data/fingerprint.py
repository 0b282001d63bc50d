"""What the data are like: sizes, spacings, intensities and labels of every case, in the canonical orientation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import cc3d
import numpy as np

from segloop.data.dataset import Case, Dataset
from segloop.plan import Frozen, LabelSpec, Region
from segloop.volume import CANONICAL, Labels, Shape, Vector, Volume

# Voxels drawn per case for intensity statistics, as nnU-Net does: percentiles settle long before.
_SAMPLE = 10_000
_SEED = 12345
# Air around a body lies within this share of the range of values above the darkest one.
_AIR = 0.1


class Intensity(Frozen):
    """Values of one channel inside the labels, over all cases.

    Attributes:
        mean: Mean.
        sd: Standard deviation.
        low: 0.5th percentile.
        median: 50th percentile.
        high: 99.5th percentile.
        log_mean: Mean of log(1 + value), negative values taken as 0.
        log_sd: Standard deviation of the same.
    """

    mean: float
    sd: float
    low: float
    median: float
    high: float
    log_mean: float = 0.0
    log_sd: float = 1.0


class LabelFingerprint(Frozen):
    """One label over all cases.

    Attributes:
        spec: The label.
        cases: Cases in which it occurs.
        share: Its share of all voxels.
        most_components: Most 26-connected parts in one case.
        median_ml: Median volume over the cases that have it; of area-like use only for photographs.
        width: Width in voxels of a line (2-D) or tube (3-D) with as much surface for its size as the label has: right
            for a vessel, two thirds of the diameter of a ball. Median over the cases, 0 when it never occurs.
        slenderness: How many times longer than wide a part would be if it were such a line or tube: about 2 to 10 for
            lumps, hundreds for vessels. Median over the cases.
    """

    spec: LabelSpec
    cases: int
    share: float
    most_components: int
    median_ml: float
    width: float = 0.0
    slenderness: float = 0.0


class Fingerprint(Frozen):
    """The facts a Plan is made from.

    Attributes:
        name: The dataset's.
        modality: DICOM modality, empty when unstated.
        channels: Channels of each image.
        dims: 2 when every image has one slice, else 3.
        photographs: The images are 2-D files without patient geometry.
        shapes: Voxels along z, y, x of each case, canonical.
        spacings_mm: Spacing along z, y, x of each case, canonical.
        intensities: One per channel.
        labels: One per label.
        ignore_label: Number of voxels that count nowhere; None when there is none.
        regions: Overlapping labels; empty when labels exclude each other.
        empty: Share of an image that is as dark as the air around a body, median over the cases.
    """

    name: str
    modality: str
    channels: int
    dims: Literal[2, 3]
    photographs: bool
    shapes: tuple[Shape, ...]
    spacings_mm: tuple[Vector, ...]
    intensities: tuple[Intensity, ...]
    labels: tuple[LabelFingerprint, ...]
    ignore_label: int | None = None
    regions: tuple[Region, ...] = ()
    empty: float = 0.0

    @property
    def outputs(self) -> int:
        """Channels a network for these labels ends in: one per region, or background and one per label."""
        return len(self.regions) or len(self.labels) + 1

    @property
    def extents_mm(self) -> tuple[Vector, ...]:
        """Field of view along z, y, x of each case."""
        return tuple(
            (s[0] * d[0], s[1] * d[1], s[2] * d[2]) for s, d in zip(self.shapes, self.spacings_mm, strict=True)
        )


def fingerprint(dataset: Dataset, progress: Callable[[int, int], None] | None = None) -> Fingerprint:
    """The dataset's fingerprint; every case is read once.

    Args:
        dataset: Cases to look at.
        progress: Called with cases done and their total.

    Raises:
        InputError: A case cannot be read or does not fit its label map.
    """
    shapes: list[Shape] = []
    spacings: list[Vector] = []
    samples: list[np.ndarray] = []
    empty: list[float] = []
    counts = _Counts(dataset.labels)
    random = np.random.default_rng(_SEED)
    for done, case in enumerate(dataset.cases, start=1):
        volume, labels = _canonical(dataset, case)
        shapes.append(volume.geometry.shape)
        spacings.append(volume.geometry.spacing_mm)
        samples.append(_sample(volume, labels, dataset.ignore_label, random))
        empty.append(_empty(volume))
        counts.add(labels)
        if progress is not None:
            progress(done, len(dataset.cases))
    values = np.concatenate(samples)
    return Fingerprint(
        name=dataset.name,
        modality=dataset.modality,
        channels=dataset.channels,
        dims=2 if all(shape[0] == 1 for shape in shapes) else 3,
        photographs=dataset.photographs,
        shapes=tuple(shapes),
        spacings_mm=tuple(spacings),
        intensities=tuple(_intensity(values[:, channel]) for channel in range(values.shape[1])),
        labels=counts.fingerprints(),
        ignore_label=dataset.ignore_label,
        regions=dataset.regions,
        empty=float(np.median(empty)),
    )


def _canonical(dataset: Dataset, case: Case) -> tuple[Volume, Labels]:
    volume, labels = dataset.read(case)
    return volume.reoriented(CANONICAL), labels.reoriented(CANONICAL)


def _sample(volume: Volume, labels: Labels, ignore: int | None, random: np.random.Generator) -> np.ndarray:
    """Up to `_SAMPLE` voxels inside any label, (n, channel) float64; of the whole image when no label occurs."""
    array = volume.array if volume.array.ndim == 4 else volume.array[..., None]
    inside: np.ndarray = array[(labels.array > 0) & (labels.array != (ignore or 0))]
    if not len(inside):
        inside = array.reshape(-1, array.shape[-1])
    if len(inside) > _SAMPLE:
        inside = inside[random.choice(len(inside), _SAMPLE, replace=False)]
    return inside.astype(np.float64)


def _intensity(values: np.ndarray) -> Intensity:
    low, median, high = np.percentile(values, [0.5, 50.0, 99.5])
    logarithms = np.log1p(np.maximum(values, 0))
    return Intensity(
        mean=values.mean(),
        sd=values.std(),
        low=low,
        median=median,
        high=high,
        log_mean=logarithms.mean(),
        log_sd=logarithms.std(),
    )


def _empty(volume: Volume) -> float:
    """Share of voxels whose (first) channel lies in the lowest tenth of its range, outliers left out."""
    values = volume.array if volume.array.ndim == 3 else volume.array[..., 0]
    low, high = np.percentile(values, [0.5, 99.5])
    return float(np.mean(values <= low + _AIR * (high - low))) if high > low else 0.0


def _width(mask: np.ndarray) -> float:
    """`LabelFingerprint.width` of a mask (z, y, x) that is not empty.

    Faces between voxels overstate a surface: 4/pi times along a line, 3/2 times on a round tube.
    """
    surface = 0
    for axis, length in enumerate(mask.shape):
        if length > 1:
            ends = np.take(mask, [0, -1], axis)
            surface += int(np.count_nonzero(np.diff(mask, axis=axis))) + int(np.count_nonzero(ends))
    # A line of width w has two sides, so w = 2 area / length; a tube of diameter d has pi d, so d = 4 volume / surface.
    factor = 2 * 4 / np.pi if mask.shape[0] == 1 else 4 * 3 / 2
    return float(factor * np.count_nonzero(mask) / max(surface, 1))


class _Counts:
    """Running totals per label."""

    def __init__(self, specs: Sequence[LabelSpec]) -> None:
        self.specs = specs
        self.voxels = 0
        self.inside = dict.fromkeys((spec.value for spec in specs), 0)
        self.volumes: dict[int, list[float]] = {spec.value: [] for spec in specs}
        self.components = dict.fromkeys((spec.value for spec in specs), 0)
        self.widths: dict[int, list[float]] = {spec.value: [] for spec in specs}
        self.slenderness: dict[int, list[float]] = {spec.value: [] for spec in specs}

    def add(self, labels: Labels) -> None:
        self.voxels += labels.array.size
        for spec in self.specs:
            mask = labels.array == spec.value
            count = int(mask.sum())
            if not count:
                continue
            self.inside[spec.value] += count
            self.volumes[spec.value].append(count * labels.geometry.voxel_ml)
            parts = int(cc3d.connected_components(mask, connectivity=26, return_N=True)[1])
            self.components[spec.value] = max(self.components[spec.value], parts)
            width = _width(mask)
            self.widths[spec.value].append(width)
            self.slenderness[spec.value].append(count / parts / width ** (2 if mask.shape[0] == 1 else 3))

    def fingerprints(self) -> tuple[LabelFingerprint, ...]:
        return tuple(
            LabelFingerprint(
                spec=spec,
                cases=len(self.volumes[spec.value]),
                share=self.inside[spec.value] / self.voxels,
                most_components=self.components[spec.value],
                median_ml=_median(self.volumes[spec.value]),
                width=_median(self.widths[spec.value]),
                slenderness=_median(self.slenderness[spec.value]),
            )
            for spec in self.specs
        )


def _median(values: Sequence[float]) -> float:
    """0 when there is none."""
    return float(np.median(values)) if values else 0.0
