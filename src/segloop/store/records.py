"""What the ledger knows: versions of studies, jobs on them, and deliveries. No record holds identity, only tokens."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from segloop.plan import Frozen


class StudyState(StrEnum):
    """What became of a version of a study."""

    PROCESSED = "processed"
    """Jobs were started for it; they have states of their own."""
    NO_MODEL = "no_model"
    """No model applies to it."""
    QUARANTINED = "quarantined"
    """It cannot be processed; the quarantine holds the reason."""


class JobState(StrEnum):
    """What became of a job."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    UNDELIVERED = "undelivered"
    """The result is there, but a destination did not take it."""
    SUPERSEDED = "superseded"
    """A newer version of the study has a job of the same model; what was not yet delivered stays undelivered."""


class DeliveryState(StrEnum):
    """What became of a delivery."""

    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"
    WAITING = "waiting"
    """The destination takes signed results only, and nobody has signed yet."""
    WITHDRAWN = "withdrawn"
    """It was there, and the destination has been told that it is no longer to be used."""


class Standing(StrEnum):
    """Who stands behind a result."""

    DRAFT = "draft"
    SIGNED = "signed"
    CORRECTED = "corrected"
    """Signed, in place of one that was signed before."""
    REJECTED = "rejected"
    """A person said that it is not to be used."""
    WITHDRAWN = "withdrawn"
    """A newer version took its place, or images it was made from were rejected."""


class DecisionKind(StrEnum):
    """What was decided about a result."""

    SIGN = "sign"
    REJECT = "reject"
    WITHDRAW = "withdraw"


class DecisionState(StrEnum):
    """How far a decision has been carried out."""

    QUEUED = "queued"
    DONE = "done"
    UNDELIVERED = "undelivered"
    """It stands, but a destination has not taken what follows from it."""
    FAILED = "failed"
    """It could not be carried out and does not stand; the code says why."""


class StudyRecord(Frozen):
    """One version of a study.

    Attributes:
        study: Token of the study.
        version: Token of the set of instances.
        number: 1 for the first version of the study.
        files: Instances in it.
        received: When it was found complete, ISO 8601 in UTC.
        code: Error code, for a quarantined version.
    """

    study: str
    version: str
    number: int = Field(ge=1)
    files: int = Field(ge=0)
    received: str
    state: StudyState
    code: str = ""


class JobRecord(Frozen):
    """One model on one version of a study.

    Attributes:
        key: Study key of the chosen series, the model and the settings; also the id of the durable workflow.
        study: Token of the study.
        version: Version of the study that first led to the job.
        model: Name of the model.
        step: Last step begun.
        code: Error code of a failed job.
        patient: Token of issuer, id, birth date and sex; empty where the images do not state all of them, None where
            nobody has looked.
    """

    key: str
    study: str
    version: str
    number: int = Field(ge=1)
    model: str
    state: JobState
    step: str = ""
    code: str = ""
    created: str
    updated: str
    patient: str | None = None


class DecisionRecord(Frozen):
    """A decision about one job's result. Who decided stands in the audit trail.

    Attributes:
        number: 1 for the first decision about the job.
        decided: ISO 8601 in UTC.
        code: Error code of a failed one.
    """

    job: str
    number: int = Field(ge=1)
    kind: DecisionKind
    state: DecisionState
    decided: str
    code: str = ""


class HoldingRecord(Frozen):
    """That a destination has got an edition of a result, or a part of it, and whether it was told since not to use it.

    Attributes:
        edition: 0 for the draft, 1… for the signed forms.
    """

    job: str
    edition: int = Field(ge=0)
    destination: str
    withdrawn: bool = False


class DeliveryRecord(Frozen):
    """One job's results at one destination: how the last thing sent there stands."""

    job: str
    destination: str
    state: DeliveryState
    files: int = Field(default=0, ge=0)
    code: str = ""
    updated: str
