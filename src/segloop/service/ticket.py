"""What a job is started with; the file that makes a job's id mean something after a restart."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from segloop.audit import Event
from segloop.plan import Frozen
from segloop.study import StudyTask


class Basis(Frozen):
    """An earlier result that a job's result is set beside.

    Attributes:
        job: Key of its job.
        study: Token of its study.
        mask: SHA-256 of its mask: a new version of it with the same mask changes nothing for who stands beside it.
    """

    job: str
    study: str
    mask: str


class Ticket(Frozen):
    """One model on one version of a study.

    Attributes:
        key: Study key and workflow id.
        study: Token of the study.
        version: Token of the study's version.
        number: Number of the study's version.
        model: Name of the model.
        task: What the steps get.
        destinations: Names of destinations.
        created: ISO 8601 in UTC.
        patient: Token of the patient; empty where the images do not state one, None where nobody looked.
        priors: What the result is set beside, in the order of the task's priors.
    """

    schema_: Literal[1] = Field(default=1, alias="schema")
    key: str = Field(pattern=r"^[0-9a-f]{64}$")
    study: str
    version: str
    number: int
    model: str
    task: StudyTask
    destinations: tuple[str, ...]
    created: str
    patient: str | None = None
    priors: tuple[Basis, ...] = ()

    def event(self, action: str, step: str, actor: str = "service", **detail: str) -> Event:
        """What the audit trail says of a step of this job, once."""
        return Event(
            key=f"{self.key}:{step}:{action}",
            action=action,
            actor=actor,
            subject=self.study,
            detail={"job": self.key, "model": self.task.model, **detail},
        )
