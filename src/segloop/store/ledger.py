"""The study ledger: a small SQLite file that answers what came, what was done and where it went.

It is a projection. The truth about jobs is in DBOS and in the job folders, the truth about images in the spool;
`rebuild` fills a ledger that was lost from those.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from segloop.errors import ServiceError
from segloop.plan import Frozen
from segloop.store.files import make_folder
from segloop.store.records import (
    DecisionKind,
    DecisionRecord,
    DecisionState,
    DeliveryRecord,
    DeliveryState,
    HoldingRecord,
    JobRecord,
    JobState,
    Standing,
    StudyRecord,
)

Record = TypeVar("Record", bound=Frozen)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS studies (
    study TEXT, version TEXT, number INTEGER, files INTEGER, received TEXT, state TEXT, code TEXT,
    PRIMARY KEY (study, version));
CREATE TABLE IF NOT EXISTS jobs (
    key TEXT PRIMARY KEY, study TEXT, version TEXT, number INTEGER, model TEXT, state TEXT, step TEXT, code TEXT,
    created TEXT, updated TEXT, patient TEXT);
CREATE INDEX IF NOT EXISTS jobs_of_study ON jobs (study, model);
CREATE TABLE IF NOT EXISTS deliveries (
    job TEXT, destination TEXT, state TEXT, files INTEGER, code TEXT, updated TEXT, PRIMARY KEY (job, destination));
CREATE TABLE IF NOT EXISTS decisions (
    job TEXT, number INTEGER, kind TEXT, state TEXT, decided TEXT, code TEXT, PRIMARY KEY (job, number));
CREATE TABLE IF NOT EXISTS holdings (
    job TEXT, edition INTEGER, destination TEXT, withdrawn INTEGER, PRIMARY KEY (job, edition, destination));
"""
_ADDED = (("jobs", "patient"),)
"""Columns that later versions of this program added: a ledger of an earlier one gets them, empty, when it is opened."""
_INDEX = "CREATE INDEX IF NOT EXISTS jobs_of_patient ON jobs (patient)"
_FINAL = (JobState.DONE, JobState.FAILED, JobState.UNDELIVERED, JobState.SUPERSEDED)


def now() -> str:
    """The time in UTC, ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Store:
    """The ledger of one deployment. Safe for threads; every call is one transaction.

    Raises:
        ServiceError: `disk.full` when a row cannot be written.
    """

    def __init__(self, path: Path) -> None:
        make_folder(path.parent)
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.executescript(_SCHEMA)
        self._migrate()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def add_study(self, record: StudyRecord) -> None:
        """Note a version of a study; the same version again replaces the row."""
        with self._transaction():
            self._put("studies", record)

    def next_number(self, study: str) -> int:
        """The number of a study's next version."""
        with self._lock:
            row = self._connection.execute("SELECT MAX(number) FROM studies WHERE study = ?", (study,)).fetchone()
        return int(row[0] or 0) + 1

    def find_study(self, study: str, version: str) -> StudyRecord | None:
        """A version of a study, if it is known."""
        found = self._all(StudyRecord, "SELECT * FROM studies WHERE study = ? AND version = ?", study, version)
        return found[0] if found else None

    def studies(self, limit: int = 500) -> tuple[StudyRecord, ...]:
        """Versions of studies, newest first."""
        return self._all(StudyRecord, "SELECT * FROM studies ORDER BY received DESC, number DESC LIMIT ?", limit)

    def add_job(self, record: JobRecord) -> None:
        """Note a job unless it is known, and mark older ones of the same study and model superseded."""
        with self._transaction():
            values = record.model_dump(mode="json")
            self._insert("INSERT OR IGNORE", "jobs", values)
            self._supersede(record.study, record.model)

    def find_job(self, key: str) -> JobRecord | None:
        """A job, if it is known."""
        found = self._all(JobRecord, "SELECT * FROM jobs WHERE key = ?", key)
        return found[0] if found else None

    def jobs(self, study: str | None = None, limit: int = 500) -> tuple[JobRecord, ...]:
        """Jobs, newest first; of one study or of all."""
        if study is None:
            return self._all(JobRecord, "SELECT * FROM jobs ORDER BY created DESC, number DESC LIMIT ?", limit)
        query = "SELECT * FROM jobs WHERE study = ? ORDER BY number DESC, created DESC LIMIT ?"
        return self._all(JobRecord, query, study, limit)

    def jobs_of_patient(self, patient: str) -> tuple[JobRecord, ...]:
        """Every job on a study of the patient that a token stands for, newest first; none for an empty token."""
        if not patient:
            return ()
        return self._all(JobRecord, "SELECT * FROM jobs WHERE patient = ? ORDER BY number DESC, created DESC", patient)

    def jobs_without_patient(self) -> tuple[JobRecord, ...]:
        """Jobs whose patient nobody has looked for: those that an earlier version of this program noted."""
        return self._all(JobRecord, "SELECT * FROM jobs WHERE patient IS NULL")

    def set_patient(self, key: str, patient: str) -> None:
        """Note the token of a job's patient; empty where the images do not say who it is."""
        with self._transaction():
            self._connection.execute("UPDATE jobs SET patient = ? WHERE key = ?", (patient, key))

    def is_superseded(self, key: str) -> bool:
        """Whether a newer version of the study has a job of the same model."""
        with self._lock:
            row = self._connection.execute(
                "SELECT 1 FROM jobs a JOIN jobs b ON a.study = b.study AND a.model = b.model AND b.number > a.number "
                "WHERE a.key = ?",
                (key,),
            ).fetchone()
        return row is not None

    def set_job(self, key: str, state: JobState, *, step: str | None = None, code: str = "") -> None:
        """Move a job on. A superseded job that has ended stays superseded."""
        with self._transaction():
            if state in _FINAL and self.is_superseded(key):
                state = JobState.SUPERSEDED
            self._connection.execute(
                "UPDATE jobs SET state = ?, step = COALESCE(?, step), code = ?, updated = ? WHERE key = ?",
                (state.value, step, code, now(), key),
            )

    def add_delivery(self, record: DeliveryRecord) -> None:
        """Note how a delivery stands."""
        with self._transaction():
            self._put("deliveries", record)

    def deliveries(self, job: str | None = None) -> tuple[DeliveryRecord, ...]:
        """Deliveries of one job or of all."""
        if job is None:
            return self._all(DeliveryRecord, "SELECT * FROM deliveries ORDER BY updated")
        return self._all(DeliveryRecord, "SELECT * FROM deliveries WHERE job = ? ORDER BY destination", job)

    def add_decision(self, record: DecisionRecord) -> None:
        """Note a decision unless it is known."""
        with self._transaction():
            self._insert("INSERT OR IGNORE", "decisions", record.model_dump(mode="json"))

    def set_decision(self, job: str, number: int, state: DecisionState, code: str = "") -> None:
        """Move a decision on."""
        with self._transaction():
            self._connection.execute(
                "UPDATE decisions SET state = ?, code = ? WHERE job = ? AND number = ?",
                (state.value, code, job, number),
            )

    def decisions(self, job: str) -> tuple[DecisionRecord, ...]:
        """The decisions about a job's result, in order."""
        return self._all(DecisionRecord, "SELECT * FROM decisions WHERE job = ? ORDER BY number", job)

    def standing(self, job: str) -> Standing:
        """Who stands behind a job's result; a decision that failed does not count."""
        kinds = [one.kind for one in self.decisions(job) if one.state != DecisionState.FAILED]
        if DecisionKind.REJECT in kinds:
            return Standing.REJECTED
        if DecisionKind.WITHDRAW in kinds:
            return Standing.WITHDRAWN
        return (Standing.DRAFT, Standing.SIGNED, Standing.CORRECTED)[min(len(kinds), 2)]

    def is_outdated(self, job: str, decision: int) -> bool:
        """Whether a later decision than this one (0: none, the draft) stands."""
        return any(one.number > decision and one.state != DecisionState.FAILED for one in self.decisions(job))

    def add_holding(self, record: HoldingRecord) -> None:
        """Note what a destination has got, or that it was told not to use it."""
        with self._transaction():
            self._put("holdings", record)

    def drop_holding(self, record: HoldingRecord) -> None:
        """Take back that a destination may have got something."""
        with self._transaction():
            self._connection.execute(
                "DELETE FROM holdings WHERE job = ? AND edition = ? AND destination = ?",
                (record.job, record.edition, record.destination),
            )

    def holdings(self, job: str) -> tuple[HoldingRecord, ...]:
        """What the destinations have got, or may have, of a job's result and were not told to stop using."""
        query = "SELECT * FROM holdings WHERE job = ? AND withdrawn = 0 ORDER BY destination, edition"
        return self._all(HoldingRecord, query, job)

    def counts(self) -> dict[str, dict[str, int]]:
        """Rows per state: `{"studies": {"processed": 3}, "jobs": {"done": 3}, …}`."""
        with self._lock:
            return {
                table: dict(
                    self._connection.execute(f"SELECT state, COUNT(*) FROM {table} GROUP BY state").fetchall()  # noqa: S608
                )
                for table in ("studies", "jobs", "deliveries", "decisions")
            }

    def rebuild(
        self, studies: Iterable[StudyRecord], jobs: Iterable[JobRecord], deliveries: Iterable[DeliveryRecord]
    ) -> None:
        """Replace everything by what DBOS, the job folders and the spool say."""
        with self._transaction():
            for table in ("studies", "jobs", "deliveries"):
                self._connection.execute(f"DELETE FROM {table}")  # noqa: S608 - one of three constants
            for table, records in (("studies", studies), ("jobs", jobs), ("deliveries", deliveries)):
                for record in records:
                    self._put(table, record)
            for row in self._connection.execute("SELECT DISTINCT study, model FROM jobs").fetchall():
                self._supersede(row["study"], row["model"])

    def _migrate(self) -> None:
        """Bring a ledger of an earlier version of this program to the present columns."""
        with self._transaction():
            for table, column in _ADDED:
                rows = self._connection.execute(f"PRAGMA table_info({table})").fetchall()
                if column not in {row["name"] for row in rows}:
                    self._connection.execute(f"ALTER TABLE {table} ADD COLUMN {column} TEXT")
            self._connection.execute(_INDEX)

    def _supersede(self, study: str, model: str) -> None:
        states = ", ".join(f"'{state.value}'" for state in _FINAL)
        self._connection.execute(
            "UPDATE jobs SET state = ?, updated = ? WHERE study = ? AND model = ? "  # noqa: S608 - constants only
            f"AND state IN ({states}) AND number < (SELECT MAX(number) FROM jobs WHERE study = ? AND model = ?)",
            (JobState.SUPERSEDED.value, now(), study, model, study, model),
        )

    def _put(self, table: str, record: Frozen) -> None:
        self._insert("INSERT OR REPLACE", table, record.model_dump(mode="json"))

    def _insert(self, verb: str, table: str, values: dict[str, Any]) -> None:
        names, marks = ", ".join(values), ", ".join("?" * len(values))
        self._connection.execute(f"{verb} INTO {table} ({names}) VALUES ({marks})", tuple(values.values()))

    def _all(self, kind: type[Record], query: str, *values: Any) -> tuple[Record, ...]:
        with self._lock:
            rows = self._connection.execute(query, values).fetchall()
        return tuple(kind.model_validate(dict(row)) for row in rows)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield
                self._connection.execute("COMMIT")
            except sqlite3.OperationalError as fault:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise ServiceError(f"The study ledger cannot be written: {fault}.", code="disk.full") from fault
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise


def delivery(job: str, destination: str, state: DeliveryState, files: int = 0, code: str = "") -> DeliveryRecord:
    """A delivery row as of now."""
    return DeliveryRecord(job=job, destination=destination, state=state, files=files, code=code, updated=now())
