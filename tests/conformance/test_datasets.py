"""Every kind of dataset passes the same checks: the real ones beside this checkout, whatever their layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from segloop.data import Dataset, Fingerprint, fingerprint, make_plan
from segloop.io.rules import matches
from segloop.plan import Plan

KINDS = {
    "hippocampus": (200, 1, "MR", {1: "Anterior", 2: "Posterior"}),
    "sarcoma-pet": (38, 1, "PT", {1: "GTV_Mass"}),
    "chase-db1": (20, 3, "", {1: "foreground"}),
    "isbi2012-em": (24, 1, "", {1: "foreground"}),
}
CASES = 6


@pytest.fixture(scope="module", params=sorted(KINDS))
def kind(request: pytest.FixtureRequest, shared_data: Callable[[str], Path]) -> tuple[str, Dataset]:
    return request.param, Dataset.load(shared_data(request.param))


@pytest.fixture(scope="module")
def planned(kind: tuple[str, Dataset]) -> tuple[Dataset, Fingerprint, Plan]:
    _, dataset = kind
    part = dataset.subset([case.id for case in dataset.cases[:CASES]])
    facts = fingerprint(part)
    return part, facts, make_plan(facts)


def test_it_is_found_with_its_cases_labels_and_modality(kind: tuple[str, Dataset]) -> None:
    name, dataset = kind
    assert (len(dataset.cases), dataset.channels, dataset.modality, dataset.label_names) == KINDS[name]
    assert [case.id for case in dataset.cases] == sorted(case.id for case in dataset.cases)


def test_image_and_labels_share_a_grid_and_only_named_numbers_occur(kind: tuple[str, Dataset]) -> None:
    _, dataset = kind
    for case in dataset.cases[:CASES]:
        volume, labels = dataset.read(case)
        assert volume.geometry == labels.geometry
        assert volume.array.ndim == (4 if dataset.channels > 1 else 3)
        assert set(np.unique(labels.array)) <= {0, *dataset.label_names}
        assert labels.array.any()


def test_images_have_different_digests(kind: tuple[str, Dataset]) -> None:
    _, dataset = kind
    assert len({dataset.digest(case) for case in dataset.cases}) == len(dataset.cases)


def test_every_case_is_held_out_once(kind: tuple[str, Dataset]) -> None:
    _, dataset = kind
    held = [case for _, validation in dataset.split() for case in validation]
    assert sorted(held) == [case.id for case in dataset.cases]


def test_its_plan_is_valid_and_accepts_its_own_images(planned: tuple[Dataset, Fingerprint, Plan]) -> None:
    dataset, facts, plan = planned
    assert Plan.parse(plan.model_dump(mode="json", by_alias=True)) == plan
    assert plan.network.dims == facts.dims
    for case in dataset.cases:
        volume, _ = dataset.read(case)
        channels = volume.array.shape[3] if volume.array.ndim == 4 else 1
        assert matches(plan.inputs, volume.geometry, volume.modality, channels=channels) == ()
