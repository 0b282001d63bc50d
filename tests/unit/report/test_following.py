"""A result among earlier ones: what counts towards the sum when lesions split, merge, vanish or are not shown."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from results import MODEL
from segloop.measure import Category, Fate, measure_labels
from segloop.plan import Code, LabelSpec
from segloop.report import Dated, FollowUp, follow
from segloop.report.dicom.common import derive_uid
from segloop.volume import Geometry, Labels

SPECS = (
    LabelSpec(value=1, name="liver"),
    LabelSpec(value=2, name="lesion", site=Code(value="10200004", meaning="Liver"), components=True),
    LabelSpec(value=3, name="lymph node", code=Code(value="59441001", meaning="Lymph node"), components=True),
)
GRID = Geometry((16, 80, 80), (2.0, 1.0, 1.0))
Box = tuple[slice, slice, slice]
WIDE: Box = np.s_[4:8, 20:30, 10:50]
LEFT: Box = np.s_[4:8, 20:30, 10:28]
RIGHT: Box = np.s_[4:8, 20:30, 32:50]
LOW: Box = np.s_[13:16, 60:76, 10:26]


def dated(month: int, *boxes: tuple[int, Box], model: object = MODEL, slices: int = 16) -> Dated:
    geometry = Geometry((slices, 80, 80), GRID.spacing_mm)
    array = np.zeros(geometry.shape, np.uint8)
    for value, box in boxes:
        array[box] = value
    labels = Labels(array, geometry, {spec.value: spec.name for spec in SPECS})
    frame = derive_uid("one patient", "frame")
    return Dated(f"key{month}", date(2026, month, 1), frame, labels, measure_labels(labels, None, SPECS), model)  # type: ignore[arg-type]


def after(first: Dated, *more: Dated) -> FollowUp:
    return follow(more[-1], (first, *more[:-1]), SPECS)


def longest(width: int, height: int) -> float:
    return float(np.hypot(width - 1, height - 1))


def test_the_parts_of_a_target_that_split_are_added_up() -> None:
    found = after(dated(1, (2, WIDE)), dated(3, (2, LEFT), (2, RIGHT)))
    assert [one.fate for one in found.lesions] == [Fate.SPLIT, Fate.SPLIT]
    assert (found.lesions[0].origin, found.lesions[1].origin) == ("", "lesion 1")
    assert len({one.uid for one in found.lesions}) == 2
    assert found.sums.sums_mm == pytest.approx((longest(40, 10), 2 * longest(18, 10)), abs=1e-5)
    assert found.sums.response.new_lesions == 0
    assert {one.change for one in found.lesions} == {None}


def test_two_targets_that_merged_are_counted_once() -> None:
    found = after(dated(1, (2, LEFT), (2, RIGHT)), dated(3, (2, WIDE)))
    (kept,) = [one for one in found.lesions if one.seen[-1] is not None]
    (gone,) = [one for one in found.lesions if one.seen[-1] is None]
    assert (gone.joined, kept.joined) == (kept.identifier, "")
    assert found.sums.sums_mm == pytest.approx((2 * longest(18, 10), longest(40, 10)), abs=1e-5)


def test_a_split_stays_in_the_sum_at_later_dates_and_one_that_is_new_never_enters() -> None:
    found = after(dated(1, (2, WIDE)), dated(3, (2, LEFT), (2, RIGHT)), dated(5, (2, LEFT), (2, RIGHT), (2, LOW)))
    assert found.sums.sums_mm[1] == found.sums.sums_mm[2]
    assert [one.identifier for one in found.lesions if one.appeared] == ["lesion 3"]
    assert (found.sums.response.category, found.sums.response.new_lesions) == (Category.PD, 1)


def test_a_target_whose_place_is_not_shown_cannot_be_judged() -> None:
    found = after(dated(1, (2, WIDE), (2, LOW)), dated(3, (2, WIDE), slices=10))
    assert {one.fate for one in found.lesions} == {Fate.FOLLOWED, Fate.OUT_OF_VIEW}
    assert found.sums.response.category is Category.NE


def test_nodes_are_measured_across_and_normal_ones_are_a_complete_response() -> None:
    large, small = np.s_[4:8, 20:37, 10:30], np.s_[5:7, 24:31, 16:23]
    found = after(dated(1, (3, large), (2, np.s_[2:4, 60:75, 60:75])), dated(3, (3, small)))
    assert sorted(found.sums.targets) == ["lesion 1", "lymph node 1"]
    node = [m for m in dated(3, (3, small)).measurements if m.quantity == "perpendicular_diameter" and m.component]
    assert found.sums.sums_mm[1] == pytest.approx(node[0].value, abs=1e-5)
    assert found.sums.response.category is Category.CR


def test_targets_are_those_of_the_first_comparable_date() -> None:
    other = MODEL.model_copy(update={"digest": "sha256:" + "cd" * 32})
    found = after(dated(1, (2, LEFT), model=other), dated(2, (2, WIDE)), dated(4, (2, WIDE)))
    assert [prior.comparable for prior in found.priors] == [False, True]
    assert found.sums.sums_mm[0] is None
    assert found.sums.response.category is Category.SD
    assert found.lesions[0].seen == (1, 1, 1)


def test_nothing_large_enough_to_measure_gives_no_sum() -> None:
    assert after(dated(1, (2, np.s_[4:6, 4:8, 4:8])), dated(2, (2, np.s_[4:6, 4:8, 4:8]))).sums is None


def test_names_and_uids_are_unique_at_every_date() -> None:
    found = after(dated(1, (2, WIDE)), dated(2, (2, LOW)), dated(4, (2, LEFT), (2, RIGHT), (2, LOW)))
    names = [one.identifier for one in found.lesions]
    assert len(set(names)) == len(names) == 4
    assert len({one.uid for one in found.lesions}) == 4
    assert {(t.label, t.component) for t in found.tracks} == {(2, 1), (2, 2), (2, 3)}
