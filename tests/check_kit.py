"""Small datasets without fault, for faults to be planted in: a body with organs, as MR, CT, two channels, pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from segloop.io import files
from segloop.plan import Plan
from segloop.volume import Geometry, Labels, Volume

SHAPE = (12, 20, 24)
# Oblique by nothing, but with axes that differ in spacing, and an origin that no tool invents.
GRID = Geometry(SHAPE, (3.0, 1.5, 1.5), (-20.0, -35.0, 12.0))
NAMES = {1: "kidney left", 2: "kidney right", 3: "aorta", 4: "bladder"}
CASES = tuple(f"c{number:02d}" for number in range(12))
# Middle and half-axes of each organ along z, y, x; LPS, so the left one has the larger x.
_ORGANS = {1: (7, 10, 17), 2: (7, 10, 7), 3: (9, 13, 12), 4: (3, 8, 12)}
_RADII = {1: (2.2, 2.6, 2.6), 2: (2.2, 2.6, 2.6), 3: (1.6, 1.8, 1.8), 4: (1.9, 2.8, 2.8)}
_BRIGHTNESS = {1: 180.0, 2: 180.0, 3: 260.0, 4: 220.0}


def anatomy(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Image (float64, air 0, body 100) and label map (uint8) of one made-up patient."""
    draw = np.random.default_rng(seed)
    z, y, x = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
    body = ((y - 9.5) / 8.5) ** 2 + ((x - 11.5) / 10.5) ** 2 < 1
    image, label = 100.0 * body, np.zeros(SHAPE, np.uint8)
    for value, middle in _ORGANS.items():
        centre = np.asarray(middle) + draw.uniform(-0.5, 0.5, 3)
        radii = np.asarray(_RADII[value]) * draw.uniform(0.85, 1.2, 3)
        inside = sum(((a - c) / r) ** 2 for a, c, r in zip((z, y, x), centre, radii, strict=True)) < 1
        label[inside] = value
        image[inside] = _BRIGHTNESS[value]
    texture = draw.normal(0, 12, SHAPE) + 25 * np.sin(draw.uniform(0.2, 0.8) * y + draw.uniform(0, 6))
    return image + body * texture, label


def as_mr(image: np.ndarray, seed: int) -> np.ndarray:
    noise = np.abs(np.random.default_rng(seed + 1000).normal(0, 3, SHAPE))
    return np.maximum(image, 0).astype(np.float32) + noise.astype(np.float32)


def as_ct(image: np.ndarray, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed + 1000).normal(0, 15, SHAPE)
    hounsfield = np.where(image > 0, image - 60, -1010) + noise
    return np.clip(np.rint(hounsfield), -1024, 3000).astype(np.int16)


def put(root: Path, case: str, image: np.ndarray | None, label: np.ndarray | None, grid: Geometry = GRID) -> None:
    """Write image and label map of a case in the Decathlon's layout, either or both."""
    if image is not None:
        files.write(Volume(image, grid), root / "imagesTr" / f"{case}.nii.gz")
    if label is not None:
        files.write(Labels(label, grid), root / "labelsTr" / f"{case}.nii.gz")


def get(root: Path, case: str) -> tuple[np.ndarray, np.ndarray]:
    """Image and label map of a case, to be altered."""
    image = files.read(root / "imagesTr" / f"{case}.nii.gz")
    return image.array.copy(), files.read_labels(root / "labelsTr" / f"{case}.nii.gz", {}).array.copy()


def describe(root: Path, **changes: Any) -> None:
    """Change entries of `dataset.json`; None takes one out."""
    path = root / "dataset.json"
    document = json.loads(path.read_text("utf-8")) if path.exists() else {}
    document = {key: value for key, value in {**document, **changes}.items() if value is not None}
    path.write_text(json.dumps(document, ensure_ascii=False), "utf-8")


def listing(cases: tuple[str, ...] | list[str]) -> list[dict[str, str]]:
    return [{"image": f"./imagesTr/{c}.nii.gz", "label": f"./labelsTr/{c}.nii.gz"} for c in cases]


def write_mr(root: Path, modality: str = "MRI", values: Callable[[np.ndarray, int], np.ndarray] = as_mr) -> Path:
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    for seed, case in enumerate(CASES):
        image, label = anatomy(seed)
        put(root, case, values(image, seed), label)
    labels = {"0": "background", **{str(number): name for number, name in NAMES.items()}}
    describe(root, name="abdomen", modality={"0": modality}, labels=labels, numTraining=len(CASES))
    describe(root, training=listing(CASES))
    return root


def write_ct(root: Path) -> Path:
    return write_mr(root, "CT", as_ct)


def write_channels(root: Path) -> Path:
    """nnU-Net's raw layout: no list of cases, two channel files each."""
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    for seed, case in enumerate(CASES):
        image, label = anatomy(seed)
        files.write(Labels(label, GRID), root / "labelsTr" / f"{case}.nii.gz")
        for channel in range(2):
            values = as_mr(image * (1 + channel), seed + 100 * channel)
            files.write(Volume(values, GRID), root / "imagesTr" / f"{case}_{channel:04d}.nii.gz")
    labels = {"background": 0, **{name: number for number, name in NAMES.items()}}
    describe(root, channel_names={"0": "T1", "1": "T2"}, labels=labels, numTraining=len(CASES), file_ending=".nii.gz")
    return root


def write_pictures(root: Path) -> Path:
    """Grey pictures with masks of 0 and 255 beside them."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for seed, case in enumerate(CASES):
        image, label = anatomy(seed)
        grid = Geometry((1, *SHAPE[1:]))
        picture = np.clip(as_mr(image, seed)[7:8], 0, 255).astype(np.uint8)
        files.write(Volume(picture, grid), root / "images" / f"{case}.png")
        files.write(Volume((label[7:8] == 1) * np.uint8(255), grid), root / "masks" / f"{case}.png")
    return root


def plan(**changes: Any) -> Plan:
    """A Plan for the MR dataset."""
    labels = [{"value": number, "name": name} for number, name in NAMES.items()]
    network = {
        "features": (4, 8),
        "kernels": ((3, 3, 3),) * 2,
        "strides": ((1, 1, 1), (2, 2, 2)),
        "classes": 5,
        "deep_supervision": 1,
    }
    document = {
        "name": "abdomen",
        "labels": labels,
        "network": network,
        "training": {"patch": (8, 16, 16), "augmentation": {"mirror_axes": (1,)}},
        "inference": {"patch": (8, 16, 16)},
    }
    return Plan.parse(document).changed(changes)
