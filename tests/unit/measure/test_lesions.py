"""Lesions of two dates: the right one is followed, and what is new, gone, merged or split is called that."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segloop.measure import Fate, Lineage, match_lesions, organ_shift_mm
from segloop.measure.lesions import ALIGNED_MM, SAME_SPACE_MM
from segloop.volume import Geometry, Labels, Vector

GRID = Geometry((36, 60, 60), (2.0, 1.0, 1.0), (-30.0, -30.0, 100.0))
Ball = tuple[Vector, float]


def drawn(*balls: Ball, geometry: Geometry = GRID, organ: Ball | None = None, shift: Vector = (0, 0, 0)) -> Labels:
    """Balls (centre in LPS mm, radius) as label 2, in an organ of label 1."""
    index = np.indices(geometry.shape).reshape(3, -1).T.astype(float)
    points = geometry.to_lps(index).reshape(*geometry.shape, 3)
    array = np.zeros(geometry.shape, np.uint8)
    for value, group in ((1, [organ] if organ else []), (2, balls)):
        for centre, radius in group:
            array[np.linalg.norm(points - np.asarray(centre) - np.asarray(shift), axis=-1) <= radius] = value
    return Labels(array, geometry, {1: "organ", 2: "lesion"})


A: Ball = ((-12.0, -10.0, 130.0), 7.0)
B: Ball = ((10.0, 8.0, 140.0), 5.0)
C: Ball = ((12.0, -14.0, 120.0), 4.0)


def fates(found: tuple[Lineage, ...]) -> list[tuple[tuple[int, ...], tuple[int, ...], str]]:
    return [(line.before, line.after, line.fate.value) for line in found]


def test_the_same_lesions_are_followed_when_another_becomes_the_largest() -> None:
    later = drawn((A[0], 3.0), (B[0], 8.0), C)
    assert fates(match_lesions(drawn(A, B, C), later, 2)) == [
        ((1,), (3,), "followed"),
        ((2,), (1,), "followed"),
        ((3,), (2,), "followed"),
    ]


def test_identical_dates_change_nothing() -> None:
    found = match_lesions(drawn(A, B, C), drawn(A, B, C), 2)
    assert found == tuple(Lineage((n,), (n,), (n, n)) for n in (1, 2, 3))


def test_new_and_resolved_lesions_are_named() -> None:
    assert fates(match_lesions(drawn(A, B), drawn(A, C), 2)) == [
        ((1,), (1,), "followed"),
        ((2,), (), "resolved"),
        ((), (2,), "new"),
    ]


def test_a_neighbour_that_goes_and_one_that_comes_do_not_change_places_with_what_stays() -> None:
    # Left neighbour resolved, right neighbour new, each closer to the one that stays than the tolerance.
    gone, stays, comes = ((-12.0, 0.0, 130.0), 4.0), ((0.0, 0.0, 130.0), 5.0), ((12.0, 0.0, 130.0), 4.0)
    found = match_lesions(drawn(gone, stays), drawn(stays, comes), 2, reach_mm=ALIGNED_MM)
    assert fates(found) == [((1,), (1,), "followed"), ((2,), (), "resolved"), ((), (2,), "new")]


def test_two_that_grow_into_one_have_merged_and_the_way_back_is_a_split() -> None:
    apart = drawn(((-5.0, 0.0, 130.0), 5.0), ((7.0, 0.0, 130.0), 4.0), (C[0], 3.0))
    joined = drawn(((-5.0, 0.0, 130.0), 7.0), ((7.0, 0.0, 130.0), 6.0), (C[0], 3.0))
    (merged,) = [line for line in match_lesions(apart, joined, 2) if line.fate is Fate.MERGED]
    (split,) = [line for line in match_lesions(joined, apart, 2) if line.fate is Fate.SPLIT]
    assert (merged.before, merged.after) == (split.after, split.before)
    # The larger of the two keeps the name.
    assert (merged.before, merged.after, merged.pair) == ((1, 2), (1,), (1, 1))


def test_a_small_lesion_beside_an_old_one_is_new_and_no_part_of_it() -> None:
    beside = ((A[0][0] + 13.0, A[0][1], A[0][2]), 2.0)
    assert Fate.NEW in {line.fate for line in match_lesions(drawn(A), drawn(A, beside), 2, reach_mm=ALIGNED_MM)}


def test_a_lesion_outside_the_other_image_is_neither_new_nor_resolved() -> None:
    lower = Geometry((20, 60, 60), (2.0, 1.0, 1.0), (-30.0, -30.0, 80.0))
    found = match_lesions(drawn(A, B), drawn(((-12.0, -10.0, 90.0), 4.0), geometry=lower), 2)
    assert {line.fate for line in found} == {Fate.OUT_OF_VIEW}
    assert Fate.RESOLVED in {line.fate for line in match_lesions(drawn(A, B), drawn(), 2)}


def test_the_grid_that_a_date_was_stored_on_does_not_matter() -> None:
    turned = drawn(A, B, C).reoriented("RIA")
    assert fates(match_lesions(turned, drawn(A, B, C), 2)) == fates(match_lesions(drawn(A, B, C), drawn(A, B, C), 2))
    finer = Geometry((60, 40, 40), (1.2, 1.5, 1.5), (-30.0, -30.0, 100.0))
    assert {line.fate for line in match_lesions(drawn(A, B, C, geometry=finer), drawn(A, B, C), 2)} == {Fate.FOLLOWED}


@settings(max_examples=8, deadline=None)
@given(
    st.permutations([A, B, C]),
    st.tuples(*[st.floats(-1.5, 1.5)] * 3),
    st.lists(st.floats(0.8, 1.3), min_size=3, max_size=3),
)
def test_order_of_parts_small_shifts_and_growth_leave_each_lesion_itself(balls, shift, growth) -> None:
    grown = [(centre, radius * factor) for (centre, radius), factor in zip(balls, growth, strict=True)]
    before, after = drawn(A, B, C), drawn(*grown, shift=shift)
    found = match_lesions(before, after, 2)
    assert {line.fate for line in found} == {Fate.FOLLOWED}
    for line in found:
        start, end = (_centres(labels)[number] for labels, number in zip((before, after), line.pair, strict=True))
        assert np.linalg.norm(start - end) < 4
    # The other way round the same pairs.
    back = {tuple(reversed(line.pair)) for line in match_lesions(after, before, 2)}
    assert back == {line.pair for line in found}


def _centres(labels: Labels) -> dict[int, np.ndarray]:
    from segloop.measure.lesions import lesion_parts

    return {part.number: part.points_mm.mean(axis=0) for part in lesion_parts(labels, 2)}


@settings(max_examples=5, deadline=None)
@given(st.tuples(*[st.integers(-90, 90)] * 3))
def test_another_table_position_is_undone_by_the_organ(shift) -> None:
    organ = ((0.0, 0.0, 134.0), 24.0)
    x, y, z = (o + s for o, s in zip(GRID.origin_mm, shift, strict=True))
    elsewhere = Geometry(GRID.shape, GRID.spacing_mm, (x, y, z))
    before = drawn(A, B, organ=organ)
    after = drawn(A, B, C, organ=organ, geometry=elsewhere, shift=shift)
    found = organ_shift_mm(before, after, [2])
    assert found == pytest.approx(shift, abs=0.3)
    assert fates(match_lesions(before, after, 2, shift_mm=found)) == [
        ((1,), (1,), "followed"),
        ((2,), (2,), "followed"),
        ((), (3,), "new"),
    ]
    if np.linalg.norm(shift) > 60:
        assert Fate.FOLLOWED not in {line.fate for line in match_lesions(before, after, 2)}


def test_a_lesion_that_grows_in_the_organ_does_not_move_its_centre() -> None:
    organ = ((0.0, 0.0, 134.0), 24.0)
    shift = organ_shift_mm(drawn(organ=organ), drawn(((12.0, 0.0, 134.0), 10.0), organ=organ), [2])
    assert shift == pytest.approx((0, 0, 0), abs=1e-9)


def test_without_a_whole_organ_there_is_nothing_to_align_by() -> None:
    assert organ_shift_mm(drawn(A), drawn(A), [2]) is None
    cut = ((0.0, 0.0, 100.0), 24.0)
    assert organ_shift_mm(drawn(A, organ=cut), drawn(A, organ=cut), [2]) is None


def test_thick_slices_widen_the_tolerance_to_what_is_known_of_a_place() -> None:
    thick = Geometry((8, 60, 60), (9.0, 1.0, 1.0), (-30.0, -30.0, 100.0))
    one, other = np.zeros(thick.shape, np.uint8), np.zeros(thick.shape, np.uint8)
    one[3, 20:26, 20:26], other[4, 20:26, 20:26] = 2, 2
    assert thick.spacing_mm[0] > SAME_SPACE_MM
    assert fates(match_lesions(Labels(one, thick), Labels(other, thick), 2)) == [((1,), (1,), "followed")]


def test_no_lesions_at_all_are_no_lineages() -> None:
    assert match_lesions(drawn(), drawn(), 2) == ()
