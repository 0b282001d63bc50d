"""Time to steps, steps to progress, progress to learning rate."""

from __future__ import annotations

import itertools
from math import inf

import pytest

from segloop.train.schedule import Clock, Pace, Schedule, finishing_steps, learning_rate, reserve_s


def test_progress_is_a_line_to_the_last_step() -> None:
    schedule = Schedule(100)
    assert [schedule.at(n) for n in (0, 25, 100, 130)] == [0, 0.25, 1, 1]


def test_a_refit_never_makes_progress_jump_and_still_ends_at_one() -> None:
    before = Schedule(100)
    for total in (60, 300):
        after = before.refitted(40, total)
        assert after.at(40) == pytest.approx(before.at(40))
        assert after.at(total) == 1
        assert after.at(41) > after.at(40)


def test_a_refit_into_the_past_ends_with_the_next_step() -> None:
    assert Schedule(100).refitted(40, 10).total == 41


def test_a_run_whose_time_is_up_has_done_all_its_steps() -> None:
    ended = Schedule(100, 20, 0.2).ended(99)
    assert ended.total == 99
    assert ended.at(99) == 1


def test_calibration_takes_a_tenth_of_the_budget_and_at_most_a_minute() -> None:
    short, long = Clock(100, 10), Clock(3600, 20)
    assert not short.calibrated(30, 9.9, 30)
    assert short.calibrated(30, 10.1, 30)
    assert not long.calibrated(300, 59, 80)
    assert long.calibrated(300, 61, 80)


def test_calibration_ends_when_time_runs_out_whatever_was_timed() -> None:
    assert Clock(30, 10).calibrated(0, 0.0, 20.5)


def test_the_steps_afforded_leave_the_reserve() -> None:
    clock = Clock(900, 20)
    total = clock.affordable(100, 0.5, 80)
    assert total == 100 + 1600
    assert 80 + (total - 100) * 0.5 <= clock.training_s
    assert clock.affordable(100, 0.5, 2000) == 100


def test_a_schedule_is_refitted_when_late_and_when_there_is_time_to_spare() -> None:
    clock, schedule = Clock(1000, 0), Schedule(1000)
    assert not clock.must_refit(schedule, 500, 1.0, 505)
    assert clock.must_refit(schedule, 500, 1.0, 515)
    assert clock.must_refit(schedule, 500, 1.1, 500)
    assert clock.must_refit(schedule, 500, 0.9, 500)


@pytest.mark.parametrize("step_s", [0.3, 0.9])
def test_a_budget_is_met_on_a_machine_that_changes_speed(step_s: float) -> None:
    """Half way through, each step takes another time; the end still comes within 2 % of the budget."""
    clock, elapsed, step = Clock(600, 20), 0.0, 0
    pace, schedule = Pace(), Schedule(0)
    while not schedule.total or step < schedule.total:
        step += 1
        seconds = 0.5 if elapsed < 300 else step_s
        elapsed += seconds
        pace = pace.after(seconds)
        if not schedule.total:
            if clock.calibrated(pace.timed, pace.timed_s, elapsed):
                schedule = Schedule(clock.affordable(step, pace.step_s, elapsed), step, elapsed / clock.training_s)
        elif step % 20 == 0 and clock.must_refit(schedule, step, pace.step_s, elapsed):
            schedule = schedule.refitted(step, clock.affordable(step, pace.step_s, elapsed))
    assert elapsed == pytest.approx(clock.training_s, abs=12)
    assert schedule.at(step) == 1


def test_the_learning_rate_warms_up_decays_and_ends_at_zero() -> None:
    rates = [learning_rate(i / 1000, 0.01, 0.05) for i in range(1001)]
    assert rates[0] == 0
    assert max(rates) == pytest.approx(0.01) == rates[50]
    assert rates[-1] == 0
    assert all(a > b for a, b in itertools.pairwise(rates[50:]))


def test_without_warm_up_the_first_step_has_the_peak() -> None:
    assert learning_rate(0.0, 0.01, 0.0) == pytest.approx(0.01)


def test_a_short_budget_keeps_most_of_itself_for_training() -> None:
    assert reserve_s(20) == 8
    assert reserve_s(900) <= 45
    assert Clock().training_s == inf


def test_a_machine_that_traces_slowly_keeps_more_back() -> None:
    clock = Clock(900, reserve_s(900))
    assert clock.traced(3.0) == clock
    assert clock.traced(40.0).reserve_s == 40
    assert clock.traced(500.0).reserve_s == 360
    assert Clock().traced(40.0).training_s == inf


def test_what_follows_training_is_reckoned_at_the_networks_pace() -> None:
    assert finishing_steps(held=20, batch=4) == 7
    clock = Clock(100, 10, finishing_steps(held=20, batch=4))
    assert clock.training_s == 90
    assert clock.at_pace(5.0).training_s == 55
    assert clock.at_pace(5.0).room(5.0, 50.0)
    assert not clock.at_pace(5.0).room(5.0, 51.0)


def test_the_pace_is_first_a_mean_and_then_follows() -> None:
    pace = Pace()
    for seconds in (1.0, 3.0):
        pace = pace.after(seconds)
    assert pace == Pace(2.0, 2, 4.0)
    for _ in range(600):
        pace = pace.after(1.0)
    assert pace.step_s == pytest.approx(1.0, abs=0.01)
