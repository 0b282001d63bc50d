"""Callbacks around `model.fit`: pace, validation, checkpoints. Between them they share one `Run`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
from keras import ops

from segloop.errors import ModelError
from segloop.nets.objectives import StreamingDice
from segloop.plan import Plan
from segloop.train import checkpoint
from segloop.train.checkpoint import Point, State
from segloop.train.schedule import Clock, Pace, Schedule, learning_rate

Batches = Sequence[tuple[np.ndarray, np.ndarray]]

# The first steps trace and tune; they say nothing about the pace.
_UNTIMED_STEPS = 2
_REFIT_EVERY = 20
_VALIDATION_SHARE = 0.02


class Progress(Protocol):
    """Told after each epoch how training goes."""

    def __call__(self, epoch: int, total: int, dice: dict[str, float], seconds_left: float) -> None:
        """Take note.

        Args:
            epoch: Epochs done.
            total: Epochs planned; an estimate while a time budget is being calibrated.
            dice: Latest validation Dice by label name; empty before the first one.
            seconds_left: Estimated seconds to the end of training.
        """


@dataclass(slots=True)
class Run:
    """What changes while training; the callbacks write it.

    Args:
        plan: The recipe.
        state: Of the checkpoint this run starts from, or a fresh one.
        clock: The time it has.
        schedule: Steps to progress.
        elapsed_s: Seconds since the command began, with those of earlier commands of the same run.
    """

    plan: Plan
    state: State
    clock: Clock
    schedule: Schedule
    elapsed_s: Callable[[], float]
    pace: Pace = field(default_factory=Pace)
    step: int = 0
    dice: dict[str, float] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)

    @property
    def progress(self) -> float:
        """Share of the training done."""
        if self.schedule.total:
            return self.schedule.at(self.step)
        return min(1.0, self.elapsed_s() / max(self.clock.training_s, 1e-9))

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
            }
        )


class Pacing(keras.callbacks.Callback):  # type: ignore[misc]
    """Sets the learning rate of every step, turns time into steps, and ends training on the last one.

    Raises:
        ModelError: `train.diverged` when the loss is no longer finite; the checkpoint before stays.
    """

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run, self._last, self._seen = run, 0.0, 0

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Set the learning rate."""
        spec = self.run.plan.training
        self.model.optimizer.learning_rate = learning_rate(self.run.progress, spec.learning_rate, spec.warmup_fraction)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Count the step and see whether the schedule still fits."""
        run, now = self.run, time.monotonic()
        loss = float((logs or {}).get("loss", 0.0))
        if not math.isfinite(loss):
            raise ModelError(
                f"The training loss became {loss} at step {run.step + 1}; the last good checkpoint is kept.",
                code="train.diverged",
                found=str(loss),
                expected="a finite loss",
                hint="Lower training.learning_rate or use training.precision=float32, then go on with --resume.",
            )
        run.step += 1
        self._seen += 1
        if self._seen > _UNTIMED_STEPS:
            run.pace = run.pace.after(now - self._last)
        self._last = now
        if math.isfinite(run.clock.budget_s):
            self._fit_budget()
        if run.schedule.total and run.step >= run.schedule.total:
            self.model.stop_training = True

    def _fit_budget(self) -> None:
        run, elapsed = self.run, self.run.elapsed_s()
        pace = run.pace.step_s if math.isfinite(run.pace.step_s) else 1.0
        if not run.schedule.total:
            if run.clock.calibrated(run.pace.timed, run.pace.timed_s, elapsed):
                begun = Schedule(run.step + 1, run.step, run.progress)
                run.schedule = begun.refitted(run.step, run.clock.affordable(run.step, pace, elapsed))
        elif elapsed >= run.clock.training_s:
            run.schedule = run.schedule.ended(run.step)
        elif (
            run.step % _REFIT_EVERY == 0
            and run.pace.timed >= _REFIT_EVERY
            and run.clock.must_refit(run.schedule, run.step, pace, elapsed)
        ):
            run.schedule = run.schedule.refitted(run.step, run.clock.affordable(run.step, pace, elapsed))


class Validation(keras.callbacks.Callback):  # type: ignore[misc]
    """Dice of the averaged weights on held-out patches, as often as costs at most 2 % of the time.

    Args:
        run: Written to.
        network: A network of its own that the averaged weights are copied into, so the ones in training stay untouched.
        batches: Held-out patches; none switches validation off.
    """

    def __init__(self, run: Run, network: keras.Model, batches: Batches) -> None:
        super().__init__()
        self.run, self.network, self.batches = run, network, batches
        self._cost_s, self._last = 0.0, time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Validate if it is due, and note the epoch's loss."""
        logs = {} if logs is None else logs
        waited = time.monotonic() - self._last
        if self.batches and (self._cost_s == 0 or self._cost_s <= _VALIDATION_SHARE * waited):
            started = time.monotonic()
            average_into(self.network, self.model)
            self.run.dice = patch_dice(self.network, self.batches, self.run.plan)
            self._last = time.monotonic()
            self._cost_s = self._last - started
            logs.update({f"val_dice_{name}": value for name, value in self.run.dice.items()})
            dice = self.run.dice
        else:
            dice = {}
        self.run.points.append(Point(step=self.run.step, loss=float(logs.get("loss", 0.0)), dice=dice))


class Checkpoints(keras.callbacks.Callback):  # type: ignore[misc]
    """Writes a checkpoint every `every` steps."""

    def __init__(self, run: Run, folder: Path, every: int) -> None:
        super().__init__()
        self.run, self.folder, self.every = run, folder, every

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Write when it is time. Comes after `Pacing`, so a diverged step is never written."""
        if self.run.step % self.every == 0:
            checkpoint.save(self.folder, self.run.snapshot(), self.model)


class Reporting(keras.callbacks.Callback):  # type: ignore[misc]
    """Tells a `Progress` after each epoch."""

    def __init__(self, run: Run, progress: Progress) -> None:
        super().__init__()
        self.run, self.progress = run, progress

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Pass on where training stands."""
        run, length = self.run, self.run.plan.training.steps_per_epoch
        left = run.seconds_left
        total = run.schedule.total or run.step + int(left / run.pace.step_s)
        self.progress(math.ceil(run.step / length), math.ceil(total / length), dict(run.dice), left)


def average_into(network: keras.Model, model: keras.Model) -> None:
    """Copy the averaged weights of a model in training (its plain ones without averaging) into `network`, by path."""
    averages = dict(zip((v.path for v in model.trainable_variables), averaged(model), strict=True))
    for variable in network.weights:
        variable.assign(averages[variable.path])


def averaged(model: keras.Model) -> list[keras.Variable]:
    """The moving averages of the trainable variables; themselves before the first step or without averaging."""
    optimizer = model.optimizer
    if not optimizer.use_ema or int(ops.convert_to_numpy(optimizer.iterations)) == 0:
        return list(model.trainable_variables)
    return list(optimizer._model_variables_moving_average)


def patch_dice(network: keras.Model, batches: Batches, plan: Plan) -> dict[str, float]:
    """Dice of each label by name, pooled over all patches."""
    metric = StreamingDice(plan.network.classes)
    for image, labels in batches:
        metric.update_state(labels, network.predict_on_batch(image))
    scores = ops.convert_to_numpy(metric.per_label())
    return {label.name: round(float(score), 4) for label, score in zip(plan.labels, scores, strict=True)}
