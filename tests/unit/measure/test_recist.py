"""RECIST 1.1: the published rules, at their bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segloop.measure import Category, SizedLesion, choose_targets, respond


def lesion(name: str, longest: float, organ: str = "liver", short: float = 8.0, node: bool = False) -> SizedLesion:
    return SizedLesion(name=name, organ=organ, longest_mm=longest, short_mm=short, node=node)


def names(*lesions: SizedLesion, slice_mm: float = 2.5) -> list[str]:
    return [one.name for one in choose_targets(lesions, slice_mm)]


def test_ten_millimetres_can_be_measured_and_less_cannot() -> None:
    assert names(lesion("a", 10.0), lesion("b", 9.9)) == ["a"]


def test_thick_slices_ask_for_twice_their_distance() -> None:
    assert names(lesion("a", 13.0), lesion("b", 14.0), slice_mm=7.0) == ["b"]
    assert names(lesion("a", 10.0), slice_mm=5.0) == ["a"]


def test_nodes_count_by_their_short_axis_from_15_mm_and_are_one_organ() -> None:
    nodes = [lesion(str(n), 40.0, f"station {n}", short, node=True) for n, short in enumerate((15.0, 17.0, 16.0, 14.9))]
    assert names(*nodes) == ["1", "2"]
    assert nodes[1].diameter_mm == 17.0


def test_at_most_two_per_organ_and_five_in_all_the_largest_first() -> None:
    several = [lesion(f"{organ}{size}", size, organ) for organ in "abcd" for size in (20.0, 30.0, 40.0)]
    assert names(*several) == ["a40.0", "b40.0", "c40.0", "d40.0", "a30.0"]


@pytest.mark.parametrize(
    ("sums", "disappeared", "category"),
    [
        ([50.0, 0.0], True, Category.CR),
        ([50.0, 8.0], True, Category.CR),  # nodes back to normal still have a diameter
        ([50.0, 35.0], False, Category.PR),
        ([50.0, 35.1], False, Category.SD),
        ([50.0, 59.9], False, Category.SD),
        ([50.0, 60.0], False, Category.PD),
        ([20.0, 24.5], False, Category.SD),  # over 20 %, but not 5 mm
        ([20.0, 25.0], False, Category.PD),
        ([60.0, 65.0], False, Category.SD),  # 5 mm, but not 20 %
        ([50.0, 30.0, 36.0], False, Category.PD),  # against the smallest, although still 28 % below the first
        ([100.0, 50.0, 59.0], False, Category.PR),  # and 18 % above the smallest
        ([50.0, 0.0, 5.0], False, Category.PD),
        ([50.0, 0.0, 4.0], False, Category.PR),
    ],
)
def test_the_category_at_its_bounds(sums: list[float], disappeared: bool, category: Category) -> None:
    found = respond(sums, disappeared=disappeared)
    assert found.category is category
    assert (found.baseline_mm, found.nadir_mm, found.sum_mm) == (sums[0], min(sums[:-1]), sums[-1])


def test_a_new_lesion_is_progression_whatever_the_sum_does() -> None:
    assert respond([50.0, 0.0], disappeared=True, new_lesions=1).category is Category.PD


def test_shares_of_nothing_are_left_out() -> None:
    found = respond([50.0, 0.0, 5.0], disappeared=False)
    assert (found.from_baseline, found.from_nadir) == (pytest.approx(-0.9), None)


def test_one_date_has_no_response() -> None:
    with pytest.raises(ValueError, match="1 sums"):
        respond([50.0], disappeared=False)


@given(st.lists(st.floats(1, 200), min_size=2, max_size=6), st.randoms())
def test_the_order_of_earlier_dates_after_the_first_does_not_matter(sums, random) -> None:
    middle = sums[1:-1]
    random.shuffle(middle)
    other = respond([sums[0], *middle, sums[-1]], disappeared=False)
    assert other == respond(sums, disappeared=False)


@given(st.floats(1, 500), st.integers(1, 5))
def test_an_unchanged_sum_is_stable(size, dates) -> None:
    assert respond([size] * (dates + 1), disappeared=False).category is Category.SD


@given(st.permutations([lesion(f"{n}", 10.0 + n, "ab"[n % 2]) for n in range(6)]))
def test_the_order_of_lesions_does_not_matter(lesions) -> None:
    assert names(*lesions) == ["5", "4", "3", "2"]
