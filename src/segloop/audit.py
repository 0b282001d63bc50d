"""Append-only record of who did what, in which every row holds the hash of the one before.

One JSON object per line. A row counts once it is on disk (fsync), so `append` returning means recorded, and raising
means that what was to be recorded must not be treated as done. A row has a key; appending the same key again is no
second row, so a step repeated after a crash neither loses nor doubles one. A side file holds the number of rows and the
last hash, so that rows cut off the end are noticed as well.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from segloop.errors import ServiceError
from segloop.plan import Frozen

GENESIS = "0" * 64


class Event(Frozen):
    """Something that happened, without identity: people are accounts, studies are tokens.

    Attributes:
        key: What makes the event unique, for instance job and step; appended at most once.
        action: What was done: `study.received`, `job.finished`, `result.sent`, …
        actor: Account or part of the service that did it.
        subject: Token of what it was done to.
        detail: Further plain facts.
    """

    key: str = Field(min_length=1)
    action: str = Field(pattern=r"^[a-z]+(\.[a-z_]+)+$")
    actor: str = "service"
    subject: str = ""
    detail: dict[str, str] = Field(default_factory=dict)


class _Row(Frozen):
    number: int = Field(ge=1)
    time: str
    event: Event
    previous: str
    hash: str = ""

    def digest(self) -> str:
        """SHA-256 over everything but the hash itself."""
        text = json.dumps(self.model_dump(exclude={"hash"}), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


class _Head(Frozen):
    schema_: Literal[1] = Field(default=1, alias="schema")
    rows: int
    hash: str


class AuditLog:
    """The audit trail of one deployment. Safe for threads; one process at a time, which the data folder's lock ensures.

    Raises:
        ServiceError: `audit.broken` when what is there does not verify; nothing is appended to such a trail.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        _drop_torn_row(path)
        rows = _read(path)
        self._keys = {row.event.key for row in rows}
        self._head = _Head(rows=len(rows), hash=rows[-1].hash if rows else GENESIS)
        self._broken = False
        _write_head(path, self._head)

    def append(self, event: Event) -> bool:
        """Record an event; returns whether it was new.

        Raises:
            ServiceError: `disk.full` or `audit.broken` when it could not be written; the caller's step has failed.
        """
        with self._lock:
            if event.key in self._keys:
                return False
            if self._broken:
                raise ServiceError(
                    "An earlier write to the audit trail failed, so nothing more is done until the service restarts.",
                    code="audit.broken",
                )
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            row = _Row(number=self._head.rows + 1, time=now, event=event, previous=self._head.hash)
            row = row.model_copy(update={"hash": row.digest()})
            try:
                _append_line(self._path, row.model_dump_json() + "\n")
                self._head = _Head(rows=row.number, hash=row.hash)
                self._keys.add(event.key)
                _write_head(self._path, self._head)
            except OSError as fault:
                # Half a line may stand there now; only a restart, which drops it, may go on behind it.
                self._broken = True
                raise ServiceError(
                    f"The audit trail {self._path.name} cannot be written ({fault.strerror}); the step did not happen.",
                    code="disk.full",
                    hint="Free space on the disk of data_dir, then restart the service.",
                ) from fault
            return True

    def tail(self, count: int) -> tuple[Event, ...]:
        """The newest events, oldest first."""
        with self._lock:
            return tuple(row.event for row in _read(self._path)[-count:])


def events(path: Path) -> tuple[Event, ...]:
    """All events of a trail, oldest first, without touching it: for readers beside a running service.

    Raises:
        ServiceError: `audit.broken`.
    """
    return tuple(row.event for row in _read(path))


def verify(path: Path) -> int:
    """Number of rows of an intact trail.

    Raises:
        ServiceError: `audit.broken`: a row was edited, removed, added or moved, or the end was cut off.
    """
    return len(_read(path))


def _read(path: Path) -> list[_Row]:
    rows: list[_Row] = []
    previous = GENESIS
    for number, line in enumerate(_lines(path), start=1):
        try:
            row = _Row.model_validate_json(line)
        except ValidationError as fault:
            raise _broken(path, number, "is not a row") from fault
        if row.number != number or row.previous != previous:
            raise _broken(path, number, "does not follow the row before it")
        if row.hash != row.digest():
            raise _broken(path, number, "was changed after it was written")
        rows.append(row)
        previous = row.hash
    head_path = _head_path(path)
    if head_path.exists():
        try:
            head = _Head.model_validate_json(head_path.read_bytes())
        except ValidationError as fault:
            raise _broken(path, len(rows), "has no readable head beside it") from fault
        # A kill between a row and its head leaves exactly one row more than the head knows; never fewer.
        if len(rows) not in (head.rows, head.rows + 1) or (head.rows and rows[head.rows - 1].hash != head.hash):
            raise _broken(path, len(rows), f"is the last, but {head.rows} rows were written")
    elif rows:
        raise _broken(path, len(rows), "is the last, but the head file that says how many there are is gone")
    return rows


def _broken(path: Path, number: int, what: str) -> ServiceError:
    return ServiceError(
        f"The audit trail {path.name} is broken: row {number} {what}.",
        code="audit.broken",
        found=number,
        hint="Keep both files as they are and compare them with a backup.",
    )


def _lines(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines() if path.exists() else []


def _append_line(path: Path, line: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        data = line.encode()
        if os.write(descriptor, data) != len(data):
            raise OSError(28, "the row was written in part")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _drop_torn_row(path: Path) -> None:
    """Cut half a line that a power failure left; it was never reported as recorded."""
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        with path.open("r+b") as stream:
            stream.truncate(len(whole))
            os.fsync(stream.fileno())


def _head_path(path: Path) -> Path:
    return path.with_name(path.name + ".head")


def _write_head(path: Path, head: _Head) -> None:
    temporary = path.with_name(path.name + ".head.tmp")
    with temporary.open("w", encoding="utf-8") as stream:
        stream.write(head.model_dump_json(by_alias=True))
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(_head_path(path))
