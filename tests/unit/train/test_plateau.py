"""The plateau schedule follows from the history alone, and halves the rate when nothing is gained."""

from __future__ import annotations

import pytest

from segloop.train.checkpoint import Point
from segloop.train.plateau import Plateau, validation_interval


def _points(*scores: float) -> list[Point]:
    return [Point(step=10 * i, loss=0.0, dice={"a": score, "b": score}) for i, score in enumerate(scores, 1)]


def test_rising_dice_keeps_the_rate() -> None:
    assert Plateau.of(_points(*(0.01 * i for i in range(60))), held=True).halvings == 0


def test_ten_validations_without_gain_halve_the_rate_and_start_waiting_anew() -> None:
    flat = [0.5, *[0.501] * 10]
    assert Plateau.of(_points(*flat[:-1]), held=True).halvings == 0
    assert Plateau.of(_points(*flat), held=True) == Plateau(best=0.5, waited=0, halvings=1)
    assert Plateau.of(_points(*flat, *[0.5] * 10), held=True).halvings == 2
    assert Plateau.of(_points(*flat, *[0.5] * 200), held=True).halvings == 4


def test_a_resumed_history_gives_the_same_as_the_points_one_by_one() -> None:
    points = _points(0.1, 0.4, 0.4, 0.6, *[0.6] * 11, 0.7)
    told = Plateau()
    for point in points:
        told = told.after(point, held=True)
    assert Plateau.of(points, held=True) == told == Plateau(best=0.7, waited=0, halvings=1)


def test_epochs_without_a_validation_do_not_count() -> None:
    points = [p.model_copy(update={"dice": {}}) for p in _points(*[0.5] * 50)]
    assert Plateau.of(points, held=True) == Plateau()


def test_without_held_out_cases_the_loss_decides() -> None:
    falling = [Point(step=i, loss=1.0 - 0.01 * i) for i in range(30)]
    flat = [Point(step=i, loss=0.7) for i in range(11)]
    assert Plateau.of(falling, held=False).halvings == 0
    assert Plateau.of([*falling, *flat], held=False).halvings == 1


def test_the_rate_rises_stays_and_falls_over_the_last_fifth() -> None:
    rates = [Plateau(halvings=2).learning_rate(p, 0.4, 0.1) for p in (0.0, 0.05, 0.1, 0.8, 0.9, 1.0)]
    assert rates == pytest.approx([0.0, 0.05, 0.1, 0.1, 0.05, 0.0])


def test_validation_comes_at_epochs_that_do_not_depend_on_the_machine() -> None:
    assert validation_interval(held=4, batch=4, steps_per_epoch=50) == 1
    assert validation_interval(held=300, batch=2, steps_per_epoch=50) == 20
