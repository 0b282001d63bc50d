"""Phantoms as a training dataset in the layout of the Medical Segmentation Decathlon."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from segloop.io import files
from segloop.phantom.anatomy import Contrast
from segloop.phantom.render import LABELS, Scan, generate

LICENCE = "Apache-2.0 (synthetic)"


def write_dataset(out: Path, seeds: Iterable[int], scan: Scan | None = None, contrast: Contrast | None = None) -> Path:
    """Write one case per seed (`imagesTr`, `labelsTr`, `dataset.json`) for `segloop train`.

    Returns:
        The dataset's folder.
    """
    for folder in ("imagesTr", "labelsTr"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    cases = []
    for seed in seeds:
        phantom = generate(seed, scan=scan, contrast=contrast)
        name = f"phantom_{seed:05d}.nii.gz"
        files.write(phantom.volume, out / "imagesTr" / name)
        files.write(phantom.labels, out / "labelsTr" / name)
        cases.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
    document = {
        "name": "Phantom",
        "description": "Synthetic CT abdomen with liver and liver lesions",
        "licence": LICENCE,
        "release": "1",
        "tensorImageSize": "3D",
        "modality": {"0": "CT"},
        "labels": {"0": "background", **{str(spec.value): spec.name for spec in LABELS}},
        "numTraining": len(cases),
        "numTest": 0,
        "training": cases,
        "test": [],
    }
    (out / "dataset.json").write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    return out
