"""The workflow's steps made durable: each runs once to its end, whatever dies in between.

DBOS notes every finished step in its database and, after a restart, goes on behind the last one. What it sees is the
study key and nothing else; the task lies in the job's folder. Every step may be repeated: it writes the same bytes
under the same names, sends the same UIDs, and its audit rows carry the step's key.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from dbos import DBOS, DBOSConfig, SetWorkflowID

from segloop import forms, signing
from segloop.audit import AuditLog, Event
from segloop.errors import InputError, SegloopError, ServiceError
from segloop.log import bind_study, get_logger
from segloop.plan import Frozen
from segloop.report import Reference
from segloop.service.courier import Courier, Parcel, carried, parted
from segloop.service.deciding import Deciding
from segloop.service.decisions import DecisionBook
from segloop.service.outcome import Outcomes
from segloop.service.serializer import JsonSerializer, plain_error
from segloop.service.steps import Durable
from segloop.service.ticket import Ticket
from segloop.service.worker import Run, Worker
from segloop.settings import Settings
from segloop.store import (
    DeliveryRecord,
    DeliveryState,
    JobRecord,
    JobState,
    Standing,
    Store,
    delivery,
    make_folder,
    now,
    write_whole,
)
from segloop.study import SelectionRecord, read_record, write_record
from segloop.workflow import RESULT, StudyResult

_log = get_logger(__name__)

APPLICATION_VERSION = "1"
"""Raised only when the order or the names of steps change; DBOS resumes jobs of its own version alone."""
EXECUTOR = "segloop"
WORKFLOW = "study"
PREDECESSORS = "predecessors.json"
_RUNNING = threading.Lock()


class Predecessors(Frozen):
    """`predecessors.json`: the documents that a job's result takes the place of, fixed when the job begins."""

    documents: tuple[Reference, ...]


class Jobs:
    """The durable jobs of one deployment. One per process, as DBOS allows only one.

    Args:
        settings: Destinations, database.
        steps: Name and function of each step, in order.
        worker: The process the steps run in.
        store: Ledger to keep up to date.
        audit: Trail to write to.
        outcomes: Delivers, keeps training copies, quarantines.

    Attributes:
        changed: Called with a job's key when there is a result, when it was decided about, or when there will be none.
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
        self.changed: Callable[[str], None] = _nobody
        self._folder = settings.data_dir / "jobs"
        make_folder(self._folder)
        self._durable = Durable(outcomes)
        self._courier = Courier(settings, store, audit, outcomes, self._durable)
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
        book = DecisionBook(self._folder)
        self.decisions = Deciding(book, store, audit, self._courier, self._durable, self.ticket, self._work)
        self.decisions.changed = self._tell

    def launch(self) -> None:
        """Start, and go on with what an earlier process left unfinished."""
        self.decisions.recall()
        DBOS.launch()
        self.decisions.resume()

    def stop(self) -> None:
        """Stop now; unfinished steps are repeated at the next start."""
        self._durable.stopping.set()
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

    def sign(self, key: str, observer: str, organisation: str, note: str = "") -> None:
        """Sign a job's result durably; what follows happens in the background.

        Raises:
            InputError: As `Deciding.sign`.
        """
        self.decisions.start(self.decisions.sign(key, observer, organisation, note).identifier)

    def reject(self, key: str, observer: str, reason: str) -> None:
        """Reject a job's result durably; what follows happens in the background.

        Raises:
            InputError: As `Deciding.reject`.
        """
        self.decisions.start(self.decisions.reject(key, observer, reason).identifier)

    def withdraw(self, key: str, why: str) -> None:
        """Take a job's result back, because what it rests on is not valid."""
        self.decisions.start(self.decisions.withdraw(key, why).identifier)

    def images(self, key: str) -> frozenset[str]:
        """Names in the spool of the images that a job's result was made from, or is being made from."""
        task = self.ticket(key).task
        path = task.out / "selection.json"
        return frozenset(read_record(SelectionRecord, path).files if path.exists() else task.files)

    def results(self, key: str) -> tuple[str, ...]:
        """SOP instance UIDs of the newest edition of a job's result; none while there is no result."""
        out = self.ticket(key).task.out
        return tuple(
            signing.reference(folder / name).sop_instance_uid
            for folder in forms.every_folder(out, signing.newest(out))
            for name in read_record(StudyResult, folder / RESULT).files.values()
            if name.endswith(".dcm")
        )

    def retry(self, key: str) -> None:
        """Run a job that failed or was not delivered once more from its first step, or what was decided about it.

        Raises:
            InputError: `job.unknown`: no such job, or it has not ended.
        """
        found = self._store.find_job(key)
        if found is not None and self.decisions.retry(key):
            self._audit.append(Event(key=f"{key}:retry:{now()}", action="job.retried", subject=found.study))
            return
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
                    later = parted(step["output"])
                    deliveries += [delivery(ticket.key, name, DeliveryState(state)) for name, state in later.items()]
        return tuple(jobs), tuple(deliveries)

    def _study(self, key: str) -> str:
        """The workflow; returns the job's last state."""
        ticket, step = self.ticket(key), self._durable.step

        def sending(name: str) -> None:
            self._store.set_job(key, JobState.RUNNING, step=name)

        with bind_study(ticket.study):
            try:
                step("begin", self._begin, key)
                for name, run in self._steps:
                    step(name, self._compute, key, name, run)
                self.changed(key)
                states = carried(self._durable, self._courier, Parcel(ticket), ticket.destinations, sending)
                step("keep", self._keep, key)
                last = step("finish", self._finish, key, states)
                # Behind what earlier versions of this program recorded, so that their unfinished jobs go on as well.
                for older in step("supersede", self._supersede, key).split():
                    self.decisions.start(older)
                return last
            except SegloopError as fault:
                step("fail", self._fail, key, fault.code)
                self.changed(key)
                raise plain_error(fault.code) from None

    def _begin(self, key: str) -> str:
        ticket = self.ticket(key)
        self._store.add_job(_record(ticket, JobState.QUEUED))
        self._store.set_job(key, JobState.RUNNING, step="begin")
        path = self._folder / key / PREDECESSORS
        if not path.exists():
            write_record(Predecessors(documents=self._earlier(ticket)), path)
        self._note(ticket, "job.started", "begin", **({"priors": str(len(ticket.priors))} if ticket.priors else {}))
        return "begun"

    def _compute(self, key: str, name: str, run: Run) -> str:
        self._store.set_job(key, JobState.RUNNING, step=name)
        self._work(key, run)
        if name == self._steps[-1][0] and self.ticket(key).task.forms:
            self._work(key, forms.write_forms)
        return "done"

    def _work(self, key: str, run: Run) -> None:
        """Run something on a job's task in the process for images."""
        task, path = self._folder / key / "task.json", self._folder / key / PREDECESSORS
        known = read_record(Predecessors, path).documents if path.exists() else ()
        write_record(self.ticket(key).task.model_copy(update={"predecessors": known}), task)
        try:
            self._worker.run(run, task)
        except SegloopError as fault:
            if fault.code != "worker.lost" or self._durable.stopping.is_set():
                raise
            # Once more in a new process: a crash may have been another's doing (memory), a second one is the study's.
            self._worker.run(run, task)

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

    def _earlier(self, ticket: Ticket) -> tuple[Reference, ...]:
        """Report and PDF of the newest earlier version's result of the same model, unless a person rejected that."""
        for job in self._store.jobs(ticket.study):
            if job.model != ticket.model or job.number >= ticket.number:
                continue
            out = self.ticket(job.key).task.out
            edition = signing.newest(out)
            there = (signing.folder_of(out, edition) / "sr.dcm").exists() and signing.is_complete(out, edition)
            if there and self._store.standing(job.key) != Standing.REJECTED:
                return signing.documents(signing.folder_of(out, edition))
        return ()

    def _supersede(self, key: str) -> str:
        return " ".join(self.decisions.supersede(key))

    def _tell(self, key: str) -> None:
        self.changed(key)

    def _note(self, ticket: Ticket, action: str, step: str, **detail: str) -> None:
        self._audit.append(ticket.event(action, step, **detail))


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
        patient=ticket.patient,
    )


def _nobody(key: str) -> None:
    """Nobody waits for news of jobs."""


def job_folder(data_dir: Path, key: str) -> Path:
    """Where a job's ticket and results lie."""
    return data_dir / "jobs" / key
