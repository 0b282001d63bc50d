"""Small models and images for tests: real plans, real networks, real bundles, ready in seconds."""

from __future__ import annotations

import atexit
import itertools
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from segloop.plan import (
    InferenceSpec,
    LabelSpec,
    NetworkSpec,
    Normalisation,
    Plan,
    PostSpec,
    PreparationSpec,
    Provenance,
    SeriesRule,
    TrainingSpec,
)
from segloop.volume import Geometry, Volume

if TYPE_CHECKING:
    from segloop.infer import Bundle

ORIENTATIONS = [
    (permutation, flips)
    for permutation in itertools.permutations(range(3))
    for flips in itertools.product((False, True), repeat=3)
]
"""All 48 ways to store one grid."""


def plan(dims: int = 3, channels: int = 1, **changes: object) -> Plan:
    """A two-label plan with a network of some hundred weights; `changes` are dotted keys with __ for the dot."""
    patch = (16, 16, 16) if dims == 3 else (1, 16, 16)
    stride = (2, 2, 2) if dims == 3 else (1, 2, 2)
    kernel = (3, 3, 3) if dims == 3 else (1, 3, 3)
    rule = Normalisation(kind="window", window=(-1e6, 1e6))
    recipe = Plan(
        name="tiny",
        labels=(LabelSpec(value=1, name="one"), LabelSpec(value=5, name="five")),
        inputs=SeriesRule(modalities=("MR",), channels=channels),
        preparation=PreparationSpec(normalisation=(rule,)),
        network=NetworkSpec(
            dims=dims,
            channels=channels,
            classes=3,
            features=(4, 8),
            kernels=(kernel, kernel),
            strides=((1, 1, 1), stride),
            convolutions=1,
            deep_supervision=1,
        ),
        training=TrainingSpec(patch=patch),
        inference=InferenceSpec(mode="whole", patch=patch),
        post=PostSpec(),
    )
    return recipe.changed({key.replace("__", "."): value for key, value in changes.items()})


def cascade(**changes: object) -> Plan:
    """Labels 1 and 5, at 2 mm first, then at 1 mm with two channels more."""
    document = plan().model_dump(mode="json", by_alias=True)
    first = plan(preparation__spacing_mm=(2.0, 2.0, 2.0)).model_dump(mode="json", by_alias=True)
    document["network"]["channels"] = 3
    whole = Plan.parse({**document, "coarse": first})
    return whole.changed({key.replace("__", "."): value for key, value in changes.items()})


def image(shape: tuple[int, int, int] = (20, 22, 18), channels: int = 1, seed: int = 0) -> np.ndarray:
    """Smooth noise without any symmetry, float32."""
    from scipy.ndimage import gaussian_filter

    noise = np.random.default_rng(seed).normal(size=(*shape, channels)).astype(np.float32)
    smooth = np.stack([gaussian_filter(noise[..., c], 1.5) for c in range(channels)], -1) * 10
    return smooth if channels > 1 else smooth[..., 0]


def stored(volume: Volume, permutation: tuple[int, ...], flips: tuple[bool, ...]) -> Volume:
    """The same patient image with its voxels stored along other axes and backwards."""
    array = volume.array.transpose(*permutation, *range(3, volume.array.ndim))
    array = array[tuple(slice(None, None, -1) if flip else slice(None) for flip in flips)]
    return Volume(np.ascontiguousarray(array), volume.geometry.transposed(permutation, flips), volume.modality)


def oblique(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], seed: int) -> Geometry:
    """A grid turned by a random rotation, so that no axis is a patient axis."""
    matrix, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    rows = [tuple(float(v) for v in row) for row in matrix]
    return Geometry(shape, spacing_mm, (12.0, -30.0, 7.5), (rows[0], rows[1], rows[2]))


class Thresholds:
    """A runtime without a network: class 1 where the first channel lies above 0.5, class 2 above 1.5."""

    name, precision = "thresholds", "float32"

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        self.shapes.append(batch.shape)
        value = batch[..., 0]
        return np.stack([np.full_like(value, 0.0), 100 * (value - 0.5), 300 * (value - 1.5) + 100], -1)


@cache
def bundle(dims: int = 3, channels: int = 1) -> Bundle:
    """A bundle that all tests of a run share; copy the folder before changing anything in it."""
    folder = Path(tempfile.mkdtemp(prefix="segloop-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return export(folder / "tiny", dims, channels)


@cache
def network(dims: int = 3, channels: int = 1):
    """The plan's network with random weights that make all labels occur."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    from segloop.nets import build_unet

    return build_unet(plan(dims, channels).network, seed=3)


def export(path: Path, dims: int = 3, channels: int = 1, version: str = "1.0", **changes: object) -> Bundle:
    """A bundle of `network` with one self-test image."""
    from segloop.infer import export_bundle

    array = image((1, 24, 20) if dims == 2 else (20, 22, 18), channels)
    if channels == 3:
        array = np.clip(array * 40 + 128, 0, 255).astype(np.uint8)
    case = Volume(array, Geometry(array.shape[:3]))
    return export_bundle(
        path,
        plan(dims, channels, **changes),
        network(dims, channels),
        provenance=Provenance(dataset="noise", training_images={"a": "0" * 64}, training_voxels={"a": "1" * 64}),
        card="# Tiny\n",
        version=version,
        selftest=[case],
        metrics={"mean_dice": 0.5},
    )
