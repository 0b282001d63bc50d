"""This node's own earlier results of a study's patient, which the study's result is set beside.

A keyed token of the patient, which the ledger holds for every job, leads to them. It is a way to find them and no
proof: whether one is used is decided by `report.read_priors` alone, which compares the headers themselves, once when a
job is planned and again when the job reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import NamedTuple

from segloop import signing
from segloop.errors import InputError
from segloop.io import dicom
from segloop.log import get_logger
from segloop.plan import LabelSpec
from segloop.report import Whose, prior_key, read_priors, whose_image, whose_result, whose_series
from segloop.service.ticket import Basis, Ticket
from segloop.settings import PriorSettings
from segloop.store import JobRecord, JobState, Spool, Standing, Store, Tokens
from segloop.study import InferenceRecord, read_record
from segloop.workflow import RESULT

_log = get_logger(__name__)

_STANDS = frozenset({Standing.DRAFT, Standing.SIGNED, Standing.CORRECTED})
_UNDER_WAY = frozenset({JobState.QUEUED, JobState.RUNNING})


class Found(NamedTuple):
    """An earlier result.

    Attributes:
        basis: What it is.
        key: What tells it from every other form of it.
        folder: Where it lies.
    """

    basis: Basis
    key: str
    folder: Path


class Beside(NamedTuple):
    """What a job's result is to be set beside.

    Attributes:
        patient: Token of the patient; empty where the images state none, None where nobody looked.
        found: Earlier results, from the oldest to the newest.
    """

    patient: str | None = None
    found: tuple[Found, ...] = ()


class _Dated(NamedTuple):
    study_date: date
    found: Found


class Earlier:
    """Finds earlier results.

    Args:
        settings: Which of them count.
        store: Knows every job's patient by a token.
        tokens: The deployment's secret.
        spool: Received images.
        jobs: Folder below which each job has one.
    """

    def __init__(self, settings: PriorSettings, store: Store, tokens: Tokens, spool: Spool, jobs: Path) -> None:
        self._settings, self._store, self._tokens, self._spool, self._jobs = settings, store, tokens, spool, jobs
        self._known: dict[str, Whose] = {}

    def fill(self) -> None:
        """Note the patients of jobs that an earlier version of this program ran, from their results."""
        for job in self._store.jobs_without_patient():
            try:
                whose = whose_result(self._out(job.key))
            except InputError:
                continue  # it has no result, so nothing can be set beside it
            self._store.set_patient(job.key, self._tokens.patient(whose.patient))

    def beside(self, series: dicom.SeriesRef, study: str, model: str, specs: Sequence[LabelSpec]) -> Beside:
        """What the result of a series is to be set beside.

        Args:
            series: The series.
            study: Token of its study, of which no result counts.
            model: Name of the model.
            specs: Its labels.
        """
        if not self._settings.enabled:
            return Beside()
        whose = whose_series(series)
        found = tuple(one for one in self.candidates(whose, study, model) if self._is_sound(one, series, specs))
        if found:
            _log.info("earlier results found", study=study, count=len(found))
        return Beside(self._tokens.patient(whose.patient), found)

    def candidates(self, whose: Whose, study: str, model: str) -> tuple[Found, ...]:
        """Results that count for a study, by the ledger and their headers; their other files are not looked at."""
        if not self._settings.enabled or whose.study_date is None:
            return ()
        dated: list[_Dated] = []
        for out, edition, job in self._standing(self._tokens.patient(whose.patient), study, model):
            folder = signing.folder_of(out, edition)
            try:
                theirs = whose_result(folder)
                mask = read_record(InferenceRecord, out / "inference.json").labels_digest
                found = Found(Basis(job=job.key, study=job.study, mask=mask), prior_key(folder), folder)
            except InputError as fault:
                _log.warning("an earlier result is not there any more", job=job.key, code=fault.code)
                continue
            if theirs.patient != whose.patient:
                _log.error("an earlier result has the token of another patient", job=job.key)
            elif theirs.study_date is not None and self._is_in_reach(theirs.study_date, whose.study_date):
                dated.append(_Dated(theirs.study_date, found))
        ordered = [one.found for one in sorted(dated, key=lambda one: (one.study_date, one.found.key))]
        most = self._settings.most
        if len(ordered) <= most:
            return tuple(ordered)
        # The first one as well, since sums are counted from it.
        return tuple(ordered[:1] + ordered[len(ordered) - most + 1 :]) if most > 1 else tuple(ordered[-1:])

    def is_awaited(self, study: str, receiving: Sequence[str]) -> bool:
        """Whether an earlier study of the same patient is still being received or has no result yet.

        Args:
            study: Token of the study that would wait.
            receiving: Tokens of the studies that are not complete.
        """
        mine = self._whose(study)
        if not self._settings.enabled or mine is None or not mine.patient:
            return False
        jobs = self._store.jobs_of_patient(self._tokens.patient(mine.patient))
        working = {job.study for job in jobs if job.state in _UNDER_WAY and not (self._out(job.key) / RESULT).exists()}
        return any(self._is_earlier(other, mine) for other in working.union(receiving) - {study})

    def late(self, job: JobRecord, ticket: Ticket) -> bool:
        """Whether a job's result is no longer beside what it should be: because of what came or fell since."""
        if not self._settings.renew or ticket.patient is None:
            return False
        used = {(one.study, one.mask) for one in ticket.priors}
        planned = datetime.fromisoformat(ticket.created)
        come = [one for one in self._now(job) if (one.basis.study, one.basis.mask) not in used]
        return any(_made(one.folder) > planned for one in come) or bool(self.gone(job, ticket))

    def gone(self, job: JobRecord, ticket: Ticket) -> tuple[Basis, ...]:
        """What a job's result is set beside although it was rejected or withdrawn since, and nothing equal is there."""
        fallen = [one for one in ticket.priors if self._store.standing(one.job) not in _STANDS]
        here = {(one.basis.study, one.basis.mask) for one in self._now(job)} if fallen else set()
        return tuple(one for one in fallen if (one.study, one.mask) not in here)

    def _now(self, job: JobRecord) -> tuple[Found, ...]:
        """What would count if the job were planned now."""
        mine = self._whose(job.study)
        return () if mine is None else self.candidates(mine, job.study, job.model)

    def _standing(self, patient: str, study: str, model: str) -> list[tuple[Path, int, JobRecord]]:
        """One result of each other study that stands, with its newest edition: what a person signed, else a draft.

        What was signed stands until a newer version of its study is signed as well; a draft until there is one.
        """
        chosen: dict[str, tuple[Path, int, JobRecord]] = {}
        for job in self._store.jobs_of_patient(patient):
            out = self._out(job.key)
            if job.model != model or job.study == study or not (out / RESULT).exists():
                continue
            if self._store.standing(job.key) not in _STANDS:
                continue
            edition = signing.newest(out)
            draft = edition == 0
            if draft and (self._settings.signed_only or self._store.is_superseded(job.key)):
                continue
            known = chosen.get(job.study)
            if known is None or (known[1] == 0 and not draft):
                chosen[job.study] = (out, edition, job)
        return list(chosen.values())

    def _is_in_reach(self, then: date, now: date) -> bool:
        days = (now - then).days
        return days > 0 and (self._settings.days is None or days <= self._settings.days)

    def _is_sound(self, found: Found, series: dicom.SeriesRef, specs: Sequence[LabelSpec]) -> bool:
        """Whether everything of a result is there, belongs together, and is of the same patient by its own headers."""
        try:
            read = read_priors([found.folder], series, specs)
        except InputError as fault:
            _log.warning("an earlier result cannot be used", job=found.basis.job, code=fault.code)
            return False
        if not read.usable:
            _log.info("an earlier result has no label in common", job=found.basis.job)
        return bool(read.usable)

    def _is_earlier(self, study: str, mine: Whose) -> bool:
        theirs = self._whose(study)
        if theirs is None or theirs.patient != mine.patient or mine.study_date is None or theirs.study_date is None:
            return False
        return self._is_in_reach(theirs.study_date, mine.study_date)

    def _whose(self, study: str) -> Whose | None:
        """Whose a received study is, from one of its images; None where none can be read."""
        known = self._known.get(study)
        if known is None:
            files = self._spool.files(study)
            if not files:
                return None
            path = self._spool.folder(study) / files[0]
            try:
                known = whose_image(path)
            except InputError:
                return None
            self._known[study] = known
        return known

    def _out(self, key: str) -> Path:
        return self._jobs / key / "out"


def _made(folder: Path) -> datetime:
    """When a result was finished."""
    return datetime.fromtimestamp((folder / RESULT).stat().st_mtime, UTC)
