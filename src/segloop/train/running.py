"""What one training is while it runs: where it stands, how fast it goes, what it has seen."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from keras import ops

from segloop.errors import ModelError
from segloop.plan import Plan
from segloop.train.checkpoint import Notice, Point, State
from segloop.train.plateau import Plateau
from segloop.train.schedule import Clock, Pace, Schedule, learning_rate
from segloop.train.team import ALONE, Orders, Team

UNTIMED_STEPS = 2
"""The first steps trace and tune; they say nothing about the pace."""


class Progress(Protocol):
    """Told after each epoch, and about every second between, how training goes."""

    def __call__(self, epoch: int, total: int, dice: dict[str, float], seconds_left: float) -> None:
        """Take note.

        Args:
            epoch: Epochs done.
            total: Epochs planned; an estimate while a time budget is being calibrated.
            dice: Latest validation Dice by label name; empty before the first one.
            seconds_left: Estimated seconds to the end of training.
        """


class Step(Protocol):
    """One step of the optimiser after the other, on some backend."""

    def __call__(self) -> Any:
        """Do the next step; its loss, a scalar that may still be being computed."""


@dataclass(slots=True)
class Run:
    """What changes while training; the callbacks write it.

    Args:
        plan: The recipe.
        state: Of the checkpoint this run starts from, or a fresh one.
        clock: The time it has.
        schedule: Steps to progress.
        elapsed_s: Seconds since the command began, with those of earlier commands of the same run.
        pace: How fast steps are.
        step: Steps done.
        dice: Of the latest validation.
        validated: Step of the latest validation; -1 before the first.
        points: One for each epoch.
        notices: Warnings.
        plateau: What the points say about the learning rate.
        team: Who takes part; all do the same steps at the same rates, which the first worker decides.
        orders: Its orders for the step to come.
        interrupted: The process was told to end; it does not finish the training.
    """

    plan: Plan
    state: State
    clock: Clock
    schedule: Schedule
    elapsed_s: Callable[[], float]
    pace: Pace = field(default_factory=Pace)
    step: int = 0
    dice: dict[str, float] = field(default_factory=dict)
    validated: int = -1
    points: list[Point] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    plateau: Plateau = field(default_factory=Plateau)
    team: Team = ALONE
    orders: Orders | None = None
    interrupted: bool = False
    loss_sum: float = 0.0
    loss_steps: int = 0
    _unread: list[Any] = field(default_factory=list)

    @property
    def progress(self) -> float:
        """Share of the training done."""
        if self.orders is not None and not self.team.chief:
            return self.orders.progress
        if self.schedule.total:
            return self.schedule.at(self.step)
        return min(1.0, self.elapsed_s() / max(self.clock.training_s, 1e-9))

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        if self.orders is not None and not self.team.chief:
            return self.orders.learning_rate
        spec = self.plan.training
        if spec.schedule == "plateau":
            return self.plateau.learning_rate(self.progress, spec.learning_rate, spec.warmup_fraction)
        return learning_rate(self.progress, spec.learning_rate, spec.warmup_fraction)

    @property
    def done(self) -> bool:
        """True when no step is left to do, as when a finished run is resumed."""
        return self.elapsed_s() >= self.clock.training_s or 0 < self.schedule.total <= self.step

    @property
    def seconds_left(self) -> float:
        """Estimated time to the end of training."""
        if not self.schedule.total:
            return max(0.0, self.clock.training_s - self.elapsed_s())
        pace = self.pace.step_s if math.isfinite(self.pace.step_s) else 0.0
        return max(0, self.schedule.total - self.step) * pace

    def count(self, loss: Any) -> None:
        """Note a step and its loss.

        A loss is read one step late, so that an accelerator always has the next step to do; at once while steps are
        still being timed one by one.
        """
        self.step += 1
        self._unread.append(loss)
        self._read(0 if self.pace.timed <= UNTIMED_STEPS else 1)

    def settle(self) -> None:
        """Wait for all steps. What is saved after this is no diverged weight."""
        self._read(0)

    def mean_loss(self) -> float:
        """Mean loss since this was last asked, with all steps done; 0 without any."""
        self.settle()
        mean = self.loss_sum / max(1, self.loss_steps)
        self.loss_sum, self.loss_steps = 0.0, 0
        return mean

    def _read(self, left: int) -> None:
        while len(self._unread) > left:
            step = self.step - len(self._unread) + 1
            loss = float(ops.convert_to_numpy(self._unread.pop(0)))
            if not math.isfinite(loss):
                raise ModelError(
                    f"The training loss became {loss} at step {step}; the last good checkpoint is kept.",
                    code="train.diverged",
                    found=str(loss),
                    expected="a finite loss",
                    hint="Lower training.learning_rate or use training.precision=float32, then go on with --resume.",
                )
            self.loss_sum += loss
            self.loss_steps += 1

    def snapshot(self) -> State:
        """The state as a checkpoint keeps it."""
        return self.state.model_copy(
            update={
                "step": self.step,
                "seconds": self.elapsed_s(),
                "total": self.schedule.total,
                "budget_s": self.clock.budget_s if math.isfinite(self.clock.budget_s) else 0.0,
                "anchor_step": self.schedule.step,
                "anchor_progress": self.schedule.progress,
                "history": tuple(self.points),
                "notices": tuple(self.notices),
                "loss_sum": self.loss_sum,
                "loss_steps": self.loss_steps,
            }
        )


def follower(run: Run) -> Run:
    """The run of a worker that does as the first one says: it has no clock and no end of its own."""
    return replace(run, clock=Clock(), schedule=Schedule(sys.maxsize))
