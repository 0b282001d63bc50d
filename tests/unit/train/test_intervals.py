"""Intervals from out-of-fold errors: they hold as often as they say on cases they are not made from."""

from __future__ import annotations

import numpy as np
import pytest

from segloop.plan import LabelSpec
from segloop.train.intervals import covered, volume_intervals
from segloop.train.scores import CaseScore, LabelScore

SPECS = (LabelSpec(value=1, name="organ"),)


def cases(measured: np.ndarray, expert: np.ndarray) -> list[CaseScore]:
    def score(ours: float, theirs: float) -> LabelScore:
        return LabelScore(dice=0.9, hd95_mm=1.0, surface_dice=0.9, volume_ml=ours, reference_volume_ml=theirs)

    return [
        CaseScore(id=f"c{i}", labels={"1": score(*pair)}, seconds=0.0)
        for i, pair in enumerate(zip(measured, expert, strict=True))
    ]


def folded(measured: np.ndarray, expert: np.ndarray, folds: int = 5) -> list[list[CaseScore]]:
    scored = cases(measured, expert)
    return [scored[k::folds] for k in range(folds)]


def draw(seed: int, count: int, spread: float = 0.1, bias: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    measured = random.uniform(1, 20, count)
    # Heavier tails than a normal law, which intervals from its deviation would miss.
    return measured, measured * np.exp(bias + spread * random.standard_t(4, count))


@pytest.mark.parametrize("count", [15, 30, 200])
def test_new_cases_are_covered_as_often_as_stated(count: int) -> None:
    shares = []
    for seed in range(40):
        (found,) = volume_intervals(folded(*draw(seed, count)), SPECS)
        new = [covered(found, m, e) for m, e in zip(*draw(1000 + seed, 400), strict=True)]
        known = [answer for answer in new if answer is not None]
        assert len(known) > 300
        shares.append(np.mean(known))
    assert 0.90 <= np.mean(shares) <= 0.99
    assert found.method == ("student" if count == 15 else "conformal")


def test_coverage_is_measured_on_the_folds_left_out_and_bias_is_taken_out() -> None:
    (found,) = volume_intervals(folded(*draw(0, 200, bias=0.3)), SPECS)
    assert found.coverage == pytest.approx(0.95, abs=0.04)
    assert found.centre == pytest.approx(0.3, abs=0.03)
    assert found.cases == 200
    (alone,) = volume_intervals([cases(*draw(0, 50))], SPECS)
    assert alone.coverage is None


def test_errors_that_shrink_with_size_are_noticed_and_others_are_not() -> None:
    random = np.random.default_rng(3)
    measured = np.exp(random.uniform(0, 4, 200))
    z = random.normal(size=200)
    (sized,) = volume_intervals(folded(measured, measured * np.exp(0.3 * measured**-0.5 * z)), SPECS)
    (even,) = volume_intervals(folded(measured, measured * np.exp(0.1 * z)), SPECS)
    assert sized.exponent == pytest.approx(0.5, abs=0.2)
    assert even.exponent == 0
    small, large = (sized.bounds(v) for v in (2.0, 50.0))
    assert small[1] / small[0] > 1.5 * large[1] / large[0]


def test_structures_that_experts_did_not_draw_open_the_interval_to_0() -> None:
    measured, expert = draw(0, 100)
    expert[:10] = 0
    (found,) = volume_intervals(folded(measured, expert), SPECS)
    assert found.lower is None
    assert found.bounds(5.0)[0] == 0
    assert found.coverage >= 0.9


def test_one_fold_unlike_the_others_widens_the_interval() -> None:
    measured, expert = draw(0, 50, spread=0.02)
    expert[0::5] *= 1.12
    (found,) = volume_intervals(folded(measured, expert), SPECS)
    assert found.widened > 1
    assert found.coverage >= 0.9


def test_too_few_cases_and_absent_labels_give_no_interval() -> None:
    measured, expert = draw(0, 20)
    assert volume_intervals(folded(measured[:4], expert[:4], 2), SPECS) == ()
    assert volume_intervals(folded(measured, expert * 0), SPECS) == ()
    assert volume_intervals(folded(measured * 0, expert), SPECS) == ()
