"""The study-complete rule: a study without a new instance for some seconds is a version, and a version becomes jobs."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from pathlib import Path

from segloop.audit import AuditLog, Event
from segloop.errors import CODES, InputError, SegloopError, ServiceError
from segloop.infer import Bundle
from segloop.io.dicom import SeriesRef
from segloop.log import bind_study, get_logger
from segloop.service.earlier import Beside, Earlier
from segloop.service.jobs import Jobs
from segloop.service.planning import Match, Route, route
from segloop.service.quarantine import Quarantine
from segloop.service.rejected import Rejected
from segloop.service.renewal import Renewal
from segloop.service.ticket import Ticket
from segloop.settings import Settings
from segloop.store import Spool, Standing, Store, StudyRecord, StudyState, make_folder, now, write_whole

_log = get_logger(__name__)

_PAUSE_AFTER_TROUBLE = 10.0
_PAUSE_FOR_AN_EARLIER_STUDY = 1.0
_CODES_OF_THE_SERVICE = frozenset({"disk.full", "audit.broken"})


class Watch:
    """Waits for studies to become quiet and starts their jobs.

    Args:
        settings: Quiet time and rules.
        spool: Received images.
        store: Ledger.
        audit: Trail.
        quarantine: For studies that cannot be processed.
        jobs: Starts them.
        rejected: What others have withdrawn.
        earlier: Finds what results are set beside.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - one argument per part that it joins
        self,
        settings: Settings,
        spool: Spool,
        store: Store,
        audit: AuditLog,
        quarantine: Quarantine,
        jobs: Jobs,
        rejected: Rejected,
        earlier: Earlier,
    ) -> None:
        self._settings, self._spool, self._store = settings, spool, store
        self._audit, self._quarantine, self._jobs, self._rejected = audit, quarantine, jobs, rejected
        self._earlier, self._renewal = earlier, Renewal(store, audit, quarantine, jobs, earlier)
        self._waiting: dict[str, float] = {}
        self._news: set[str] = set()
        self._due: dict[str, float] = {}
        self._change = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._loop, name="study-watch", daemon=True)

    def launch(self) -> None:
        """Start, with every study of the spool: one whose version is known is left alone, unless its priors changed."""
        self._earlier.fill()
        self._jobs.changed = self._changed
        for study in self._spool.studies():
            self.arrived(study)
        self._thread.start()

    def stop(self) -> None:
        """Stop after the study in hand."""
        with self._change:
            self._stopping = True
            self._change.notify()
        if self._thread.is_alive():
            self._thread.join(timeout=30)

    def arrived(self, study: str) -> None:
        """An instance of the study came; its quiet time begins anew."""
        with self._change:
            self._due[study] = time.monotonic() + self._settings.study.quiet_seconds
            self._change.notify()

    def _changed(self, key: str) -> None:
        """Something happened to a job's result. Only noted here, since a job must not fail for what follows from it."""
        with self._change:
            self._news.add(key)
            self._change.notify()

    def _spread(self, key: str) -> None:
        """Look again at all studies of a job's patient, without another quiet time."""
        job = self._store.find_job(key)
        others = () if job is None else self._store.jobs_of_patient(job.patient or "")
        with self._change:
            for study in {one.study for one in others}:
                self._due.setdefault(study, time.monotonic())

    def open_studies(self) -> int:
        """Studies that are not yet complete."""
        with self._change:
            return len(self._due)

    def _loop(self) -> None:
        while True:
            with self._change:
                study = self._next()
                if study is None:
                    return
                news, self._news = self._news, set()
            try:
                for key in news:
                    self._spread(key)
                if study:
                    with bind_study(study):
                        self._complete(study)
            except ServiceError as fault:
                _log.error("study must wait", code=fault.code)
                self._again(study)
            except Exception as fault:
                _log.error("study failed with a bug", error=type(fault).__name__, study=study)
                self._again(study)

    def _next(self) -> str | None:
        """The next study that is due, taken from the list; empty for news, None when stopping. The lock is held."""
        while not self._stopping:
            if self._news:
                return ""
            if not self._due:
                self._change.wait()
                continue
            study, due = min(self._due.items(), key=lambda item: item[1])
            rest = due - time.monotonic()
            if rest <= 0:
                del self._due[study]
                return study
            self._change.wait(rest)
        return None

    def _again(self, study: str) -> None:
        if study:
            with self._change:
                self._due.setdefault(study, time.monotonic() + _PAUSE_AFTER_TROUBLE)

    def _complete(self, study: str) -> None:
        self._withdraw(study)
        gone = self._rejected.files(study)
        every = self._spool.files(study)
        files = tuple(name for name in every if name not in gone)
        if not files:
            return
        # Without some of its images a study may be what it was before they came, but its old result was withdrawn.
        left_out = "\n".join(sorted(gone.intersection(every)))
        revision = hashlib.sha256(left_out.encode()).hexdigest()[:16] if left_out else ""
        version = self._spool.version(study, files, revision)
        known = self._store.find_study(study, version)
        mixed = self._is_mixed(study)
        models: frozenset[str] = frozenset()
        if known is not None and (not mixed or known.state == StudyState.QUARANTINED):
            settled = mixed or known.state != StudyState.PROCESSED
            models = frozenset() if settled else self._renewal.due(study)
            if not models:
                return
            # Another result of the same images: it has a version of its own, since the ledger knows this one.
            revision = hashlib.sha256(f"{revision}\npriors {self._store.next_number(study)}".encode()).hexdigest()[:16]
            version, known = self._spool.version(study, files, revision), None
        if not mixed and self._must_wait(study):
            return
        started = time.perf_counter()
        number = known.number if known is not None else self._store.next_number(study)
        try:
            found = self._route(study, version, files, revision, mixed)
            if found.fault is not None:
                raise found.fault
        except SegloopError as fault:
            if fault.code in _CODES_OF_THE_SERVICE:
                raise
            paths = [self._spool.folder(study) / name for name in files]
            self._quarantine.put_study(version, study, fault, paths)
            self._record(study, version, number, len(files), StudyState.QUARANTINED, fault.code)
            return
        self._note_route(study, version, found)
        for match in found.matches:
            if not models:
                self._start(match, study, version, number)
            elif match.name in models:
                # The images are the same, and so is what the network finds in them.
                known_mask = {"mask_from": self._renewal.mask_from(study, match.name)}
                task = match.task.model_copy(update=known_mask)
                self._start(match.model_copy(update={"task": task}), study, version, number)
        if models:
            self._renewal.release(study)
        state = StudyState.PROCESSED if found.matches else StudyState.NO_MODEL
        self._record(study, version, number, len(files), state)
        _log.info("study complete", files=len(files), state=state, seconds=round(time.perf_counter() - started, 3))

    def _route(self, study: str, version: str, files: tuple[str, ...], revision: str, mixed: bool) -> Route:
        """The models for a version of a study, with what their results are to be set beside."""
        if mixed:
            raise InputError(
                CODES["input.two_patients"],
                code="input.two_patients",
                hint="Correct the study at its source and send it under a new study UID.",
            )

        def beside(series: SeriesRef, model: str, bundle: Bundle) -> Beside:
            fixed = self._renewal.fixed(study, version, model)
            return fixed or self._earlier.beside(series, study, bundle.manifest.name, bundle.plan.labels)

        jobs = self._settings.data_dir / "jobs"
        return route(self._spool.folder(study), files, self._settings, jobs, revision, beside)

    def _start(self, match: Match, study: str, version: str, number: int) -> None:
        self._jobs.start(
            Ticket(
                key=match.key,
                study=study,
                version=version,
                number=number,
                model=match.name,
                task=match.task,
                destinations=match.destinations,
                created=now(),
                patient=match.patient,
                priors=match.priors,
            )
        )

    def _must_wait(self, study: str) -> bool:
        """Whether a study is put off, because an earlier one of the same patient will have a result soon."""
        longest = self._settings.priors.wait_seconds
        with self._change:
            receiving = tuple(self._due)
        if study not in self._waiting:
            self._waiting[study] = time.monotonic() + longest
        if time.monotonic() < self._waiting[study] and self._earlier.is_awaited(study, receiving):
            with self._change:
                self._due.setdefault(study, time.monotonic() + _PAUSE_FOR_AN_EARLIER_STUDY)
            return True
        del self._waiting[study]
        return False

    def _withdraw(self, study: str) -> None:
        """Take back the results that rest on images, or are objects, which somebody has withdrawn."""
        gone = self._rejected.files(study)
        for job in self._store.jobs(study) if gone else ():
            if self._store.standing(job.key) in (Standing.REJECTED, Standing.WITHDRAWN):
                continue
            if gone.intersection(self._jobs.images(job.key)):
                self._jobs.withdraw(job.key, "images rejected")
            elif any(self._rejected.holds(study, uid) for uid in self._jobs.results(job.key)):
                self._jobs.withdraw(job.key, "result rejected elsewhere")

    def _is_mixed(self, study: str) -> bool:
        """Whether an instance of another patient was refused: then it is not known whose the study is."""
        return any(r.study == study and r.code == "input.two_patients" for r in self._quarantine.reasons())

    def _note_route(self, study: str, version: str, found: Route) -> None:
        """Say for each model that does not apply why not; series descriptions may stand there, so not in the ledger."""
        folder = self._settings.data_dir / "decisions" / study
        make_folder(folder)
        document = {
            "schema": 1,
            "matches": [match.name for match in found.matches],
            "refusals": [refusal.model_dump() for refusal in found.refusals],
        }
        write_whole(json.dumps(document, ensure_ascii=False, indent=2).encode(), folder / f"{version}.json")

    def _record(self, study: str, version: str, number: int, files: int, state: StudyState, code: str = "") -> None:
        self._audit.append(
            Event(
                key=f"{study}:{version}:{state}",
                action="study.received",
                subject=study,
                detail={"version": version, "files": str(files), "state": state, "code": code},
            )
        )
        self._store.add_study(
            StudyRecord(
                study=study,
                version=version,
                number=number,
                files=files,
                received=now(),
                state=state,
                code=code,
            )
        )


def reasons_file(data_dir: Path, study: str, version: str) -> Path:
    """Where it stands why models do not apply to a version."""
    return data_dir / "decisions" / study / f"{version}.json"
