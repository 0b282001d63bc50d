"""Everything of the service put together and started: worker, jobs, study watch, DICOM node, web page."""

from __future__ import annotations

import signal
import socket
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import uvicorn

from segloop.audit import AuditLog, Event
from segloop.errors import ServiceError
from segloop.log import get_logger
from segloop.plan import Frozen
from segloop.service.app import View, create_app
from segloop.service.earlier import Earlier
from segloop.service.jobs import Jobs
from segloop.service.listener import Listener
from segloop.service.node import listen
from segloop.service.orders import Orders
from segloop.service.outcome import Outcomes
from segloop.service.quarantine import Quarantine
from segloop.service.reception import Reception
from segloop.service.rejected import Rejected
from segloop.service.warm import Warm
from segloop.service.watch import Watch
from segloop.service.worker import Run, Worker
from segloop.settings import Settings
from segloop.store import (
    DeliveryState,
    HoldingRecord,
    Spool,
    Store,
    StudyRecord,
    StudyState,
    Tokens,
    make_folder,
    now,
    write_whole,
)
from segloop.workflow import STEPS

_log = get_logger(__name__)

PORTS = "ports.json"


class Ports(Frozen):
    """Where a running service listens; also in `data_dir/ports.json`.

    Attributes:
        dicom: TCP port of the DICOM node.
        web: TCP port of the page.
        orders: TCP port for orders by HL7; None where none are taken.
    """

    dicom: int
    web: int
    orders: int | None = None


class Service:
    """A running service; `stop` ends it.

    Args:
        settings: The deployment.
        steps: Name and function of each step of a job.
        warm: What a new worker process loads first; None loads the steps' libraries and the models of the settings.

    Raises:
        ServiceError: A port is taken, another service runs on the data folder, or the audit trail is broken.
    """

    def __init__(
        self,
        settings: Settings,
        steps: Sequence[tuple[str, Run]] = STEPS,
        warm: Callable[[], None] | None = None,
    ) -> None:
        data = settings.data_dir.resolve()
        settings = settings.model_copy(update={"data_dir": data})
        self.settings = settings
        make_folder(data)
        self._undo: list[Callable[[], None]] = []
        try:
            self._start(settings, data, steps, warm or Warm(settings.models))
        except BaseException:
            self.stop()
            raise

    def _start(
        self, settings: Settings, data: Path, steps: Sequence[tuple[str, Run]], warm: Callable[[], None]
    ) -> None:
        self._undo.append(_lock(data))
        tokens = Tokens.load(data)
        audit = AuditLog(data / "audit.jsonl")
        audit.append(Event(key=f"start:{now()}", action="service.started", detail={"settings": settings.digest}))
        for peer in settings.peer:
            audit.append(
                Event(
                    key=f"peer:{settings.digest}:{peer.aet}",
                    action="peer.plaintext_accepted",
                    detail={"aet": peer.aet, "host": peer.host, "acceptance": peer.plaintext},
                )
            )
        for goal in settings.destination:
            if goal.plaintext:
                audit.append(
                    Event(
                        key=f"destination:{settings.digest}:{goal.name}",
                        action="destination.plaintext_accepted",
                        detail={"destination": goal.name, "kind": goal.kind, "acceptance": goal.plaintext},
                    )
                )
        if settings.orders.plaintext:
            audit.append(
                Event(
                    key=f"orders:{settings.digest}",
                    action="orders.plaintext_accepted",
                    detail={"host": settings.orders.host, "acceptance": settings.orders.plaintext},
                )
            )
        spool = Spool(data / "spool")
        quarantine = Quarantine(data / "quarantine")
        lost = not (data / "segloop.sqlite").exists()
        self.store = store = Store(data / "segloop.sqlite")
        self._undo.append(store.close)
        self.worker = worker = Worker(warm)
        self._undo.append(worker.stop)
        orders = Orders(data / "orders", tokens, settings.orders.keep_days)
        outcomes = Outcomes(settings, tokens, quarantine, orders)
        self.jobs = jobs = Jobs(settings, steps, worker, store, audit, outcomes)
        self._undo.append(jobs.stop)
        jobs.launch()
        if lost:
            _rebuild(store, jobs)
        rejected = Rejected(data / "rejected", tokens)
        earlier = Earlier(settings.priors, store, tokens, spool, data / "jobs")
        watch = Watch(settings, spool, store, audit, quarantine, jobs, rejected, earlier)
        watch.launch()
        self._undo.append(watch.stop)
        reception = Reception(spool, Spool(data / "returned"), quarantine, tokens, watch.arrived, rejected)
        node = listen(settings, reception.accept)
        self._undo.append(node.stop)
        address = f"{settings.node.aet}@{settings.node.host}:{node.port}"
        view = View(data, store, spool, quarantine, address, worker.is_ready, watch.open_studies, jobs)
        web, stop_web = _serve_web(settings, view)
        self._undo.append(stop_web)
        listener = Listener(settings.orders, orders.take) if settings.orders.port is not None else None
        if listener is not None:
            self._undo.append(listener.stop)
        self.ports = Ports(dicom=node.port, web=web, orders=None if listener is None else listener.port)
        write_whole(self.ports.model_dump_json().encode(), data / PORTS)
        self._undo.append(lambda: (data / PORTS).unlink(missing_ok=True))
        _log.info("service started", port=node.port)

    @property
    def page(self) -> str:
        """Address of the work list."""
        return f"http://{self.settings.web.host}:{self.ports.web}/"

    def wait_ready(self, seconds: float = 300.0) -> None:
        """Wait until the worker process has loaded what it needs.

        Raises:
            TimeoutError: It has not by then.
        """
        self.worker.wait_ready(seconds)

    def stop(self) -> None:
        """End everything; what is unfinished goes on at the next start."""
        while self._undo:
            self._undo.pop()()


def start(settings: Settings) -> Service:
    """Start the service; it runs until `stop` is called on what is returned.

    Raises:
        ServiceError: A port is taken, another service runs on the data folder, or the audit trail is broken.
    """
    return Service(settings)


def serve(settings: Settings, started: Callable[[Service], None] = lambda service: None) -> None:
    """Run the service until the process is told to end (Ctrl-C, SIGTERM).

    Args:
        settings: The deployment.
        started: Called once it runs, to tell where it listens.

    Raises:
        ServiceError: As `start`.
    """
    ended = threading.Event()
    before = {number: signal.signal(number, lambda *_: ended.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    service = start(settings)
    try:
        started(service)
        # With a timeout, because Windows does not interrupt an endless wait for Ctrl-C.
        while not ended.wait(1.0):
            pass
    finally:
        service.stop()
        for number, handler in before.items():
            signal.signal(number, handler)


def _lock(data: Path) -> Callable[[], None]:
    """Hold the data folder for this process; a killed process holds it no more."""
    # SQLite's lock works alike on every system and vanishes with its process.
    connection = sqlite3.connect(data / "lock.sqlite", isolation_level=None, timeout=0, check_same_thread=False)
    try:
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as fault:
        connection.close()
        raise ServiceError(
            "Another segloop service runs on this data_dir.",
            code="peer.unavailable",
            hint="Stop it, or give this one another data_dir.",
        ) from fault
    return connection.close


def _rebuild(store: Store, jobs: Jobs) -> None:
    """Fill a new ledger from DBOS and the job folders; the watch adds what has no job from the spool."""
    known, deliveries = jobs.history()
    studies = {
        (job.study, job.version): StudyRecord(
            study=job.study,
            version=job.version,
            number=job.number,
            files=len(jobs.ticket(job.key).task.files),
            received=job.created,
            state=StudyState.PROCESSED,
        )
        for job in known
    }
    store.rebuild(studies.values(), known, deliveries)
    for sent in deliveries:
        if sent.state in (DeliveryState.DONE, DeliveryState.FAILED):
            store.add_holding(HoldingRecord(job=sent.job, edition=0, destination=sent.destination))
    jobs.decisions.replay()
    _log.info("ledger rebuilt", count=len(known))


def _serve_web(settings: Settings, view: View) -> tuple[int, Callable[[], None]]:
    host, port = settings.web.host, settings.web.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as fault:
        listening.close()
        raise ServiceError(
            f"The page cannot listen on {host}:{port} ({fault.strerror}).",
            code="peer.unavailable",
            hint="Set web.port to another port, or to 0 for a free one.",
        ) from fault
    config = uvicorn.Config(create_app(view), log_config=None, access_log=False, lifespan="off", server_header=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="web", daemon=True)
    thread.start()

    def stop() -> None:
        server.should_exit = True
        thread.join(timeout=10)
        listening.close()

    return listening.getsockname()[1], stop
