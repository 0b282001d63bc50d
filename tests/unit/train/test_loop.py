"""The loop: epochs are where they are whoever resumes, budgets are kept on any machine, losses are read."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import keras
import pytest

from segloop.errors import ModelError
from segloop.train import loop
from segloop.train.checkpoint import State
from segloop.train.loop import Pacing, Run, train
from segloop.train.schedule import Clock, Schedule, finishing_steps, reserve_s
from training_kit import plan

STATE = State(plan="sha256:1", seed=0, fold=None)


class Watch:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


class Diary(keras.callbacks.Callback):
    def __init__(self) -> None:
        super().__init__()
        self.epochs: list[tuple[int, float]] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.epochs.append((epoch, logs["loss"]))


class EndAfter(keras.callbacks.Callback):
    """Interrupts after some steps."""

    def __init__(self, run: Run, steps: int) -> None:
        super().__init__()
        self.run, self.steps = run, steps

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.run.step == self.steps:
            self.run.interrupted = self.model.stop_training = True


def _model() -> keras.Model:
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1), loss="mse")
    return model


def _run(total: int, state: State = STATE, **options: Any) -> Run:
    restored = {"step": state.step, "loss_sum": state.loss_sum, "loss_steps": state.loss_steps}
    return Run(plan(steps_per_epoch=4), state, Clock(), Schedule(total), lambda: 0.0, **restored, **options)


def _losses(first: int = 0) -> Callable[[], float]:
    numbers: Iterator[int] = itertools.count(first)
    return lambda: float(next(numbers))


def test_epochs_and_their_losses_are_the_same_after_an_interruption() -> None:
    whole, first, second = Diary(), Diary(), Diary()
    run = _run(10)
    train(run, _model(), _losses(), [Pacing(run), whole])
    assert whole.epochs == [(0, 1.5), (1, 5.5), (2, 8.5)]

    run = _run(10)
    train(run, _model(), _losses(), [Pacing(run), EndAfter(run, 6), first])
    assert first.epochs == [(0, 1.5)]
    resumed = _run(10, run.snapshot())
    train(resumed, _model(), _losses(6), [Pacing(resumed), second])
    assert first.epochs + second.epochs == whole.epochs


def test_a_loss_that_is_not_finite_ends_training_with_its_step() -> None:
    run = _run(10)
    losses = iter([1.0, 1.0, 1.0, 1.0, 1.0, float("nan"), 1.0, 1.0])
    with pytest.raises(ModelError, match="became nan at step 6") as fault:
        train(run, _model(), lambda: next(losses), [Pacing(run)])
    assert fault.value.code == "train.diverged"


@pytest.mark.parametrize("step_s", [0.2, 4.0, 25.0, 60.0, 500.0])
@pytest.mark.parametrize("budget_s", [30.0, 100.0, 150.0, 900.0])
@pytest.mark.parametrize("slower", [1, 3])
def test_a_budget_is_not_overrun_however_slow_the_steps(
    step_s: float, budget_s: float, slower: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch()
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=watch.monotonic))
    clock = Clock(budget_s, reserve_s(budget_s), finishing_steps(held=8, batch=2))
    run = Run(plan(steps_per_epoch=4), STATE, clock, Schedule(0), watch.monotonic)
    watch.now = 5.0  # reading

    def step() -> float:
        watch.now += step_s * (slower if run.step == 0 else 1)  # the first one tunes
        return 1.0

    train(run, _model(), step, [Pacing(run)])
    finished = watch.now + clock.finishing_steps * step_s + clock.reserve_s
    # One step is always done, and a second one if the first looked as if it had been slow for being the first.
    assert run.step <= 2 or finished <= 1.02 * budget_s
    assert run.step == 1 or watch.now <= budget_s
    if step_s == 0.2:
        assert finished >= 0.95 * budget_s
    assert run.done


def test_followers_do_what_the_first_worker_orders() -> None:
    orders = iter([loop.Orders(0.3, 0.07, False, False), loop.Orders(0.4, 0.05, True, False)])
    team = SimpleNamespace(chief=False, index=1, workers=2, agree=lambda own: next(orders), first=lambda n: n)
    run, rates = loop.follower(_run(10, team=team)), []
    model = _model()
    train(run, model, lambda: rates.append(float(model.optimizer.learning_rate)) or 1.0, [Pacing(run)])
    assert rates == [pytest.approx(0.07)]
    assert run.step == 1
