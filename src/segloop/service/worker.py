"""The process that images and networks are worked on in; the one with the DICOM node never loads TensorFlow.

It stays alive between studies, so that models stay loaded. When it dies, the step that ran in it fails with
`worker.lost`, a new one starts with the next step, and no association notices.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from segloop.errors import ServiceError
from segloop.log import configure, get_logger
from segloop.study import StudyTask, read_record

_log = get_logger(__name__)

Run = Callable[[StudyTask], None]


class Worker:
    """A persistent process that runs one step at a time. Safe for threads.

    Args:
        warm: Called once in each new process, to load what the first study would otherwise wait for.
    """

    def __init__(self, warm: Callable[[], None]) -> None:
        self._warm = warm
        self._lock = threading.Lock()
        self._stopped = False
        self._pool, self._ready = self._start()

    def run(self, run: Run, task: Path) -> None:
        """Run a step on a task and wait for it.

        Args:
            run: A function of a module; it crosses by name.
            task: The task as a JSON file.

        Raises:
            ServiceError: `worker.lost`: the process died, by a crash or for lack of memory.
            SegloopError: Whatever the step raises.
        """
        with self._lock:
            pool = self._pool
        try:
            pool.submit(_run, run, str(task)).result()
        except BrokenProcessPool as fault:
            self._replace(pool)
            raise ServiceError(
                "The process that runs the network ended unexpectedly.",
                code="worker.lost",
                hint="Give the machine more memory if this happens again.",
            ) from fault

    def is_ready(self) -> bool:
        """Whether the process runs and has loaded what it warms up with."""
        with self._lock:
            return self._ready.done() and self._ready.exception() is None

    def wait_ready(self, seconds: float) -> None:
        """Wait for `is_ready`.

        Raises:
            TimeoutError: It is not ready by then.
            SegloopError: What warming up failed with.
        """
        with self._lock:
            ready = self._ready
        ready.result(timeout=seconds)

    def stop(self) -> None:
        """End the process now, whatever it does; steps that are waited for fail with `worker.lost`."""
        with self._lock:
            self._stopped = True
            _end(self._pool)

    def _start(self) -> tuple[ProcessPoolExecutor, Future[None]]:
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(max_workers=1, mp_context=context, initializer=_begin)
        return pool, pool.submit(self._warm)

    def _replace(self, broken: ProcessPoolExecutor) -> None:
        with self._lock:
            if self._stopped or self._pool is not broken:
                return
            _log.error("worker process lost", code="worker.lost")
            self._pool, self._ready = self._start()


def _end(pool: ProcessPoolExecutor) -> None:
    # `shutdown` waits for a step that may take minutes; the step is repeated at the next start anyway.
    for process in list((pool._processes or {}).values()):
        process.kill()
    pool.shutdown(wait=False, cancel_futures=True)


def _begin() -> None:
    """Set up the new process: leave Ctrl-C to the parent, and end when the parent ends, however it does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Python's warnings may quote patient data; this reduces them, like lines of other libraries.
    configure("warning", form="json")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()


def _follow(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    # After a kill -9 of the service nobody waits for this step, and the next service runs it again.
    sys.stderr.flush()
    os._exit(1)


def _run(run: Run, task: str) -> None:
    run(read_record(StudyTask, Path(task)))
