from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from segloop.data import Dataset, fingerprint, make_plan
from segloop.io import files
from segloop.volume import Geometry, Labels, Volume


def test_facts_of_a_made_up_set_in_canonical_orientation(tmp_path: Path) -> None:
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / folder).mkdir()
    # Slices along the patient's left-right axis: array axis 0 runs to the left.
    direction = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    grid = Geometry((3, 8, 10), (4.0, 1.0, 2.0), direction=direction)
    mask = np.zeros(grid.shape, np.uint8)
    mask[0, 0, 0] = mask[2, 7, 9] = 1
    image = np.where(mask > 0, 100.0, -1000.0).astype(np.float32)
    files.write(Volume(image, grid), tmp_path / "imagesTr" / "a.nii.gz")
    files.write(Labels(mask, grid), tmp_path / "labelsTr" / "a.nii.gz")
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"1": "lesion", "2": "liver"}}))

    facts = fingerprint(Dataset.load(tmp_path))
    assert facts.shapes == ((10, 8, 3),)
    assert facts.spacings_mm[0] == pytest.approx((2.0, 1.0, 4.0))
    assert facts.intensities[0].mean == 100.0
    assert [(label.cases, label.most_components) for label in facts.labels] == [(1, 2), (0, 0)]
    assert facts.labels[0].share == pytest.approx(2 / 240)
    assert facts.labels[0].median_ml == pytest.approx(2 * 8 / 1000)


def test_the_hippocampus_set(shared_data: Callable[[str], Path]) -> None:
    dataset = Dataset.load(shared_data("hippocampus"))
    facts = fingerprint(dataset.subset([case.id for case in dataset.cases[:40]]))
    plan = make_plan(facts, name="hippocampus-mr")
    assert (facts.modality, dataset.licence, len(dataset.cases)) == ("MR", "CC-BY-SA 4.0", 200)
    assert plan.training.patch == (40, 56, 40)
    assert plan.training.augmentation.mirror_axes == (2,)
    assert plan.preparation.spacing_mm == (1.0, 1.0, 1.0)
    assert plan.inputs.modalities == ("MR",)
