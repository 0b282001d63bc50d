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
    assert plan.training.patch == (32, 48, 32)
    assert plan.training.augmentation.mirror_axes == (2,)
    assert plan.preparation.spacing_mm == (1.0, 1.0, 1.0)
    assert plan.inputs.modalities == ("MR",)


def test_vessels_are_thin_and_long_and_lumps_are_not(tmp_path: Path) -> None:
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / folder).mkdir()
    z, y, x = np.mgrid[:40, :40, :40]
    mask = np.zeros((40, 40, 40), np.uint8)
    mask[np.hypot(y - 10, x - 10) < 2.5] = 1
    mask[np.sqrt((z - 20.0) ** 2 + (y - 28) ** 2 + (x - 28) ** 2) < 9] = 2
    image = np.where((mask > 0) | (x > 19), 500.0, np.abs(np.random.default_rng(0).normal(0, 9, mask.shape)))
    grid = Geometry(mask.shape)
    files.write(Volume(image.astype(np.float32), grid), tmp_path / "imagesTr" / "a.nii.gz")
    files.write(Labels(mask, grid), tmp_path / "labelsTr" / "a.nii.gz")
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"1": "vessel", "2": "ball"}}))

    facts = fingerprint(Dataset.load(tmp_path))
    vessel, ball = facts.labels
    assert vessel.width == pytest.approx(5, rel=0.25)
    assert vessel.slenderness > 2 * ball.slenderness
    assert ball.width == pytest.approx(18 * 2 / 3, abs=1.2)
    assert ball.slenderness < 3
    assert facts.empty == pytest.approx(float((image < 50).mean()), abs=0.01)
    logarithms = np.log1p(image[mask > 0])
    assert facts.intensities[0].log_mean == pytest.approx(logarithms.mean(), rel=1e-5)


def test_a_crop_from_inside_a_body_has_no_air_and_eyes_have_thin_vessels(shared_data: Callable[[str], Path]) -> None:
    crops = Dataset.load(shared_data("hippocampus"))
    facts = fingerprint(crops.subset([case.id for case in crops.cases[:10]]))
    assert facts.empty < 0.1
    assert all(label.slenderness < 12 for label in facts.labels)
    eyes = Dataset.load(shared_data("chase-db1"))
    vessels = fingerprint(eyes.subset([case.id for case in eyes.cases[:2]])).labels[0]
    assert 4 < vessels.width < 8
    assert vessels.slenderness > 100
