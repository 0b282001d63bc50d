"""The workflow's steps made durable: each runs once to its end, whatever dies in between.

DBOS notes every finished step in its database and, after a restart, goes on behind the last one. What it sees is the
study key and nothing else; the task lies in the job's folder. Every step may be repeated: it writes the same bytes
under the same names, sends the same UIDs, and its audit rows carry the step's key.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import Any

from dbos import DBOS, DBOSConfig, SetWorkflowID

from segloop.audit import AuditLog, Event
from segloop.errors import InputError, SegloopError, ServiceError
from segloop.log import bind_study, get_logger
from segloop.service.outcome import Outcomes
from segloop.service.serializer import JsonSerializer, plain_error
from segloop.service.ticket import Ticket
from segloop.service.worker import Run, Worker
from segloop.settings import Destination, Settings
from segloop.store import (
    DeliveryRecord,
    DeliveryState,
    JobRecord,
    JobState,
    Store,
    delivery,
    make_folder,
    now,
    write_whole,
)

_log = get_logger(__name__)

APPLICATION_VERSION = "1"
"""Raised only when the order or the names of steps change; DBOS resumes jobs of its own version alone."""
EXECUTOR = "segloop"
WORKFLOW = "study"
_LONGEST_PAUSE = 3600.0
_RUNNING = threading.Lock()


class Stopping(BaseException):
    """The service stops and the next start repeats the step. Not an `Exception`, lest DBOS record it as failed."""


class Jobs:
    """The durable jobs of one deployment. One per process, as DBOS allows only one.

    Args:
        settings: Destinations, database.
        steps: Name and function of each step, in order.
        worker: The process the steps run in.
        store: Ledger to keep up to date.
        audit: Trail to write to.
        outcomes: Delivers, keeps training copies, quarantines.
    """

    def __init__(
        self,
        settings: Settings,
        steps: Sequence[tuple[str, Run]],
        worker: Worker,
        store: Store,
        audit: AuditLog,
        outcomes: Outcomes,
    ) -> None:
        self._settings, self._steps, self._worker = settings, tuple(steps), worker
        self._store, self._audit, self._outcomes = store, audit, outcomes
        self._folder = settings.data_dir / "jobs"
        make_folder(self._folder)
        self._stopping = threading.Event()
        if not _RUNNING.acquire(blocking=False):
            raise ServiceError("A service runs in this process already, and there can be one only.", code="usage")
        # DBOS logs exceptions with their texts; `segloop.log` reduces what comes through the root logger.
        dbos_log = logging.getLogger("dbos")
        dbos_log.handlers[:] = [logging.NullHandler()]
        dbos_log.propagate = True
        config: DBOSConfig = {
            "name": "segloop",
            "system_database_url": settings.database_url,
            "serializer": JsonSerializer(),
            "application_version": APPLICATION_VERSION,
            "executor_id": EXECUTOR,
            "enable_otlp": False,
            "use_listen_notify": False,
            "notification_listener_polling_interval_sec": 0.5,
            "log_level": "WARNING",
        }
        try:
            DBOS(config=config)
        except BaseException:
            _RUNNING.release()
            raise

        def study(key: str) -> str:
            return self._study(key)

        self._workflow: Callable[[str], str] = DBOS.workflow(name=WORKFLOW)(study)

    def launch(self) -> None:
        """Start, and go on with what an earlier process left unfinished."""
        DBOS.launch()

    def stop(self) -> None:
        """Stop now; unfinished steps are repeated at the next start."""
        self._stopping.set()
        self._worker.stop()
        DBOS.destroy(destroy_registry=True)
        _RUNNING.release()

    def start(self, ticket: Ticket) -> None:
        """Start a job, or leave it alone if there is one with its key."""
        folder = self._folder / ticket.key
        make_folder(folder)
        if not (folder / "ticket.json").exists():
            write_whole(ticket.model_dump_json(indent=2, by_alias=True).encode(), folder / "ticket.json")
        self._store.add_job(_record(ticket, JobState.QUEUED))
        with SetWorkflowID(ticket.key):
            DBOS.start_workflow(self._workflow, ticket.key)

    def retry(self, key: str) -> None:
        """Run a job that failed or was not delivered once more, from its first step.

        Raises:
            InputError: `job.unknown`: no such job, or it has not ended.
        """
        found = self._store.find_job(key)
        if found is None or found.state not in (JobState.FAILED, JobState.UNDELIVERED):
            raise InputError(
                "There is no such job that failed or was not delivered.",
                code="job.unknown",
                found=found.state if found else None,
                expected=["failed", "undelivered"],
            )
        self._audit.append(Event(key=f"{key}:retry:{now()}", action="job.retried", subject=found.study))
        self._store.set_job(key, JobState.QUEUED)
        DBOS.rewind_workflow(key)

    def ticket(self, key: str) -> Ticket:
        """What a job was started with."""
        return Ticket.model_validate_json((self._folder / key / "ticket.json").read_bytes())

    def history(self) -> tuple[tuple[JobRecord, ...], tuple[DeliveryRecord, ...]]:
        """All jobs and deliveries as DBOS and the job folders know them, for a ledger that was lost."""
        jobs: list[JobRecord] = []
        deliveries: list[DeliveryRecord] = []
        for status in DBOS.list_workflows(name=WORKFLOW, load_input=False):
            if not (self._folder / status.workflow_id / "ticket.json").exists():
                continue
            ticket = self.ticket(status.workflow_id)
            code = status.error.code if isinstance(status.error, SegloopError) else ""
            states = {"SUCCESS": str(status.output), "ERROR": JobState.FAILED, "PENDING": JobState.RUNNING}
            jobs.append(_record(ticket, JobState(states.get(status.status, JobState.QUEUED)), code))
            for step in DBOS.list_workflow_steps(status.workflow_id):
                kind, _, goal = step["function_name"].partition(":")
                if kind == "deliver" and isinstance(step["output"], str):
                    deliveries.append(delivery(ticket.key, goal, DeliveryState(step["output"])))
                elif kind == "redeliver" and isinstance(step["output"], str):
                    later = _parted(step["output"])
                    deliveries += [delivery(ticket.key, name, DeliveryState(state)) for name, state in later.items()]
        return tuple(jobs), tuple(deliveries)

    def _study(self, key: str) -> str:
        """The workflow; returns the job's last state."""
        ticket = self.ticket(key)
        with bind_study(ticket.study):
            try:
                self._step("begin", self._begin, key)
                for name, run in self._steps:
                    self._step(name, self._compute, key, name, run)
                states = [self._step(f"deliver:{goal}", self._deliver, key, goal) for goal in ticket.destinations]
                if DeliveryState.FAILED in states:
                    missed = [g for g, s in zip(ticket.destinations, states, strict=True) if s == DeliveryState.FAILED]
                    states = list(_parted(self._step("redeliver", self._redeliver, key, missed)).values())
                self._step("keep", self._keep, key)
                return self._step("finish", self._finish, key, states)
            except SegloopError as fault:
                self._step("fail", self._fail, key, fault.code)
                raise plain_error(fault.code) from None

    def _step(self, name: str, run: Callable[..., str], *arguments: Any) -> str:
        def guarded() -> str:
            if self._stopping.is_set():
                raise Stopping
            try:
                return run(*arguments)
            except Exception as fault:
                if self._stopping.is_set():
                    raise Stopping from fault
                if isinstance(fault, SegloopError):
                    self._outcomes.note_failure(arguments[0], fault)
                    raise plain_error(fault.code) from None
                _log.error("step failed with a bug", step=name.partition(":")[0], error=type(fault).__name__)
                bug = SegloopError(f"A bug in segloop: {type(fault).__name__}: {fault}.")
                self._outcomes.note_failure(arguments[0], bug)
                raise plain_error("internal") from None

        return DBOS.run_step({"name": name}, guarded)

    def _begin(self, key: str) -> str:
        ticket = self.ticket(key)
        self._store.add_job(_record(ticket, JobState.QUEUED))
        self._store.set_job(key, JobState.RUNNING, step="begin")
        self._note(ticket, "job.started", "begin")
        return "begun"

    def _compute(self, key: str, name: str, run: Run) -> str:
        self._store.set_job(key, JobState.RUNNING, step=name)
        task = self._folder / key / "task.json"
        write_whole(self.ticket(key).task.model_dump_json().encode(), task)
        try:
            self._worker.run(run, task)
        except SegloopError as fault:
            if fault.code != "worker.lost" or self._stopping.is_set():
                raise
            # Once more in a new process: a crash may have been another's doing (memory), a second one is the study's.
            self._worker.run(run, task)
        return "done"

    def _deliver(self, key: str, name: str) -> str:
        """The first try, so that each destination has had one before any is waited for."""
        self._store.set_job(key, JobState.RUNNING, step=f"deliver:{name}")
        return self._attempt(key, name, 1)

    def _redeliver(self, key: str, names: Sequence[str]) -> str:
        """All further tries; destinations do not wait for each other. Returns `NAME=STATE` of each."""
        self._store.set_job(key, JobState.RUNNING, step="redeliver")
        with ThreadPoolExecutor(max_workers=len(names), thread_name_prefix="deliver") as pool:
            # Each thread gets a context of its own, which says in log lines which study it is about.
            tries = {name: pool.submit(copy_context().run, self._persist, key, name) for name in names}
        return " ".join(f"{name}={one.result()}" for name, one in tries.items())

    def _persist(self, key: str, name: str) -> str:
        goal = self._destination(name)
        if goal is None:
            return self._attempt(key, name, 2)
        for attempt in range(2, goal.attempts + 1):
            if self._stopping.wait(min(goal.retry_seconds * 2 ** (attempt - 2), _LONGEST_PAUSE)):
                raise Stopping
            state = self._attempt(key, name, attempt)
            if state != DeliveryState.FAILED:
                return state
        return DeliveryState.FAILED

    def _attempt(self, key: str, name: str, attempt: int) -> str:
        ticket, goal = self.ticket(key), self._destination(name)
        if goal is None:
            self._store.add_delivery(delivery(key, name, DeliveryState.SKIPPED))
            return DeliveryState.SKIPPED
        try:
            with self._outcomes.turn(goal):
                if self._store.is_superseded(key):
                    self._store.add_delivery(delivery(key, name, DeliveryState.SKIPPED))
                    return DeliveryState.SKIPPED
                files = self._outcomes.deliver(ticket, goal)
        except SegloopError as fault:
            _log.warning("delivery failed", destination=name, code=fault.code, attempt=attempt)
            if not fault.code.startswith("peer.") and fault.code != "disk.full":
                raise
            self._store.add_delivery(delivery(key, name, DeliveryState.FAILED, code=fault.code))
            self._outcomes.note_failure(key, fault)
            return DeliveryState.FAILED
        self._note(ticket, "result.sent", f"deliver:{name}", destination=name, files=str(files))
        self._store.add_delivery(delivery(key, name, DeliveryState.DONE, files))
        return DeliveryState.DONE

    def _keep(self, key: str) -> str:
        ticket = self.ticket(key)
        if self._settings.training.keep and not self._store.is_superseded(key):
            kept = self._outcomes.keep_copy(ticket)
            self._note(ticket, "copy.kept" if kept else "copy.refused", "keep")
        return "done"

    def _finish(self, key: str, deliveries: Sequence[str]) -> str:
        ticket = self.ticket(key)
        state = JobState.UNDELIVERED if DeliveryState.FAILED in deliveries else JobState.DONE
        self._note(ticket, "job.finished", "finish", state=state)
        self._outcomes.release(ticket)
        self._store.set_job(key, state, step="finish")
        _log.info("job finished", job=key, state=state)
        return state

    def _fail(self, key: str, code: str) -> str:
        ticket = self.ticket(key)
        self._outcomes.quarantine(ticket, code)
        self._store.set_job(key, JobState.FAILED, code=code)
        self._note(ticket, "job.failed", "fail", code=code)
        _log.error("job failed", job=key, code=code)
        return "failed"

    def _destination(self, name: str) -> Destination | None:
        return next((goal for goal in self._settings.destination if goal.name == name), None)

    def _note(self, ticket: Ticket, action: str, step: str, **detail: str) -> None:
        self._audit.append(
            Event(
                key=f"{ticket.key}:{step}:{action}",
                action=action,
                subject=ticket.study,
                detail={"job": ticket.key, "model": ticket.task.model, **detail},
            )
        )


def _record(ticket: Ticket, state: JobState, code: str = "") -> JobRecord:
    return JobRecord(
        key=ticket.key,
        study=ticket.study,
        version=ticket.version,
        number=ticket.number,
        model=ticket.model,
        state=state,
        code=code,
        created=ticket.created,
        updated=now(),
    )


def _parted(states: str) -> dict[str, str]:
    """What `_redeliver` returned."""
    return dict(part.split("=") for part in states.split())


def job_folder(data_dir: Path, key: str) -> Path:
    """Where a job's ticket and results lie."""
    return data_dir / "jobs" / key
