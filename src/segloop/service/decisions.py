"""What people, and newer versions of a study, decide about results: on disk before anything follows from it.

`jobs/KEY/decisions/N.json` is the book; the ledger's table is a projection of it. Names and reasons stand here and,
the names, in the audit trail; the ledger has neither.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, Field

from segloop.plan import Frozen
from segloop.store import DecisionKind, DecisionRecord, DecisionState, make_folder
from segloop.study import read_record, write_record

SERVICE, SUPERSEDED = "service", "superseded"


class Decision(Frozen):
    """A decision about one job's result.

    Attributes:
        job: Key of the job.
        number: 1 for the first decision about it.
        kind: What is decided.
        actor: Who decides: a person's DICOM name, or `service`.
        organisation: For which organisation a person signs.
        text: Note or reason, in the person's words; or why the service withdraws the result.
        decided: When.
    """

    schema_: Literal[1] = Field(default=1, alias="schema")
    job: str = Field(pattern=r"^[0-9a-f]{64}$")
    number: int = Field(ge=1)
    kind: DecisionKind
    actor: str = Field(min_length=1)
    organisation: str = ""
    text: str = Field(default="", max_length=1024)
    decided: AwareDatetime

    @property
    def identifier(self) -> str:
        """Name of the durable workflow that carries it out."""
        return f"{self.job}.{self.number}"

    @property
    def replaces(self) -> bool:
        """Whether something newer takes the place of what is withdrawn by it."""
        return self.kind == DecisionKind.SIGN or (self.actor, self.text) == (SERVICE, SUPERSEDED)

    def says_the_same(self, other: Decision) -> bool:
        """Whether the same person decides the same once more."""
        mine, theirs = ((one.kind, one.actor, one.organisation, one.text, one.job) for one in (self, other))
        return mine == theirs

    def record(self, state: DecisionState = DecisionState.QUEUED, code: str = "") -> DecisionRecord:
        """The ledger's row."""
        return DecisionRecord(
            job=self.job,
            number=self.number,
            kind=self.kind,
            state=state,
            decided=self.decided.isoformat(timespec="milliseconds"),
            code=code,
        )


class DecisionBook:
    """The decisions of a deployment.

    Args:
        jobs: Folder below which each job has one.
    """

    def __init__(self, jobs: Path) -> None:
        self._jobs = jobs

    def add(self, decision: Decision) -> None:
        """Write a decision down, on disk when this returns.

        Raises:
            ServiceError: `disk.full`.
        """
        path = self._path(decision.job, decision.number)
        make_folder(path.parent)
        write_record(decision, path)

    def read(self, identifier: str) -> Decision:
        """The decision of a workflow."""
        key, _, number = identifier.partition(".")
        return read_record(Decision, self._path(key, int(number)))

    def of(self, key: str) -> tuple[Decision, ...]:
        """The decisions about a job's result, in order."""
        numbers = sorted(int(path.stem) for path in self._path(key, 0).parent.glob("[0-9]*.json"))
        return tuple(read_record(Decision, self._path(key, number)) for number in numbers)

    def all(self) -> tuple[Decision, ...]:
        """Every decision."""
        keys = {path.parent.parent.name for path in self._jobs.glob("*/decisions/[0-9]*.json")}
        return tuple(decision for key in sorted(keys) for decision in self.of(key))

    def _path(self, key: str, number: int) -> Path:
        return self._jobs / key / "decisions" / f"{number}.json"
