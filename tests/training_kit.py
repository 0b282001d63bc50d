"""A training small enough for a test: noise with one bright ball per case, and a Plan that learns it in seconds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from segloop.data.dataset import Dataset
from segloop.io import files
from segloop.plan import LabelSpec, NetworkSpec, Plan
from segloop.volume import Geometry, Labels, Volume

NAMES = {1: "ball"}


def write_dataset(folder: Path, cases: int = 5) -> Dataset:
    """Noise with one bright ball per case, in the Decathlon's layout."""
    draw = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*(np.arange(16),) * 3, indexing="ij"), -1)
    pairs = []
    for _ in range(cases):
        inside = np.linalg.norm(grid - draw.uniform(6, 10, 3), axis=-1) < 4
        pairs.append((draw.normal(0, 10, inside.shape) + 100 * inside, inside))
    return write_cases(folder, pairs, labels={"0": "background", "1": "ball"})


def write_cases(folder: Path, pairs: Sequence[tuple[np.ndarray, np.ndarray]], **document: object) -> Dataset:
    """Images and label maps of 1 mm as cases c0, c1, … of the dataset `balls`, in the Decathlon's layout."""
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    entries = []
    for i, (image, labels) in enumerate(pairs):
        geometry = Geometry(image.shape)
        files.write(Volume(image.astype(np.float32), geometry), folder / "imagesTr" / f"c{i}.nii.gz")
        files.write(Labels(labels.astype(np.uint8), geometry, NAMES), folder / "labelsTr" / f"c{i}.nii.gz")
        entries.append({"image": f"./imagesTr/c{i}.nii.gz", "label": f"./labelsTr/c{i}.nii.gz"})
    described = {"name": "balls", "modality": {"0": "MRI"}, "training": entries, **document}
    (folder / "dataset.json").write_text(json.dumps(described), "utf-8")
    return Dataset.load(folder)


def plan(**training: object) -> Plan:
    network = NetworkSpec(features=(4, 8), kernels=((3, 3, 3),) * 2, strides=((1, 1, 1), (2, 2, 2)), deep_supervision=1)
    return Plan.parse(
        {
            "name": "balls",
            "labels": [LabelSpec(value=1, name="ball").model_dump()],
            "network": network.model_dump(),
            "training": {
                "patch": (16, 16, 16),
                "batch": 2,
                "steps_per_epoch": 10,
                "epochs": 4,
                "learning_rate": 1e-2,
                "ema": 0.9,
                "precision": "float32",
                **training,
            },
            "inference": {"patch": (16, 16, 16)},
        }
    )
