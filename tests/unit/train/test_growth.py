"""The learning curve finds the law that points follow, and is as uncertain as they are."""

from __future__ import annotations

import numpy as np
import pytest

from segloop.train.findings import LearningPoint
from segloop.train.growth import learning_curve

CASES = (10, 20, 40, 80, 160)


def points(half: float | None = 0.01, law=lambda n: 0.9 - 0.6 * n**-0.7) -> list[LearningPoint]:
    return [
        LearningPoint(cases=n, dice=law(n), interval=None if half is None else (law(n) - half, law(n) + half))
        for n in CASES
    ]


def test_the_law_behind_the_points_is_found() -> None:
    curve = learning_curve(points(), more=10)
    assert curve.a == pytest.approx(0.9, abs=0.003)
    assert curve.c == pytest.approx(0.7, abs=0.03)
    assert curve.gain == pytest.approx((0.9 - 0.6 * 170**-0.7) - (0.9 - 0.6 * 160**-0.7), rel=0.05)
    assert curve.gain_interval is not None
    assert curve.gain_interval[0] < curve.gain < curve.gain_interval[1]
    assert curve.band[0].cases == 10
    assert curve.band[-1].cases > 170
    for place in curve.band:
        assert place.interval is not None
        assert place.interval[0] <= place.dice <= place.interval[1]


def test_more_uncertain_points_make_a_wider_interval() -> None:
    width = [np.diff(learning_curve(points(half)).gain_interval or ())[0] for half in (0.002, 0.02)]
    assert width[1] > 2 * width[0]


def test_a_gain_is_never_a_loss_even_when_dice_falls() -> None:
    curve = learning_curve(points(law=lambda n: 0.9 - n / 10_000))
    assert curve.gain == pytest.approx(0)
    assert curve.gain_interval is not None
    assert curve.gain_interval[0] >= 0


def test_dice_beyond_one_is_never_promised() -> None:
    curve = learning_curve(points(law=lambda n: 0.5 + 0.09 * np.log2(n / 10)), more=10_000)
    assert curve.a == pytest.approx(1.0)
    assert max(place.dice for place in curve.band) <= 1


def test_what_cannot_be_told_is_not_told() -> None:
    two = learning_curve(points()[:2])
    assert (two.gain, two.a, two.band) == (None, None, ())
    assert "at least 3" in two.note
    bare = learning_curve(points(None)[:3])
    assert bare.gain is not None
    assert bare.gain_interval is None
    assert {place.interval for place in bare.band} == {None}
    with pytest.raises(ValueError, match="point"):
        learning_curve([])


def test_scatter_stands_in_for_intervals_that_are_missing() -> None:
    noisy = [
        LearningPoint(cases=p.cases, dice=p.dice + s)
        for p, s in zip(points(None), (0.01, -0.01, 0.01, -0.01, 0), strict=True)
    ]
    curve = learning_curve(noisy)
    assert curve.gain_interval is not None
    assert curve.gain_interval[1] > curve.gain_interval[0]
