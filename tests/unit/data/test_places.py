"""Patch centres: each label as often as wanted, however few cases have it; the same for the same key."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest

from segloop.data.places import Places
from segloop.plan import IGNORED, LabelSpec, NetworkSpec, Plan

SHAPE = (16, 16, 16)


@dataclass
class Case:
    labels: np.ndarray


def plan(labels: int = 3, patch: int = 4, regions: tuple[dict[str, object], ...] = (), **training: object) -> Plan:
    return Plan.parse(
        {
            "name": "t",
            "labels": [LabelSpec(value=i, name=f"l{i}").model_dump() for i in range(1, labels + 1)],
            "regions": list(regions),
            "network": NetworkSpec(
                classes=len(regions) or labels + 1,
                features=(4, 4),
                kernels=((3, 3, 3),) * 2,
                strides=((1, 1, 1), (2, 2, 2)),
                deep_supervision=1,
            ).model_dump(),
            "training": {"patch": (patch,) * 3, "batch": 400, **training},
            "inference": {"patch": (patch,) * 3},
        }
    )


def case(*labels: int) -> Case:
    """One block of voxels for each label."""
    array = np.zeros(SHAPE, np.uint8)
    for label in labels:
        array[2 * label : 2 * label + 2, 4:12, 4:12] = label
    return Case(array)


def centred_on(cases: list[Case], recipe: Plan, draws: int = 8) -> tuple[Counter[int], Counter[int]]:
    """How often each class lies at the centre of a patch of odd size, and how often each case is used."""
    places = Places.of(cases, recipe)
    classes: Counter[int] = Counter()
    used: Counter[int] = Counter()
    batch = recipe.training.batch
    for number in range(draws):
        turn = (np.arange(batch) + number * batch) % len(cases)
        chosen, centre = places.choose(np.int32(number), turn.astype(np.int32))
        # The chosen voxel is the first one after the middle of an even patch.
        voxels = np.floor(np.asarray(centre)).astype(int) + 1
        for row, voxel in zip(np.asarray(chosen), voxels, strict=True):
            classes[int(cases[row].labels[tuple(voxel)])] += 1
            used[int(row)] += 1
    return classes, used


@pytest.mark.parametrize("shares", [(), (0.2, 0.3, 0.5), (1, 0, 3)])
def test_each_label_gets_its_share_however_rare_it_is(shares: tuple[float, ...]) -> None:
    # Label 3 occurs in one case of twenty, and there is a case with no label at all.
    cases = [case(1, 2) for _ in range(18)] + [case(1, 2, 3), case()]
    classes, _ = centred_on(cases, plan(foreground_fraction=1.0, label_shares=shares), draws=20)
    wanted = np.asarray(shares or (1, 1, 1)) / sum(shares or (1, 1, 1))
    found = np.asarray([classes[label] for label in (1, 2, 3)]) / 8000
    np.testing.assert_allclose(found, wanted, rtol=0.1)


def test_cases_that_have_the_label_keep_their_turn() -> None:
    cases = [case(1, 2) for _ in range(9)] + [case(1)]
    _, used = centred_on(cases, plan(labels=2, foreground_fraction=1.0))
    turns = 3200 / 10
    # The case without label 2 gives half of its turns to the nine others.
    assert used[9] == pytest.approx(turns / 2, rel=0.1)
    assert all(used[i] == pytest.approx(turns * (1 + 0.5 / 9), rel=0.1) for i in range(9))


def test_patches_that_are_not_focused_stay_with_the_case_whose_turn_it_is() -> None:
    places = Places.of([case(1), case()], plan(labels=1, foreground_fraction=0.0))
    turn = np.asarray([0, 1] * 4, np.int32)
    chosen, _ = places.choose(np.int32(3), turn)
    np.testing.assert_array_equal(chosen, turn)


def test_the_same_key_gives_the_same_places_and_another_one_others() -> None:
    places = Places.of([case(1, 2), case(3)], plan(foreground_fraction=0.7))
    turn = np.asarray([0, 1] * 4, np.int32)
    first, again, other = (places.choose(np.int32(key), turn) for key in (5, 5, 6))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[1], other[1])


def test_a_region_is_found_wherever_one_of_its_labels_is() -> None:
    regions = (
        {"name": "whole", "labels": (1, 2, 3), "paints": 1},
        {"name": "core", "labels": (3,), "paints": 3},
    )
    cases = [case(1, 2, 3), case(1)]
    classes, _ = centred_on(cases, plan(regions=regions, foreground_fraction=1.0, label_shares=(0.5, 0.5)))
    # Half on the core, and half anywhere in the whole: most of that on a case's own mix of labels.
    assert classes[3] / 3200 > 0.5
    assert classes[1] / 3200 > 0.25
    assert classes[0] == 0


def test_ignored_voxels_and_absent_labels_are_never_chosen() -> None:
    marked = case(1)
    marked.labels[14:] = IGNORED
    classes, _ = centred_on([marked], plan(labels=3, foreground_fraction=1.0), draws=2)
    assert set(classes) == {1}


def test_cases_without_any_label_give_patches_anywhere() -> None:
    places = Places.of([case()], plan(foreground_fraction=1.0))
    starts = [np.asarray(places.choose(np.int32(n), np.zeros(400, np.int32))[1]) - 1.5 for n in range(2)]
    assert np.min(starts) == 0
    assert np.max(starts) == 12
