"""Volume change: noise is not called growth, and the arithmetic is the published one."""

from __future__ import annotations

from math import exp, log, sqrt

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from segloop.measure import NOISE, Verdict, doubling_days, volume_change

VOLUMES = st.floats(0.01, 500)
DAYS = st.integers(1, 3000)


def around(volume: float, down: float, up: float) -> tuple[float, float]:
    return volume * exp(-down), volume * exp(up)


def test_a_volume_that_doubles_in_a_quarter_doubles_in_a_quarter() -> None:
    change = volume_change(3.0, 6.0, 91)
    assert (change.ratio, change.doubling_days, change.verdict) == (2.0, pytest.approx(91), Verdict.GROWN)
    assert doubling_days(8.0, 1.0, 90) == pytest.approx(-30)
    assert doubling_days(2.0, 2.0, 90) is None


@pytest.mark.parametrize(
    ("after", "verdict"),
    [
        (10.0, Verdict.WITHIN_NOISE),
        (12.4, Verdict.WITHIN_NOISE),
        (12.6, Verdict.GROWN),
        (8.1, Verdict.WITHIN_NOISE),
        (7.9, Verdict.SHRUNK),
    ],
)
def test_without_an_interval_a_quarter_more_is_noise_and_told_as_assumed(after: float, verdict: Verdict) -> None:
    change = volume_change(10.0, after, 90)
    assert (change.verdict, change.assumed) == (verdict, True)
    assert change.ratio_bounds == pytest.approx((after / 10 / (1 + NOISE), after / 10 * (1 + NOISE)))


def test_growth_within_the_models_own_error_is_not_called_growth() -> None:
    wide = volume_change(10.0, 15.0, 90, around(10, 0.4, 0.3), around(15, 0.4, 0.3))
    assert (wide.verdict, wide.assumed) == (Verdict.WITHIN_NOISE, False)
    assert wide.ratio_bounds == pytest.approx((1.5 * exp(-0.5), 1.5 * exp(0.5)))
    narrow = volume_change(10.0, 11.0, 90, around(10, 0.05, 0.05), around(11, 0.05, 0.05))
    assert narrow.verdict is Verdict.GROWN
    assert narrow.ratio_bounds[0] == pytest.approx(1.1 * exp(-0.05 * sqrt(2)))


def test_an_interval_that_begins_at_nothing_allows_any_shrinkage_and_no_claim() -> None:
    later = volume_change(2.0, 9.0, 30, around(2, 0.1, 0.1), (0.0, 10.0))
    assert (later.ratio_bounds[0], later.verdict) == (0.0, Verdict.WITHIN_NOISE)
    earlier = volume_change(2.0, 1.0, 30, (0.0, 2.2), around(1, 0.1, 0.1))
    assert (earlier.ratio_bounds[1], earlier.verdict) == (None, Verdict.WITHIN_NOISE)


def test_nothing_is_compared_with_nothing() -> None:
    assert volume_change(0.0, 3.0, 30) is None
    assert volume_change(3.0, 0.0, 30) is None


@given(VOLUMES, VOLUMES, DAYS, st.tuples(*[st.floats(0.01, 1)] * 4))
def test_the_order_of_the_dates_only_turns_the_change_round(before, after, days, margins) -> None:
    assume(abs(log(after / before)) > 1e-6)
    first, second = around(before, *margins[:2]), around(after, *margins[2:])
    for intervals in ((None, None), (first, second)):
        forth = volume_change(before, after, days, *intervals)
        back = volume_change(after, before, days, *reversed(intervals))
        assert back.ratio == pytest.approx(1 / forth.ratio)
        assert back.ratio_bounds == pytest.approx((1 / forth.ratio_bounds[1], 1 / forth.ratio_bounds[0]))
        assert back.doubling_days == pytest.approx(-forth.doubling_days)
        mirrored = {Verdict.GROWN: Verdict.SHRUNK, Verdict.SHRUNK: Verdict.GROWN}
        assert back.verdict is mirrored.get(forth.verdict, forth.verdict)
        assert forth.ratio_bounds[0] <= forth.ratio <= forth.ratio_bounds[1]


@given(VOLUMES, DAYS, st.tuples(*[st.floats(0.0, 1)] * 2))
def test_an_equal_volume_has_not_changed(volume, days, margins) -> None:
    interval = around(volume, *margins)
    for intervals in ((None, None), (interval, interval)):
        change = volume_change(volume, volume, days, *intervals)
        assert (change.ratio, change.doubling_days, change.verdict) == (1.0, None, Verdict.WITHIN_NOISE)
