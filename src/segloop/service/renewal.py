"""When a study is planned again although its images are the same: because of the earlier results it stands beside.

A draft is made anew when an earlier study's result came after it, or one that it shows was rejected. What a person
signed is left alone: no machine takes back a physician's word, so a person is told instead.
"""

from __future__ import annotations

from pathlib import Path

from segloop.audit import AuditLog
from segloop.log import get_logger
from segloop.report.prior import CODE
from segloop.service.earlier import Beside, Earlier, Found
from segloop.service.jobs import Jobs
from segloop.service.quarantine import Quarantine
from segloop.store import JobRecord, JobState, Standing, Store

_log = get_logger(__name__)

_TRIES = 3
"""Plans of one study that may fail for what lies in the folders of earlier results, before it is left to a person."""


class Renewal:
    """Says which results are outdated by earlier ones.

    Args:
        store: Ledger.
        audit: Trail.
        quarantine: Where studies lie whose earlier results vanished.
        jobs: Knows what each job was started with.
        earlier: Finds earlier results.
    """

    def __init__(self, store: Store, audit: AuditLog, quarantine: Quarantine, jobs: Jobs, earlier: Earlier) -> None:
        self._store, self._audit, self._quarantine = store, audit, quarantine
        self._jobs, self._earlier = jobs, earlier

    def due(self, study: str) -> frozenset[str]:
        """Names of the models whose newest result of a study is to be made anew, from the same images."""
        newest: dict[str, JobRecord] = {}
        for job in self._store.jobs(study):
            newest.setdefault(job.model, job)
        return frozenset(job.model for job in newest.values() if self._is_outdated(job))

    def fixed(self, study: str, version: str, model: str) -> Beside | None:
        """What a version's result of a model is set beside, if that was decided before a kill; else None."""
        for job in self._store.jobs(study):
            if job.version == version and (ticket := self._jobs.ticket(job.key)).task.model == model:
                task = ticket.task
                found = zip(ticket.priors, task.priors, task.prior_folders, strict=True)
                return Beside(ticket.patient, tuple(Found(*one) for one in found))
        return None

    def mask_from(self, study: str, model: str) -> Path | None:
        """Where the mask lies that the newest result of a model has, or was to have: in the first one made with it."""
        newest = next((job for job in self._store.jobs(study) if job.model == model), None)
        task = None if newest is None else self._jobs.ticket(newest.key).task
        return None if task is None else task.mask_from or task.out

    def release(self, study: str) -> None:
        """Take out of quarantine what failed for its earlier results and has been planned anew."""
        for job in self._store.jobs(study):
            if job.code == CODE:
                self._quarantine.release(job.key[:32])

    def _is_outdated(self, job: JobRecord) -> bool:
        if self._store.find_study(job.study, job.version) is None:
            return True  # it was being planned anew when the service was killed
        if job.state == JobState.FAILED:
            return job.code == CODE and sum(one.code == CODE for one in self._store.jobs(job.study)) < _TRIES
        ticket, standing = self._jobs.ticket(job.key), self._store.standing(job.key)
        if standing == Standing.DRAFT:
            return self._earlier.late(job, ticket)
        if standing in (Standing.SIGNED, Standing.CORRECTED):
            for fallen in self._earlier.gone(job, ticket):
                _log.warning("a signed result shows an earlier one that is not to be used", job=job.key)
                self._audit.append(ticket.event("prior.invalid", f"prior:{fallen.job}", prior=fallen.job))
        return False
