"""The training loop, and the callbacks that give it pace, validation and checkpoints. They share one `Run`.

The callbacks are Keras', but the loop is not `model.fit`: the same one does steps of TensorFlow on one processor, of
several workers that agree with each other, and of JAX without TensorFlow.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
from keras import ops

from segloop.nets.losses import set_progress
from segloop.train import checkpoint
from segloop.train.checkpoint import Point
from segloop.train.judging import Batches, average_into, averaged, judged, patch_dice
from segloop.train.plateau import Plateau, validation_interval
from segloop.train.running import UNTIMED_STEPS, Progress, Run, Step, follower
from segloop.train.schedule import Schedule
from segloop.train.team import Orders

_REFIT_EVERY = 20
_FIRST_SLOWER = 3
_VALIDATION_SHARE = 0.02
_CHECKPOINT_SHARE = 0.02
_TOLD_EVERY_S = 1.0


def train(run: Run, model: keras.Model, step: Step, callbacks: Sequence[keras.callbacks.Callback]) -> None:
    """Do steps until a callback sets `model.stop_training`, on this worker or the first one.

    `on_epoch_end` comes after every `training.steps_per_epoch` steps of the run, wherever it was resumed, and when
    training ends; not when it is interrupted half-way, so that whoever resumes sees the same epochs.

    Args:
        run: Where it stands; counts the steps.
        model: Compiled; given to the callbacks.
        step: Does the steps.
        callbacks: In this order. `logs` holds nothing after a step and the epoch's mean `loss` after an epoch.
    """
    length = run.plan.training.steps_per_epoch
    model.stop_training = False
    for callback in callbacks:
        callback.set_model(model)
    _tell(callbacks, "on_train_begin")
    for epoch, batch in _steps(run, model):
        if batch == 0:
            _tell(callbacks, "on_epoch_begin", epoch)
        _tell(callbacks, "on_train_batch_begin", batch)
        run.count(step())
        _tell(callbacks, "on_train_batch_end", batch)
        if batch + 1 == length or (model.stop_training and not run.interrupted):
            _tell(callbacks, "on_epoch_end", epoch, {"loss": run.mean_loss()})
    run.settle()
    _tell(callbacks, "on_train_end")


def _steps(run: Run, model: keras.Model) -> Iterator[tuple[int, int]]:
    """Epoch and number in it of each step to do, as the team agrees to do it."""
    while True:
        own = Orders(run.progress, run.learning_rate, bool(model.stop_training), run.interrupted)
        run.orders = run.team.agree(own)
        run.interrupted = run.orders.interrupted
        if run.orders.stop or run.orders.interrupted:
            return
        yield divmod(run.step, run.plan.training.steps_per_epoch)


def _tell(callbacks: Sequence[keras.callbacks.Callback], event: str, *details: Any) -> None:
    for callback in callbacks:
        getattr(callback, event)(*details)


class Pacing(keras.callbacks.Callback):  # type: ignore[misc]
    """Sets the learning rate of every step, turns time into steps, and ends training on the last one."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run, self._last, self._seen = run, 0.0, 0

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Start the watch."""
        self._last = time.monotonic()

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Set the learning rate, and the weights of losses that change while training."""
        set_progress(self.model, self.run.progress)
        self.model.optimizer.learning_rate = self.run.learning_rate

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Time the step and see whether the schedule still fits."""
        run, now = self.run, time.monotonic()
        seconds, self._last = now - self._last, now
        self._seen += 1
        if self._seen > UNTIMED_STEPS:
            run.pace = run.pace.after(seconds)
        if math.isfinite(run.clock.budget_s):
            self._fit_budget(run.pace.step_s if run.pace.timed else seconds)
        if run.schedule.total and run.step >= run.schedule.total:
            self.model.stop_training = True

    def _fit_budget(self, step_s: float) -> None:
        run, elapsed = self.run, self.run.elapsed_s()
        calibrated = run.schedule.total > 0
        if not calibrated or run.step % _REFIT_EVERY == 0:
            # The very first step also tunes the kernels; what follows training will not be as slow as it.
            run.clock = run.clock.at_pace(step_s / _FIRST_SLOWER if self._seen == 1 else step_s)
        if not run.clock.room(step_s if not calibrated else 0.0, elapsed):
            # Also with steps so slow that not even a few can be timed.
            run.schedule = run.schedule.ended(run.step)
        elif not calibrated:
            if run.clock.calibrated(run.pace.timed, run.pace.timed_s, elapsed):
                begun = Schedule(run.step + 1, run.step, run.progress)
                run.schedule = begun.refitted(run.step, run.clock.affordable(run.step, step_s, elapsed))
        elif (
            run.step % _REFIT_EVERY == 0
            and run.pace.timed >= _REFIT_EVERY
            and run.clock.must_refit(run.schedule, run.step, step_s, elapsed)
        ):
            run.schedule = run.schedule.refitted(run.step, run.clock.affordable(run.step, step_s, elapsed))


class Validation(keras.callbacks.Callback):  # type: ignore[misc]
    """Dice of the averaged weights on held-out patches, as often as costs at most 2 % of the time, and at the end.

    Under the plateau schedule it comes at fixed epochs instead, since it then decides about the learning rate.

    Args:
        run: Written to.
        network: A network of its own that the averaged weights are copied into, so the ones in training stay untouched.
        batches: Held-out patches; none switches validation off.
    """

    def __init__(self, run: Run, network: keras.Model, batches: Batches) -> None:
        super().__init__()
        self.run, self.network, self.batches = run, network, batches
        self._cost_s, self._last = 0.0, time.monotonic()
        spec, held = run.plan.training, sum(len(labels) for _, labels in batches)
        self._every = validation_interval(held, spec.batch, spec.steps_per_epoch) if spec.schedule == "plateau" else 0
        run.plateau = Plateau.of(run.points, bool(batches))

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Validate if it is due, and note the epoch's loss."""
        run, held_loss = self.run, None
        dice: dict[str, float] = {}
        ending = self.model.stop_training and not run.interrupted
        if self.batches and (self._due(epoch) or ending):
            started = time.monotonic()
            average_into(self.network, self.model)
            dice, held_loss = judged(self.network, self.batches, run.plan, _full_loss(self.model))
            run.dice, run.validated = dice, run.step
            self._last = time.monotonic()
            self._cost_s = self._last - started
        rate = float(ops.convert_to_numpy(self.model.optimizer.learning_rate))
        loss = float((logs or {}).get("loss", 0.0))
        run.points.append(Point(step=run.step, loss=loss, dice=dice, held_loss=held_loss, learning_rate=rate))
        run.plateau = run.plateau.after(run.points[-1], bool(self.batches))

    def _due(self, epoch: int) -> bool:
        if self._every:
            return epoch % self._every == 0
        return self._cost_s == 0 or self._cost_s <= _VALIDATION_SHARE * (time.monotonic() - self._last)


class Checkpoints(keras.callbacks.Callback):  # type: ignore[misc]
    """Writes a checkpoint every `every` steps, or less often where that would take more than 2 % of the time."""

    def __init__(self, run: Run, folder: Path, every: int) -> None:
        super().__init__()
        self.run, self.folder, self.every = run, folder, every
        self._cost_s, self._last, self._saved = 0.0, time.monotonic(), run.step

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Write when it is time. An epoch's last step is written after the epoch has been noted."""
        if self.run.step % self.run.plan.training.steps_per_epoch:
            self._write_if_due()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Write when it is time, with the epoch's point. Comes after `Validation`."""
        self._write_if_due()

    def _write_if_due(self) -> None:
        step = self.run.step
        due = step // self.every > self._saved // self.every
        if not due or self._cost_s > _CHECKPOINT_SHARE * (time.monotonic() - self._last):
            return
        self.run.settle()
        started = time.monotonic()
        checkpoint.save(self.folder, self.run.snapshot(), self.model)
        self._saved, self._last = step, time.monotonic()
        self._cost_s = self._last - started


class Reporting(keras.callbacks.Callback):  # type: ignore[misc]
    """Tells a `Progress` after each epoch, and about every second between."""

    def __init__(self, run: Run, progress: Progress) -> None:
        super().__init__()
        self.run, self.progress, self._told = run, progress, time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Pass on where training stands, unless that was done just now."""
        if time.monotonic() - self._told >= _TOLD_EVERY_S and self.run.step % self.run.plan.training.steps_per_epoch:
            self._tell(self.run.step // self.run.plan.training.steps_per_epoch)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Pass on where training stands."""
        self._tell(epoch + 1)

    def _tell(self, epochs: int) -> None:
        run, length = self.run, self.run.plan.training.steps_per_epoch
        left = run.seconds_left
        pace = run.pace.step_s if run.pace.timed else math.inf
        total = run.schedule.total or run.step + int(left / pace)
        self.progress(epochs, max(math.ceil(total / length), epochs), dict(run.dice), left)
        self._told = time.monotonic()


def _full_loss(model: keras.Model) -> keras.losses.Loss:
    """The loss of a compiled model's full-resolution output, which stands first."""
    return model.loss[0] if isinstance(model.loss, list | tuple) else model.loss


__all__ = [
    "Batches",
    "Checkpoints",
    "Pacing",
    "Progress",
    "Reporting",
    "Run",
    "Step",
    "Validation",
    "average_into",
    "averaged",
    "follower",
    "judged",
    "patch_dice",
    "train",
]
