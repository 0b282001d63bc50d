"""Carries decisions about results out, durably: the signed objects made and sent, what they replace withdrawn.

A decision is on disk before it is answered, and a durable workflow of its own follows: whatever dies in between, the
next start goes on with it. Nothing of a result that was rejected, withdrawn or signed anew leaves any more, because
every delivery looks at the decisions in its own turn.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime

from dbos import DBOS, SetWorkflowID

from segloop import forms, signing
from segloop.audit import AuditLog
from segloop.errors import InputError, SegloopError
from segloop.log import bind_study, get_logger
from segloop.service.courier import Courier, Parcel, carried, parted
from segloop.service.decisions import SERVICE, SUPERSEDED, Decision, DecisionBook
from segloop.service.serializer import plain_error
from segloop.service.steps import Durable
from segloop.service.ticket import Ticket
from segloop.service.worker import Run
from segloop.store import (
    DecisionKind,
    DecisionState,
    DeliveryState,
    HoldingRecord,
    JobRecord,
    JobState,
    Standing,
    Store,
)

_log = get_logger(__name__)

WORKFLOW = "decision"
_SIGNABLE = frozenset({Standing.DRAFT, Standing.SIGNED, Standing.CORRECTED})
_SENDING = ("deliver", "redeliver", "keep", "finish")


class Deciding:
    """The decisions of one deployment; made before DBOS is launched, since it registers a workflow.

    Args:
        book: Where they are kept.
        store: Ledger to keep up to date.
        audit: Trail to write to.
        courier: Takes what follows to destinations.
        durable: Runs the steps.
        ticket: What a job was started with.
        compute: Runs a step on a job's task in the process for images.

    Attributes:
        changed: Called with a job's key once it has been decided about its result, or a signed form of it is there.
    """

    def __init__(
        self,
        book: DecisionBook,
        store: Store,
        audit: AuditLog,
        courier: Courier,
        durable: Durable,
        ticket: Callable[[str], Ticket],
        compute: Callable[[str, Run], None],
    ) -> None:
        self._book, self._store, self._audit = book, store, audit
        self._courier, self._durable = courier, durable
        self._ticket, self._compute = ticket, compute
        self.changed: Callable[[str], None] = _quietly
        self._lock, self._signing = threading.Lock(), threading.Lock()

        def decision(identifier: str) -> str:
            return self._carry_out(identifier)

        self._workflow: Callable[[str], str] = DBOS.workflow(name=WORKFLOW)(decision)

    def sign(self, key: str, observer: str, organisation: str, note: str = "") -> Decision:
        """Sign a job's result, or correct what was signed; the same words again change nothing.

        Raises:
            InputError: `usage`: a name that DICOM does not allow; `job.unknown`: no such result; `job.decided`: it was
                rejected, withdrawn or replaced by a newer version.
        """
        moment = datetime.now(UTC)
        asked = signing.signature_for(observer, organisation, moment)
        with self._lock:
            job = self._with_result(key)
            standing = self._store.standing(key)
            if standing not in _SIGNABLE or self._store.is_superseded(key):
                raise InputError(
                    "This result is not to be used any more, so it is not signed.",
                    code="job.decided",
                    found="superseded" if standing in _SIGNABLE else standing.value,
                    hint="Sign the result of the study's newest version.",
                )
            given = {"actor": asked.observer, "organisation": asked.organisation, "text": " ".join(note.split())}
            return self._record(job.key, DecisionKind.SIGN, moment, given)

    def reject(self, key: str, observer: str, reason: str) -> Decision:
        """Say that a result is not to be used: it is withdrawn wherever it is, and never sent again.

        Raises:
            InputError: `usage`: no reason, or a name that DICOM does not allow; `job.unknown`: no such result.
        """
        given = {"actor": signing.person_for(observer), "text": " ".join(reason.split())}
        if not all(given.values()):
            raise InputError("A rejection needs an observer and a reason.", code="usage")
        with self._lock:
            return self._record(self._with_result(key).key, DecisionKind.REJECT, datetime.now(UTC), given)

    def withdraw(self, key: str, why: str) -> Decision:
        """Take a result back because something it rests on is no longer valid; for the service itself."""
        with self._lock:
            return self._record(key, DecisionKind.WITHDRAW, datetime.now(UTC), {"actor": SERVICE, "text": why})

    def supersede(self, key: str) -> tuple[str, ...]:
        """Decide that older versions' results are withdrawn, now that this one is out; returns the decisions' ids.

        A draft takes the place of drafts; what a person signed stands until the newer version is signed as well.
        """
        self._courier.settle()
        mine, decided = self._store.find_job(key), list[str]()
        signed = self._store.standing(key) in (Standing.SIGNED, Standing.CORRECTED)
        taken = (Standing.DRAFT, Standing.SIGNED, Standing.CORRECTED) if signed else (Standing.DRAFT,)
        for job in () if mine is None else self._older(mine):
            if self._store.holdings(job.key) and self._store.standing(job.key) in taken:
                decided.append(self.withdraw(job.key, SUPERSEDED).identifier)
        return tuple(decided)

    def start(self, identifier: str) -> None:
        """Carry a decision out, unless that has begun."""
        with SetWorkflowID(identifier):
            DBOS.start_workflow(self._workflow, identifier)

    def retry(self, key: str) -> bool:
        """Carry the last decision about a job out once more if that did not succeed; whether there was one."""
        last = next(reversed(self._store.decisions(key)), None)
        if last is None or last.state not in (DecisionState.UNDELIVERED, DecisionState.FAILED):
            return False
        self._store.set_decision(key, last.number, DecisionState.QUEUED)
        DBOS.rewind_workflow(f"{key}.{last.number}")
        return True

    def recall(self) -> None:
        """Put every decision into the ledger, before anything is delivered again after a start."""
        for decision in self._book.all():
            self._store.add_decision(decision.record())

    def resume(self) -> None:
        """Start what was decided just before the last end, and bring the ledger in line with DBOS."""
        known = {one.workflow_id: one for one in DBOS.list_workflows(name=WORKFLOW, load_input=False)}
        for decision in self._book.all():
            status = known.get(decision.identifier)
            if status is None:
                self.start(decision.identifier)
            elif status.status == "SUCCESS":
                self._store.set_decision(decision.job, decision.number, DecisionState(str(status.output)))
            elif status.status == "ERROR":
                code = status.error.code if isinstance(status.error, SegloopError) else "internal"
                self._store.set_decision(decision.job, decision.number, DecisionState.FAILED, code)

    def replay(self) -> None:
        """Fill a ledger that was lost with what destinations have got, from what DBOS knows of decisions."""
        for decision in self._book.all():
            edition = 0
            for one in DBOS.list_workflow_steps(decision.identifier):
                kind, _, goal = one["function_name"].partition(":")
                output = str(one["output"])
                if kind == "sign":
                    edition = int(output)
                states = {goal: output} if goal else parted(output) if kind.startswith("re") else {}
                for name, state in states.items():
                    self._replay(decision, edition, name, kind.removeprefix("re"), state)

    def _replay(self, decision: Decision, edition: int, goal: str, kind: str, state: str) -> None:
        if kind == "deliver" and state in (DeliveryState.DONE, DeliveryState.FAILED):
            self._store.add_holding(HoldingRecord(job=decision.job, edition=edition, destination=goal))
        elif kind == "withdraw" and state in (DeliveryState.DONE, DeliveryState.WITHDRAWN):
            for held in self._store.holdings(decision.job):
                if held.destination == goal and (not edition or held.edition < edition):
                    self._store.add_holding(held.model_copy(update={"withdrawn": True}))

    def _older(self, mine: JobRecord) -> list[JobRecord]:
        every = self._store.jobs(mine.study)
        return [job for job in every if job.model == mine.model and job.number < mine.number]

    def _with_result(self, key: str) -> JobRecord:
        job = self._store.find_job(key)
        ready = job is not None and (
            job.state in (JobState.DONE, JobState.UNDELIVERED, JobState.SUPERSEDED)
            or (job.state == JobState.RUNNING and job.step.startswith(_SENDING))
        )
        if job is None or not ready:
            raise InputError(
                "There is no such job with a result.",
                code="job.unknown",
                found=None if job is None else job.state.value,
                expected=["done", "undelivered"],
            )
        return job

    def _record(self, key: str, kind: DecisionKind, moment: datetime, given: dict[str, str]) -> Decision:
        """Write a decision down and start it; returns the one that says the same if it is the last. Lock held."""
        before = self._book.of(key)
        given = {**given, "job": key, "kind": kind.value}
        decision = Decision.model_validate({**given, "number": len(before) + 1, "decided": moment})
        standing = [one for one in self._store.decisions(key) if one.state != DecisionState.FAILED]
        last = next((one for one in before if standing and one.number == standing[-1].number), None)
        if last is not None and (last.says_the_same(decision) or (last.kind == kind != DecisionKind.SIGN)):
            return last
        self._book.add(decision)
        self._store.add_decision(decision.record())
        return decision

    def _carry_out(self, identifier: str) -> str:
        """The workflow; returns the decision's last state."""
        decision = self._book.read(identifier)
        ticket = self._ticket(decision.job)
        key, number = decision.job, str(decision.number)
        with bind_study(ticket.study):
            try:
                step = self._durable.step
                step("begin", self._begin, key, number)
                edition, states = 0, list[str]()
                if decision.kind == DecisionKind.SIGN:
                    edition = int(step("sign", self._sign, key, number))
                self.changed(key)
                if edition:
                    sent = Parcel(ticket, edition, decision)
                    states = carried(self._durable, self._courier, sent, ticket.destinations, _quietly)
                holders = step("holders", self._holders, key, edition).split()
                back = Parcel(ticket, edition, decision, withdraws=True)
                states += carried(self._durable, self._courier, back, holders, _quietly)
                if edition:
                    for older in step("supersede", self._supersede, key).split():
                        self.start(older)
                return step("finish", self._finish, key, number, states)
            except SegloopError as fault:
                step("fail", self._fail, key, number, fault.code)
                raise plain_error(fault.code) from None

    def _begin(self, key: str, number: str) -> str:
        decision = self._book.read(f"{key}.{number}")
        self._store.add_decision(decision.record())
        past = {DecisionKind.SIGN: "signed", DecisionKind.REJECT: "rejected", DecisionKind.WITHDRAW: "withdrawn"}
        why = {"why": decision.text} if decision.actor == SERVICE else {}
        event = self._ticket(key).event(
            f"result.{past[decision.kind]}", f"decision:{number}", decision.actor, number=number, **why
        )
        self._audit.append(event)
        return "begun"

    def _sign(self, key: str, number: str) -> str:
        """Make the signed form, behind those that were decided on before; returns its number."""
        out, edition = self._ticket(key).task.out, 0
        failed = {one.number for one in self._store.decisions(key) if one.state == DecisionState.FAILED}
        with self._signing:
            for one in self._book.of(key):
                if one.kind == DecisionKind.SIGN and one.number <= int(number) and one.number not in failed:
                    edition = signing.begin(out, one.actor, one.organisation, one.text, one.decided)
                    if not signing.is_complete(out, edition):
                        self._compute(key, signing.write_signed)
            if self._ticket(key).task.forms:
                self._compute(key, forms.write_forms)
        return str(edition)

    def _holders(self, key: str, edition: int) -> str:
        """Names of the destinations that have a form of the result that is to be withdrawn."""
        self._courier.settle()
        held = self._store.holdings(key)
        if edition:
            # Where the signed form has not arrived, the draft stays until it has.
            there = {one.destination for one in self._store.deliveries(key) if one.state == DeliveryState.DONE}
            held = tuple(one for one in held if one.edition < edition and one.destination in there)
        return " ".join(sorted({one.destination for one in held}))

    def _supersede(self, key: str) -> str:
        return " ".join(self.supersede(key))

    def _finish(self, key: str, number: str, states: list[str]) -> str:
        state = DecisionState.UNDELIVERED if DeliveryState.FAILED in states else DecisionState.DONE
        self._store.set_decision(key, int(number), state)
        job = self._store.find_job(key)
        if job is not None and job.state == JobState.UNDELIVERED and state == DecisionState.DONE:
            # What its draft could not be delivered of is outdated, and what took its place has arrived.
            self._store.set_job(key, JobState.DONE)
        _log.info("decision carried out", job=key, state=state)
        return state

    def _fail(self, key: str, number: str, code: str) -> str:
        self._store.set_decision(key, int(number), DecisionState.FAILED, code)
        self._audit.append(self._ticket(key).event("decision.failed", f"decision:{number}", number=number, code=code))
        _log.error("decision failed", job=key, code=code)
        return "failed"


def _quietly(_: str) -> None:
    """Nobody is told: a decision's steps do not show as those of its job."""
