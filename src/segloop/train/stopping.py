"""Ending a training from outside: a file for a clean end, signals for a pause."""

from __future__ import annotations

import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import keras

from segloop.train.running import Run

FILE = "stop"
"""`touch RUN/stop` ends a training after the step in progress."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Signals:
    """SIGINT and SIGTERM while a training runs: noted first, so that the step can be finished and saved.

    As a context it takes over both signals, in the main thread only (elsewhere Python allows no handlers). Until
    `postponing` is set, and when a second one comes, they raise at once.

    Attributes:
        postponing: Note a signal instead of raising.
        came: One was noted.
    """

    def __init__(self) -> None:
        self.postponing, self.came = False, False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self.postponing or self.came:
            raise KeyboardInterrupt
        self.came = True


class Ending(keras.callbacks.Callback):  # type: ignore[misc]
    """Ends training after the step in progress: for good when the stop file is there, to be resumed after a signal.

    Args:
        run: Its schedule ends with a stop file; `interrupted` is set by a signal.
        signals: As they come.
        file: The stop file; None does not look for one.
    """

    def __init__(self, run: Run, signals: Signals, file: Path | None) -> None:
        super().__init__()
        self.run, self.signals, self.file = run, signals, file

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """From here on signals wait for the end of a step."""
        self.signals.postponing = True

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Look. Comes after `Pacing`, whose schedule it cuts short."""
        if self.signals.came:
            self.run.interrupted = self.model.stop_training = True
        elif self.file is not None and self.file.exists():
            self.run.schedule = self.run.schedule.ended(self.run.step)
            self.model.stop_training = True

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """What follows can be broken off."""
        self.signals.postponing = False
