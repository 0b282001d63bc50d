"""What the data are like: sizes, spacings, intensities and labels of every case, in the canonical orientation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import cc3d
import numpy as np

from segloop.data.dataset import Case, Dataset
from segloop.plan import Frozen, LabelSpec
from segloop.volume import CANONICAL, Labels, Shape, Vector, Volume

# Voxels drawn per case for intensity statistics, as nnU-Net does: percentiles settle long before.
_SAMPLE = 10_000
_SEED = 12345


class Intensity(Frozen):
    """Values of one channel inside the labels, over all cases.

    Attributes:
        mean: Mean.
        sd: Standard deviation.
        low: 0.5th percentile.
        median: 50th percentile.
        high: 99.5th percentile.
    """

    mean: float
    sd: float
    low: float
    median: float
    high: float


class LabelFingerprint(Frozen):
    """One label over all cases.

    Attributes:
        spec: The label.
        cases: Cases in which it occurs.
        share: Its share of all voxels.
        most_components: Most 26-connected parts in one case.
        median_ml: Median volume over the cases that have it; of area-like use only for photographs.
    """

    spec: LabelSpec
    cases: int
    share: float
    most_components: int
    median_ml: float


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
    counts = _Counts(dataset.labels)
    random = np.random.default_rng(_SEED)
    for done, case in enumerate(dataset.cases, start=1):
        volume, labels = _canonical(dataset, case)
        shapes.append(volume.geometry.shape)
        spacings.append(volume.geometry.spacing_mm)
        samples.append(_sample(volume, labels, random))
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
    )


def _canonical(dataset: Dataset, case: Case) -> tuple[Volume, Labels]:
    volume, labels = dataset.read(case)
    return volume.reoriented(CANONICAL), labels.reoriented(CANONICAL)


def _sample(volume: Volume, labels: Labels, random: np.random.Generator) -> np.ndarray:
    """Up to `_SAMPLE` voxels inside any label, (n, channel) float64; of the whole image when no label occurs."""
    array = volume.array if volume.array.ndim == 4 else volume.array[..., None]
    inside = array[labels.array > 0]
    if not len(inside):
        inside = array.reshape(-1, array.shape[-1])
    if len(inside) > _SAMPLE:
        inside = inside[random.choice(len(inside), _SAMPLE, replace=False)]
    return inside.astype(np.float64)


def _intensity(values: np.ndarray) -> Intensity:
    low, median, high = np.percentile(values, [0.5, 50.0, 99.5])
    return Intensity(mean=values.mean(), sd=values.std(), low=low, median=median, high=high)


class _Counts:
    """Running totals per label."""

    def __init__(self, specs: Sequence[LabelSpec]) -> None:
        self.specs = specs
        self.voxels = 0
        self.inside = dict.fromkeys((spec.value for spec in specs), 0)
        self.volumes: dict[int, list[float]] = {spec.value: [] for spec in specs}
        self.components = dict.fromkeys((spec.value for spec in specs), 0)

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

    def fingerprints(self) -> tuple[LabelFingerprint, ...]:
        return tuple(
            LabelFingerprint(
                spec=spec,
                cases=len(self.volumes[spec.value]),
                share=self.inside[spec.value] / self.voxels,
                most_components=self.components[spec.value],
                median_ml=float(np.median(self.volumes[spec.value])) if self.volumes[spec.value] else 0.0,
            )
            for spec in self.specs
        )
