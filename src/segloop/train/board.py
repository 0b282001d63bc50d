"""TensorBoard: curves, weights, gradients, pictures and the hyper-parameters of a run, in `RUN/logs`.

Four TensorBoard runs lie there: `train` (loss, learning rate, histograms of weights, augmented samples), `held-out`
(loss, Dice, overlays), `gradients` (norms per layer), and one of the first two carries the hyper-parameters, so that
`tensorboard --logdir` over several runs makes a table of them. Everything is numbered by optimiser steps.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import floor, log
from pathlib import Path
from typing import Any

import keras
import numpy as np
from jaxtyping import UInt8
from keras import ops

from segloop.data.feed import Example, validation_feed
from segloop.log import get_logger
from segloop.plan import Plan
from segloop.train.events import EventFile
from segloop.train.gallery import draw_sheet, overlays
from segloop.train.gradients import gradient_notices, layer_gradients
from segloop.train.hyperparameters import hyperparameters, session_end, session_start
from segloop.train.judging import Batches
from segloop.train.pictures import CONTOURS
from segloop.train.running import Run

LOGS = "logs"
"""Folder of the logs in a run's."""

# Share of the time that gradients, histograms and pictures may take, each.
_SHARE = 0.01
# Histograms and pictures are written whenever the number of epochs has grown by this factor, so that their number grows
# with the logarithm of the run's length: about 60 and 30 of them in 1,000 epochs.
_HISTOGRAMS, _OVERLAYS = 1.1, 1.25
_PROBED_CASES = 2

_LOG = get_logger(__name__)


def board_callbacks(
    run: Run,
    plan: Plan,
    judge: keras.Model,
    held: Batches,
    examples: Sequence[Example],
    out: Path,
) -> list[keras.callbacks.Callback]:
    """What to call after `Validation`, whose points and averaged weights are shown; on the first worker only.

    Args:
        run: Read, but for `notices`, to which warnings about gradients are added.
        plan: The recipe.
        judge: The network that `Validation` copies averaged weights into.
        held: Held-out patches; may be empty.
        examples: The training cases; some are drawn, and two patches kept for measuring gradients.
        out: Folder of the run; logs go to `out/logs`.
    """
    sheet = draw_sheet(plan, examples, run.state.seed, out) if run.step == 0 else None
    fullest = sorted(examples, key=lambda example: -np.count_nonzero(example.labels))[:_PROBED_CASES]
    probe = validation_feed(fullest, plan)[0]
    logs = out / LOGS
    return [Gradients(run, probe, logs / "gradients"), Board(run, judge, held, sheet, logs)]


class Gradients(keras.callbacks.Callback):  # type: ignore[misc]
    """Norm of each layer's gradient on one fixed batch, and a warning when it vanishes or explodes.

    Measured after an epoch when that costs at most 1 % of the time so far.

    Args:
        run: Warnings are added to its `notices`.
        probe: The batch: image and labels.
        folder: Of the event file.
    """

    def __init__(self, run: Run, probe: tuple[np.ndarray, np.ndarray], folder: Path) -> None:
        super().__init__()
        self.run, self.probe, self.folder = run, probe, folder
        self._allowance = Allowance(_SHARE)
        self._file: EventFile | None = None

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Measure if it is affordable."""
        if not self._allowance.affords():
            return
        with self._allowance.spending():
            layers = layer_gradients(self.model, *self.probe)
        step, optimizer = self.run.step, self.model.optimizer
        if self._file is None:
            self._file = EventFile(self.folder, self.run.state.step)
        norms = {f"gradients/{g.layer}": g.norm for g in layers}
        total = float(np.sqrt(sum(g.norm**2 for g in layers)))
        self._file.scalars({**norms, "gradient_norm": total}, step)
        self._file.flush()
        found = gradient_notices(
            layers,
            step,
            clip=self.run.plan.training.gradient_norm,
            epsilon=float(optimizer.epsilon),
            known=self.run.notices,
        )
        for notice in found:
            layer, event = notice.layers[0], notice.kind.replace("-", " ")
            _LOG.warning(event, layer=layer, count=len(notice.layers), step_number=step)
        self.run.notices.extend(found)

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


class Board(keras.callbacks.Callback):  # type: ignore[misc]
    """Curves after every epoch; histograms of weights, and overlays of held-out patches, ever more rarely.

    Args:
        run: Its points are shown.
        judge: Holds the averaged weights after a validation.
        held: Held-out patches.
        sheet: Augmented samples; None when an earlier command has logged them.
        folder: Of the logs.
    """

    def __init__(
        self,
        run: Run,
        judge: keras.Model,
        held: Batches,
        sheet: UInt8[np.ndarray, "row column 3"] | None,
        folder: Path,
    ) -> None:
        super().__init__()
        self.run, self.judge, self.held, self.sheet, self.folder = run, judge, held, sheet, folder
        self._pictures, self._weights = Allowance(_SHARE), Allowance(_SHARE)

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Open the files; say what the run is made of."""
        start = self.run.state.step
        self._train = EventFile(self.folder / "train", start)
        self._held = EventFile(self.folder / "held-out", start) if self.held else None
        values = hyperparameters(self.run.plan, self.run.state)
        self._session.summary(session_start(values, self.folder.parent.resolve().name), 0)
        if self.sheet is not None:
            self._train.image("augmentation", self.sheet, 0, "Patches as they are, then as augmentation changes them.")
        self._flush()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Write what the epoch brought."""
        point, number = self.run.points[-1], epoch + 1
        values = {"loss": point.loss}
        if point.learning_rate is not None:
            values["learning_rate"] = point.learning_rate
        self._train.scalars(values, point.step)
        if self._held is not None and point.dice:
            scores = {f"dice/{name}": value for name, value in point.dice.items()}
            scores["dice/mean"] = sum(point.dice.values()) / len(point.dice)
            if point.held_loss is not None:
                scores["loss"] = point.held_loss
            self._held.scalars(scores, point.step)
            if _due(number, _OVERLAYS) and self._pictures.affords():
                with self._pictures.spending():
                    self._overlays(point.step)
        if _due(number, _HISTOGRAMS) and self._weights.affords():
            with self._weights.spending():
                self._histograms(point.step)
        self._flush()

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Mark the run as done, unless it was interrupted, and close the files."""
        if not self.run.interrupted:
            self._session.summary(session_end(), self.run.step)
        for file in self._open:
            file.close()

    @property
    def _open(self) -> list[EventFile]:
        return [file for file in (self._train, self._held) if file is not None]

    @property
    def _session(self) -> EventFile:
        """Where the hyper-parameters go: its scalars are the columns that the table shows beside them."""
        return self._held or self._train

    def _flush(self) -> None:
        for file in self._open:
            file.flush()

    def _overlays(self, step: int) -> None:
        assert self._held is not None  # there are held-out patches
        for number, pixels in enumerate(overlays(self.judge, self.held, self.run.plan), 1):
            self._held.image(f"overlay/{number}", pixels, step, CONTOURS)

    def _histograms(self, step: int) -> None:
        for variable in self.model.trainable_variables:
            self._train.histogram(f"weights/{variable.path}", ops.convert_to_numpy(variable), step)


class Allowance:
    """Keeps something costly within a share of the time.

    Args:
        share: Of the time since this was made. The first use is always afforded, or its cost would never be known.
    """

    def __init__(self, share: float) -> None:
        self.share = share
        self._began, self._spent, self._last = time.monotonic(), 0.0, 0.0

    def affords(self) -> bool:
        """Whether one more use, as costly as the last, stays within the share."""
        return self._last == 0 or self._spent + self._last <= self.share * (time.monotonic() - self._began)

    @contextmanager
    def spending(self) -> Iterator[None]:
        """Time what happens inside."""
        started = time.monotonic()
        yield
        self._last = time.monotonic() - started
        self._spent += self._last


def _due(number: int, factor: float) -> bool:
    """Whether an epoch is the first to pass a further power of `factor`; it has no state that resuming could lose."""
    return number == 1 or floor(log(number, factor)) > floor(log(number - 1, factor))
