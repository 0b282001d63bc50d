from __future__ import annotations

from math import exp

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segloop.measure import Measurement, Quantity, VolumeInterval, with_intervals


def rule(**changes: object) -> VolumeInterval:
    values = {"label": 1, "centre": 0.05, "lower": -0.2, "upper": 0.1, "seen_ml": (1.0, 8.0), "cases": 40}
    return VolumeInterval.model_validate({**values, **changes})


def test_the_interval_is_multiplicative_and_shifted_by_what_is_measured_too_little() -> None:
    low, high = rule().bounds(4.0)
    assert low == pytest.approx(4 * exp(0.05 - 0.2))
    assert high == pytest.approx(4 * exp(0.05 + 0.1))


def test_small_structures_have_wider_intervals_when_the_data_say_so() -> None:
    sized = rule(exponent=0.5, pivot_ml=4.0, centre=0.0)
    widths = [sized.bounds(volume)[1] / volume for volume in (1.0, 4.0, 8.0)]
    assert widths == pytest.approx([exp(0.2), exp(0.1), exp(0.1 / 2**0.5)])


def test_nothing_is_claimed_of_sizes_that_no_error_is_known_for() -> None:
    assert rule().bounds(0.0) is None
    assert rule().bounds(0.5) is None
    assert rule().bounds(13.0) is None
    assert rule().bounds(0.7) is not None
    assert rule().bounds(11.9) is not None


def test_where_experts_often_drew_nothing_the_interval_begins_at_0() -> None:
    assert rule(lower=None).bounds(2.0)[0] == 0.0


@given(st.floats(1.0, 8.0), st.floats(-1, 1), st.floats(-1, 0), st.floats(0, 1), st.floats(0, 1))
def test_the_measured_volume_lies_in_its_interval(
    volume: float, centre: float, lower: float, upper: float, exponent: float
) -> None:
    low, high = rule(centre=centre, lower=lower, upper=upper, exponent=exponent).bounds(volume)
    assert 0 <= low <= volume <= high


def test_only_the_volume_of_a_whole_label_gets_one() -> None:
    def measured(label: int, quantity: Quantity, component: int = 0) -> Measurement:
        return Measurement(label=label, name="x", component=component, quantity=quantity, value=2.0, unit="ml")

    given_ = (
        measured(1, Quantity.VOLUME),
        measured(1, Quantity.VOLUME, component=1),
        measured(1, Quantity.LONGEST_DIAMETER),
        measured(2, Quantity.VOLUME),
    )
    found = with_intervals(given_, [rule()])
    assert [m.interval is not None for m in found] == [True, False, False, False]
    assert found[0].interval == rule().bounds(2.0)
    assert with_intervals(given_, ()) == given_
