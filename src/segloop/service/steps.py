"""One durable step: DBOS runs it to its end once, and learns of an error its code only."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from dbos import DBOS

from segloop.errors import SegloopError
from segloop.log import get_logger
from segloop.service.outcome import Outcomes
from segloop.service.serializer import plain_error

_log = get_logger(__name__)


class Stopping(BaseException):
    """The service stops and the next start repeats the step. Not an `Exception`, lest DBOS record it as failed."""


class Durable:
    """Runs the steps of durable workflows.

    Args:
        outcomes: Keeps the full text of errors in the job's folder.

    Attributes:
        stopping: Set when the service stops.
    """

    def __init__(self, outcomes: Outcomes) -> None:
        self._outcomes = outcomes
        self.stopping = threading.Event()

    def step(self, name: str, run: Callable[..., str], key: str, *arguments: Any) -> str:
        """What `run(key, *arguments)` returns, now or when it was first run to its end.

        Raises:
            SegloopError: A plain one, with the code of what `run` raised.
            Stopping: The service stops.
        """

        def guarded() -> str:
            if self.stopping.is_set():
                raise Stopping
            try:
                return run(key, *arguments)
            except Exception as fault:
                if self.stopping.is_set():
                    raise Stopping from fault
                if isinstance(fault, SegloopError):
                    self._outcomes.note_failure(key, fault)
                    raise plain_error(fault.code) from None
                _log.error("step failed with a bug", step=name.partition(":")[0], error=type(fault).__name__)
                bug = SegloopError(f"A bug in segloop: {type(fault).__name__}: {fault}.")
                self._outcomes.note_failure(key, bug)
                raise plain_error("internal") from None

        return DBOS.run_step({"name": name}, guarded)
