"""The web side: work list, API, health and metrics. Loopback only in this version.

A page of a foreign site can make a browser ask for a loopback address under another name, so requests whose Host is not
loopback are refused. Identity appears on the work list and in result files alone; API, health and metrics have tokens.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Protocol

from fastapi import FastAPI, Header, HTTPException, Request, Response
from fastapi import Path as Parameter
from fastapi.responses import FileResponse, HTMLResponse, PlainTextResponse
from pydantic import Field, ValidationError
from pydicom import dcmread

from segloop import __version__
from segloop.errors import InputError
from segloop.io.dicom.header import text as header_text
from segloop.measure import Quantity
from segloop.plan import Frozen
from segloop.report import person_name
from segloop.service.jobs import job_folder
from segloop.service.page import STYLE_HASH, Row, language_of, work_list
from segloop.service.quarantine import Quarantine
from segloop.settings import is_loopback
from segloop.signing import folder_of, latest
from segloop.store import (
    DecisionRecord,
    DecisionState,
    DeliveryRecord,
    JobRecord,
    JobState,
    Spool,
    Standing,
    Store,
    StudyRecord,
)
from segloop.workflow import RESULT, StudyResult

_HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src '{STYLE_HASH}'; img-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_KINDS = {
    ".png": "image/png",
    ".pdf": "application/pdf",
    ".json": "application/json",
    ".dcm": "application/dicom",
    ".gz": "application/gzip",
    ".hl7": "x-application/hl7-v2+er7",
}

Key = Annotated[str, Parameter(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Parameter(pattern=r"^[\w-]+(\.[\w]+)+$")]


class Desk(Protocol):
    """What people may ask for about a job, named by its key."""

    def retry(self, key: str) -> None:
        """Run a failed or undelivered job once more."""

    def sign(self, key: str, observer: str, organisation: str, note: str) -> None:
        """Sign a result, or correct what was signed."""

    def reject(self, key: str, observer: str, reason: str) -> None:
        """Say that a result is not to be used."""


@dataclass(frozen=True, slots=True)
class View:
    """What the web side looks at.

    Attributes:
        data_dir: Where results lie.
        store: Ledger.
        spool: Received images.
        quarantine: What could not be processed.
        address: Title and port of the DICOM node.
        ready: Whether studies are taken and processed.
        open_studies: Number of studies still being received.
        desk: What people may ask for.
    """

    data_dir: Path
    store: Store
    spool: Spool
    quarantine: Quarantine
    address: str
    ready: Callable[[], bool]
    open_studies: Callable[[], int]
    desk: Desk


class Health(Frozen):
    """Answer of `/healthz` and `/readyz`."""

    status: str
    version: str = __version__


class JobView(Frozen):
    """A job with its deliveries, and what was decided about its result."""

    job: JobRecord
    deliveries: tuple[DeliveryRecord, ...]
    standing: Standing
    decisions: tuple[DecisionRecord, ...]


class SignRequest(Frozen):
    """Body of `/api/v1/jobs/{key}/sign`.

    Attributes:
        observer: Who signs, as a DICOM person name (`Family^Given`).
        organisation: For which organisation.
        note: A sentence added to the report.
    """

    observer: str = Field(max_length=194)
    organisation: str = Field(max_length=64)
    note: str = Field(default="", max_length=1024)


class RejectRequest(Frozen):
    """Body of `/api/v1/jobs/{key}/reject`.

    Attributes:
        observer: Who rejects.
        reason: Why; kept with the job, and in no log.
    """

    observer: str = Field(max_length=194)
    reason: str = Field(max_length=1024)


def create_app(view: View) -> FastAPI:
    """The application for a running service."""
    app = FastAPI(
        title="segloop", version=__version__, docs_url=None, redoc_url=None, openapi_url="/api/v1/openapi.json"
    )

    @app.middleware("http")
    async def guard(request: Request, following: Callable[[Request], Awaitable[Response]]) -> Response:
        host = request.url.hostname or ""
        if not is_loopback(host):
            return PlainTextResponse("This Host is not served.", status_code=421, headers=_HEADERS)
        response = await following(request)
        response.headers.update(_HEADERS)
        return response

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    def page(request: Request) -> HTMLResponse:
        language = language_of(request.headers.get("accept-language", ""))
        rows = [row for study in view.store.studies(limit=200) for row in _rows(view, study)]
        return HTMLResponse(work_list(rows, view.quarantine.reasons()[:200], language, view.address))

    _add_health(app, view)
    _add_api(app, view)
    return app


def _add_health(app: FastAPI, view: View) -> None:
    @app.get("/healthz")
    def healthz() -> Health:
        """The process answers."""
        return Health(status="ok")

    @app.get("/readyz")
    def readyz(response: Response) -> Health:
        """Studies are taken in and processed."""
        if view.ready():
            return Health(status="ready")
        response.status_code = 503
        return Health(status="starting")

    @app.get("/metrics", response_class=PlainTextResponse)
    def metrics() -> PlainTextResponse:
        """Counts in Prometheus' text format."""
        return PlainTextResponse(_metrics(view), media_type="text/plain; version=0.0.4")


def _add_api(app: FastAPI, view: View) -> None:
    @app.get("/api/v1/studies")
    def studies() -> list[StudyRecord]:
        """Versions of studies, newest first."""
        return list(view.store.studies())

    @app.get("/api/v1/jobs")
    def jobs(study: str | None = None) -> list[JobRecord]:
        """Jobs, newest first, of one study or of all."""
        return list(view.store.jobs(study))

    @app.get("/api/v1/jobs/{key}")
    def job(key: Key) -> JobView:
        """A job and where its results went."""
        found = view.store.find_job(key)
        if found is None:
            raise HTTPException(404, "no such job")
        return JobView(
            job=found,
            deliveries=view.store.deliveries(key),
            standing=view.store.standing(key),
            decisions=view.store.decisions(key),
        )

    @app.post("/api/v1/jobs/{key}/retry", status_code=202)
    def retry(key: Key, x_segloop: Annotated[str, Header()]) -> Health:
        """Run a failed or undelivered job once more; needs the header `X-Segloop`, which no foreign page can send."""
        return _asked(lambda: view.desk.retry(key))

    @app.post("/api/v1/jobs/{key}/sign", status_code=202)
    def sign(key: Key, body: SignRequest, x_segloop: Annotated[str, Header()]) -> Health:
        """Sign a result, or correct what was signed; on disk when this answers, sent after. Needs `X-Segloop`."""
        return _asked(lambda: view.desk.sign(key, body.observer, body.organisation, body.note))

    @app.post("/api/v1/jobs/{key}/reject", status_code=202)
    def reject(key: Key, body: RejectRequest, x_segloop: Annotated[str, Header()]) -> Health:
        """Reject a result: withdrawn where it was sent, and sent nowhere else. Needs `X-Segloop`."""
        return _asked(lambda: view.desk.reject(key, body.observer, body.reason))

    @app.get("/api/v1/jobs/{key}/files/{name}", response_class=FileResponse)
    def result_file(key: Key, name: Name) -> FileResponse:
        """A file of a job's result, as a draft."""
        return _file(view, key, 0, name)

    @app.get("/api/v1/jobs/{key}/signed/{edition}/files/{name}", response_class=FileResponse)
    def signed_file(key: Key, edition: Annotated[int, Parameter(ge=1)], name: Name) -> FileResponse:
        """A file of a signed form of a job's result."""
        return _file(view, key, edition, name)


def _asked(ask: Callable[[], None]) -> Health:
    """The answer to something that a person asked for."""
    try:
        ask()
    except InputError as fault:
        raise HTTPException(422 if fault.code == "usage" else 409, fault.message) from fault
    return Health(status="queued")


def _file(view: View, key: str, edition: int, name: str) -> FileResponse:
    result = read_result(view.data_dir, key, edition)
    if result is None or name not in {RESULT, *result.files.values()}:
        raise HTTPException(404, "no such file")
    path = folder_of(job_folder(view.data_dir, key) / "out", edition) / name
    return FileResponse(path, media_type=_KINDS.get(path.suffix, "application/octet-stream"))


def read_result(data_dir: Path, key: str, edition: int = 0) -> StudyResult | None:
    """What a job found, as a draft (0) or in a signed form (1…); None while there is none."""
    try:
        path = folder_of(job_folder(data_dir, key) / "out", edition) / RESULT
        return StudyResult.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _rows(view: View, study: StudyRecord) -> list[Row]:
    patient = _patient(view.spool.folder(study.study))
    jobs = [job for job in view.store.jobs(study.study) if job.version == study.version]
    if not jobs:
        return [Row(patient, study.study, study.number, study.received, study.state, study.code, "", (), ())]
    return [_job_row(view, patient, study, job) for job in jobs]


def _job_row(view: View, patient: str, study: StudyRecord, job: JobRecord) -> Row:
    edition = latest(job_folder(view.data_dir, job.key) / "out")
    result = read_result(view.data_dir, job.key, edition) or read_result(view.data_dir, job.key)
    volumes: tuple[tuple[str, float], ...] = ()
    links: list[tuple[str, str]] = []
    if result is not None:
        volumes = tuple((m.name, m.value) for m in result.measurements if m.quantity == "volume" and m.component == 0)
        for key, name in (("overlay", "overlay.png"), ("report", "report.pdf"), ("numbers", RESULT)):
            if name in {RESULT, *result.files.values()}:
                signed = "" if result.signature is None else f"signed/{edition}/"
                links.append((key, f"/api/v1/jobs/{job.key}/{signed}files/{name}"))
    detail = job.code or (job.step if job.state == JobState.RUNNING else "")
    standing, last = view.store.standing(job.key), next(reversed(view.store.decisions(job.key)), None)
    if last is not None and last.state in (DecisionState.FAILED, DecisionState.UNDELIVERED):
        detail = f"{last.kind} {last.state} {last.code}".strip()
    return Row(
        *(patient, study.study, study.number, study.received, job.state, detail, job.model, volumes, tuple(links)),
        standing="" if standing == Standing.DRAFT else standing,
        before=None if result is None else _before(result),
    )


def _before(result: StudyResult) -> tuple[str, dict[str, float]] | None:
    """Date and volumes of the earlier result that a result's changes are counted from."""
    known = result.follow_up
    if known is None or known.reference is None:
        return None
    prior = known.priors[known.reference]
    names = {m.label: m.name for m in result.measurements}
    told = [m for m in prior.measurements if m.quantity == Quantity.VOLUME and not m.component and m.label in names]
    return str(prior.study_date), {names[m.label]: m.value for m in told}


def _patient(folder: Path) -> str:
    first = next(iter(sorted(folder.glob("*.dcm"))), None)
    return _patient_name(first) if first is not None else ""


@lru_cache(maxsize=512)
def _patient_name(path: Path) -> str:
    try:
        header = dcmread(path, stop_before_pixels=True, specific_tags=["PatientName", "SpecificCharacterSet"])
        return person_name(header_text(header, "PatientName"))
    except Exception:  # a name that cannot be decoded must not take the list down
        return "?"


def _metrics(view: View) -> str:
    lines: list[str] = []
    for table, states in view.store.counts().items():
        lines += [f"# HELP segloop_{table} Rows of the ledger by state.", f"# TYPE segloop_{table} gauge"]
        lines += [f'segloop_{table}{{state="{state}"}} {count}' for state, count in sorted(states.items())]
    gauges = {
        "open_studies": ("Studies still being received.", view.open_studies()),
        "quarantined": ("Entries of the quarantine.", len(view.quarantine.reasons())),
        "ready": ("1 when studies are taken in and processed.", int(view.ready())),
    }
    for name, (text, value) in gauges.items():
        lines += [f"# HELP segloop_{name} {text}", f"# TYPE segloop_{name} gauge", f"segloop_{name} {value}"]
    return "\n".join(lines) + "\n"
