"""All settings of a deployment, with its peers, destinations and rules, and how they are read."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, model_validator

from segloop.errors import InputError
from segloop.plan import Frozen
from segloop.settings.sections import (
    PLAINTEXT,
    AETitle,
    DatabaseSettings,
    ModelSettings,
    NodeSettings,
    OrderSettings,
    PriorSettings,
    ReportSettings,
    StudySettings,
    TrainingSettings,
    WebSettings,
)

PREFIX = "SEGLOOP_"
OTHER_VARIABLES = frozenset({"SEGLOOP_REQUIRE_PEERS", "SEGLOOP_CONFIG", "SEGLOOP_DEBUG", "SEGLOOP_CACHE"})
"""Variables with our prefix that are no settings of the service."""


class Peer(Frozen):
    """A DICOM peer beyond loopback that may talk to us without TLS, because somebody accepted that.

    Attributes:
        aet: Its application entity title.
        host: Its address.
        plaintext: `accepted by NAME on YYYY-MM-DD`.
    """

    aet: AETitle
    host: str = Field(min_length=1)
    plaintext: str = Field(pattern=PLAINTEXT)


class Destination(Frozen):
    """Where results go.

    Attributes:
        name: How logs and pages call it.
        kind: `dicom` sends by C-STORE, `stow` by STOW-RS; `folder` writes files; `hl7` sends ORU^R01 over MLLP, `fhir`
            a transaction; `webhook` tells that there is a result.
        aet: Called AE title (`dicom`).
        host: Address (`dicom`, `hl7`).
        port: TCP port (`dicom`, `hl7`).
        folder: Folder (`folder`).
        url: Base address (`fhir`, `stow`) or address (`webhook`).
        tls: Whether to speak TLS (`hl7`); web addresses say so themselves.
        ca: PEM file of the authorities that may vouch for the peer; None takes the system's.
        certificate: PEM file by which we prove who we are; None proves nothing.
        certificate_key: PEM file of its key.
        token_file: File whose text is sent as bearer token (`fhir`, `stow`) or signs the body (`webhook`).
        plaintext: `accepted by NAME on YYYY-MM-DD`, for `hl7` and web addresses beyond loopback without TLS.
        application: Receiving application, MSH-5 (`hl7`).
        facility: Receiving facility, MSH-6 (`hl7`).
        patient_system: URI of the patient numbers' namespace on the server (`fhir`); empty sends a logical reference.
        timeout_seconds: Longest wait for an answer.
        gate: `draft` sends results as they are made, and again once they are signed; `approved` sends signed ones only.
        seg: Form of the SEG it gets (`dicom`, `stow`, `folder`): bits per label, or a label map.
        rtstruct: Whether it gets an RTSTRUCT as well (`dicom`, `stow`, `folder`).
        attempts: Deliveries tried, with growing pauses, before the job is shown as undelivered.
        retry_seconds: First pause; each further one is twice as long, up to an hour.
    """

    name: str = Field(min_length=1, pattern=r"^[\w.-]+$")
    kind: Literal["dicom", "folder", "hl7", "fhir", "stow", "webhook"]
    aet: AETitle = "ANY-SCP"
    host: str = "127.0.0.1"
    port: int = Field(default=104, ge=1, le=65535)
    folder: Path | None = None
    url: str = Field(default="", pattern=r"^(https?://[^\s/@?#]+[^\s@?#]*)?$")
    tls: bool = False
    ca: Path | None = None
    certificate: Path | None = None
    certificate_key: Path | None = None
    token_file: Path | None = None
    plaintext: str = Field(default="", pattern=f"^$|{PLAINTEXT}")
    application: str = ""
    facility: str = ""
    patient_system: str = Field(default="", pattern=r"^[^\s|]*$")
    timeout_seconds: float = Field(default=60.0, gt=0)
    gate: Literal["draft", "approved"] = "draft"
    seg: Literal["binary", "labelmap"] = "binary"
    rtstruct: bool = False
    attempts: int = Field(default=24, ge=1)
    retry_seconds: float = Field(default=2.0, gt=0)

    @model_validator(mode="after")
    def _complete(self) -> Destination:
        if self.kind == "folder" and self.folder is None:
            raise ValueError(f"destination {self.name!r} is of kind 'folder' and needs folder = \"…\"")
        if self.kind in ("fhir", "stow", "webhook") and not self.url:
            raise ValueError(f'destination {self.name!r} is of kind {self.kind!r} and needs url = "https://…"')
        if self.tls and self.kind != "hl7":
            raise ValueError(f"destination {self.name!r}: tls is for kind 'hl7'; this version sends DICOM without TLS")
        if self.kind == "hl7" and "port" not in self.model_fields_set:
            raise ValueError(f"destination {self.name!r} is of kind 'hl7' and needs port = …")
        if self.kind in ("hl7", "fhir", "webhook") and (self.rtstruct or self.seg != "binary"):
            raise ValueError(f"destination {self.name!r} gets messages: seg and rtstruct are for DICOM objects")
        if self.kind != "dicom" and self.is_open and not self.plaintext:
            raise ValueError(
                f"destination {self.name!r} is beyond loopback and not encrypted: it needs "
                f"{'tls = true' if self.kind == 'hl7' else 'an https address'}, or "
                'plaintext = "accepted by NAME on YYYY-MM-DD"'
            )
        return self

    @property
    def is_open(self) -> bool:
        """Whether results would cross a network unencrypted."""
        if self.kind == "folder":
            return False
        if self.kind in ("dicom", "hl7"):
            return not self.tls and not is_loopback(self.host)
        return not self.url.startswith("https:") and not is_loopback(urlsplit(self.url).hostname or "")


class When(Frozen):
    """What a study must hold for a rule to apply. Every field that is set must hold for one series.

    Attributes:
        modalities: DICOM modalities.
        description_contains: Words of which one must stand in SeriesDescription, case ignored.
    """

    modalities: tuple[str, ...] = ()
    description_contains: tuple[str, ...] = ()


class Rule(Frozen):
    """Which model a study goes to. With no rule at all, every shipped model whose series rule selects one series runs.

    Attributes:
        model: `NAME[@stage|@version]` or a bundle's folder.
        when: Condition on the study's series.
        destinations: Names of destinations; empty means all.
    """

    model: str = Field(min_length=1)
    when: When = When()
    destinations: tuple[str, ...] = ()


class Settings(Frozen):
    """Everything that differs from one deployment to the next.

    Attributes:
        data_dir: Folder of spool, results, databases, audit trail and key.
        peer: Accepted plaintext peers beyond loopback.
        destination: Where results go.
        rule: Which model a study goes to.

    Raises:
        InputError: From `load`, code `usage`, naming each faulty key.
    """

    data_dir: Path = Field(default_factory=lambda: Path.home() / ".local" / "share" / "segloop")
    database: DatabaseSettings = DatabaseSettings()
    node: NodeSettings = NodeSettings()
    web: WebSettings = WebSettings()
    study: StudySettings = StudySettings()
    models: ModelSettings = ModelSettings()
    report: ReportSettings = ReportSettings()
    orders: OrderSettings = OrderSettings()
    training: TrainingSettings = TrainingSettings()
    priors: PriorSettings = PriorSettings()
    peer: tuple[Peer, ...] = ()
    destination: tuple[Destination, ...] = ()
    rule: tuple[Rule, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        names = [d.name for d in self.destination]
        if len(set(names)) != len(names):
            raise ValueError(f"destination names repeat: {names}")
        for rule in self.rule:
            unknown = set(rule.destinations) - set(names)
            if unknown:
                raise ValueError(f"rule for {rule.model!r} names unknown destinations: {sorted(unknown)}")
        if not is_loopback(self.web.host):
            raise ValueError(
                f"web.host is {self.web.host!r}: beyond loopback HTTP needs TLS and sign-in, which this version lacks; "
                "keep 127.0.0.1 and put a proxy that has both in front"
            )
        if not is_loopback(self.node.host) and not self.peer:
            raise ValueError(
                f"node.host is {self.node.host!r}: beyond loopback DICOM needs TLS, which this version lacks, or a "
                '[[peer]] with plaintext = "accepted by NAME on YYYY-MM-DD" for each sender'
            )
        encrypted = self.orders.certificate is not None or self.orders.plaintext
        if self.orders.port is not None and not is_loopback(self.orders.host) and not encrypted:
            raise ValueError("orders.host is beyond loopback: set orders.certificate or orders.plaintext")
        for goal in self.destination:
            if goal.kind == "dicom" and not is_loopback(goal.host) and not self.accepts_plaintext(goal.aet, goal.host):
                raise ValueError(
                    f"destination {goal.name!r} is beyond loopback: it needs TLS, which this version lacks, or "
                    f"a [[peer]] with its aet ({goal.aet}), host ({goal.host}) and "
                    'plaintext = "accepted by NAME on YYYY-MM-DD"'
                )
        return self

    def accepts_plaintext(self, aet: str, host: str) -> bool:
        """Whether somebody accepted plaintext DICOM with this peer; loopback needs no acceptance."""
        return is_loopback(host) or any(p.aet == aet and p.host == host for p in self.peer)

    @property
    def database_url(self) -> str:
        """URL of the job database."""
        return self.database.url or f"sqlite:///{self.data_dir.resolve().as_posix()}/dbos.sqlite"

    @property
    def digest(self) -> str:
        """`sha256:…` of all settings, for the audit trail."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()

    @classmethod
    def load(cls, path: Path | None, environ: Mapping[str, str]) -> Settings:
        """Settings from a TOML file (None: defaults only), overridden by variables."""
        document: dict[str, Any] = {}
        if path is not None:
            try:
                document = tomllib.loads(path.read_text("utf-8"))
            except (OSError, UnicodeDecodeError) as fault:
                raise InputError(f"The settings {path.name} cannot be read: {fault}.", code="usage") from fault
            except tomllib.TOMLDecodeError as fault:
                raise InputError(f"The settings {path.name} are not valid TOML: {fault}.", code="usage") from fault
        for name, value in environ.items():
            if name.startswith(PREFIX) and name not in OTHER_VARIABLES:
                _override(document, name, value)
        return cls.parse(document)

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Settings:
        """Settings from a mapping of the file's form."""
        try:
            return cls.model_validate(document)
        except ValidationError as fault:
            lines = [f"{'.'.join(map(str, e['loc'])) or 'settings'}: {e['msg']}" for e in fault.errors()]
            raise InputError(
                "The settings are not valid. " + "; ".join(lines) + ".",
                code="usage",
                found=lines,
                hint="docs/reference/settings.md lists every key.",
            ) from fault


def is_loopback(host: str) -> bool:
    """Whether an address cannot be reached from another machine. A name other than `localhost` counts as reachable."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _override(document: dict[str, Any], name: str, value: str) -> None:
    keys = name[len(PREFIX) :].lower().split("__")
    if keys[0] not in Settings.model_fields:
        raise InputError(
            f"The variable {name} is no setting.",
            code="usage",
            found=name,
            expected=sorted(PREFIX + key.upper() for key in Settings.model_fields),
        )
    node = document
    for key in keys[:-1]:
        node = node.setdefault(key, {})
        if not isinstance(node, dict):
            raise InputError(f"The variable {name} goes into a list; give the list as JSON instead.", code="usage")
    node[keys[-1]] = json.loads(value) if value.lstrip()[:1] in ("[", "{") else value
