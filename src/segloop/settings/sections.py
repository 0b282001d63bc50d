"""The parts of the settings that stand for one thing each: node, page, studies, models, report, orders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from segloop.plan import Frozen

Port = Annotated[int, Field(ge=0, le=65535)]
AETitle = Annotated[
    str, Field(min_length=1, max_length=16, pattern=r"^[\x21-\x5b\x5d-\x7e]([ -\x5b\x5d-\x7e]*[\x21-\x5b\x5d-\x7e])?$")
]

PLAINTEXT = r"^accepted by .+ on \d{4}-\d{2}-\d{2}$"
"""How somebody accepts that identity crosses a network unencrypted."""


class NodeSettings(Frozen):
    """The DICOM node.

    Attributes:
        aet: Application entity title that is answered to.
        host: Address that is listened on. Anything but loopback needs a `[[peer]]` with `plaintext`.
        port: TCP port; 0 takes a free one.
        max_pdu: Largest PDU received, in bytes.
        max_associations: Associations served at once; a further one is rejected as congestion.
        timeout_seconds: Longest silence of a peer inside an association.
    """

    aet: AETitle = "SEGLOOP"
    host: str = "127.0.0.1"
    port: Port = 11112
    max_pdu: int = Field(default=262144, ge=4096, le=16 * 1024 * 1024)
    max_associations: int = Field(default=20, ge=1)
    timeout_seconds: float = Field(default=60.0, gt=0)


class WebSettings(Frozen):
    """The web page and API.

    Attributes:
        host: Address that is listened on; loopback only in this version.
        port: TCP port; 0 takes a free one.
    """

    host: str = "127.0.0.1"
    port: Port = 8080


class StudySettings(Frozen):
    """When a study is complete.

    Attributes:
        quiet_seconds: Seconds without a new instance after which a study is processed.
        uneven_slices: Whether a series with slices at varying distances is refused, or resampled with a warning.
    """

    quiet_seconds: float = Field(default=30.0, ge=0.0)
    uneven_slices: Literal["refuse", "resample"] = "refuse"


class DatabaseSettings(Frozen):
    """Where the state of jobs is kept.

    Attributes:
        url: `sqlite:///PATH` of the job database; empty means `dbos.sqlite` in `data_dir`.
    """

    url: str = Field(default="", pattern=r"^(sqlite:///.+)?$")


class ModelSettings(Frozen):
    """Models and how they run.

    Attributes:
        registry: Folder of the model registry; empty knows the shipped models only.
        runtime: `auto` measures once which runtime is faster here.
        warm: Models that are loaded when the service starts instead of with their first study.
    """

    registry: Path | None = None
    runtime: Literal["auto", "tensorflow", "openvino"] = "auto"
    warm: tuple[str, ...] = ()


class ReportSettings(Frozen):
    """The report.

    Attributes:
        language: Language of the PDF.
        paper: Paper of the PDF.
    """

    language: Literal["en", "zh-CN"] = "en"
    paper: Literal["a4", "letter"] = "a4"


class TrainingSettings(Frozen):
    """Copies kept for later training.

    Attributes:
        keep: Whether a pseudonymised copy of each processed series and its mask is kept in `data_dir/training`.
    """

    keep: bool = True


class PriorSettings(Frozen):
    """Which of this node's own earlier results of the same patient a study is set beside.

    Attributes:
        enabled: Whether earlier results are looked for at all.
        signed_only: Whether only results that a person signed count; else a draft does, and the report calls it one.
        most: Results of earlier studies that are used at most: the first one, and the newest.
        days: Longest time between the two studies; None knows no limit.
        wait_seconds: Longest time that a study waits for an earlier one of the same patient that is being worked on.
        renew: Whether a draft is made anew when an earlier study's result comes after it, or is rejected.
    """

    enabled: bool = True
    signed_only: bool = False
    most: int = Field(default=5, ge=1)
    days: int | None = Field(default=None, ge=1)
    wait_seconds: float = Field(default=600.0, ge=0)
    renew: bool = True


class OrderSettings(Frozen):
    """Orders taken in as HL7 (ORM^O01, OMI^O23), so that results name the order they answer.

    Attributes:
        host: Address that is listened on.
        port: TCP port; None takes no orders, 0 takes a free port.
        certificate: PEM file of our certificate; beyond loopback it or `plaintext` is needed.
        certificate_key: PEM file of its key.
        ca: PEM file of the authorities of senders' certificates; None asks for none.
        plaintext: `accepted by NAME on YYYY-MM-DD`.
        timeout_seconds: Longest silence of a sender before its connection is closed.
        keep_days: Days after which an order is forgotten; None keeps every order.
    """

    host: str = "127.0.0.1"
    port: Port | None = None
    certificate: Path | None = None
    certificate_key: Path | None = None
    ca: Path | None = None
    plaintext: str = Field(default="", pattern=f"^$|{PLAINTEXT}")
    timeout_seconds: float = Field(default=600.0, gt=0)
    keep_days: float | None = Field(default=None, gt=0)
