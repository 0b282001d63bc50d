"""Signals wait for the end of a step, once; a stop file ends a training for good."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import keras
import pytest

from segloop.train.checkpoint import State
from segloop.train.loop import Pacing, Run, train
from segloop.train.schedule import Clock, Schedule
from segloop.train.stopping import Ending, Signals
from training_kit import plan


def _run() -> Run:
    state = State(plan="sha256:1", seed=0, fold=None)
    return Run(plan(steps_per_epoch=4), state, Clock(), Schedule(100), lambda: 0.0)


def _model() -> keras.Model:
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1), loss="mse")
    return model


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_training_after_the_step_and_a_second_one_at_once(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    run = _run()
    with Signals() as signals:

        def step() -> float:
            if run.step == 5:
                os.kill(os.getpid(), number)
            return 1.0

        train(run, _model(), step, [Pacing(run), Ending(run, signals, None)])
        assert (run.step, run.interrupted) == (6, True)
        assert run.snapshot().total == 100
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) == before


def test_outside_the_loop_a_signal_interrupts_at_once() -> None:
    with Signals(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_stop_file_makes_the_step_the_last_of_the_run(tmp_path: Path) -> None:
    run, file = _run(), tmp_path / "stop"

    def step() -> float:
        if run.step == 6:
            file.touch()
        return 1.0

    with Signals() as signals:
        train(run, _model(), step, [Pacing(run), Ending(run, signals, file)])
    assert (run.step, run.interrupted) == (7, False)
    assert run.snapshot().total == 7
    assert run.done
