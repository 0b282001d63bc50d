"""Takes results to their destinations, and withdrawals after them: each once, in order, and none that is outdated.

While something is sent to a destination nothing else is, and whether it is still to be sent is looked at inside that
turn. So a result can neither overtake a later decision nor follow it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass

from segloop.audit import AuditLog
from segloop.errors import SegloopError
from segloop.log import get_logger
from segloop.service.decisions import Decision
from segloop.service.outcome import Outcomes
from segloop.service.steps import Durable, Stopping
from segloop.service.ticket import Ticket
from segloop.settings import Destination, Settings
from segloop.store import DecisionKind, DeliveryState, HoldingRecord, Store, delivery

_log = get_logger(__name__)

_LONGEST_PAUSE = 3600.0


@dataclass(frozen=True, slots=True)
class Parcel:
    """What is on its way.

    Attributes:
        ticket: The job.
        edition: Which edition of the result is sent; 0 is the draft.
        decision: What it follows from; None for the draft.
        withdraws: Whether, instead of an edition, the word is sent that earlier ones are not to be used.
    """

    ticket: Ticket
    edition: int = 0
    decision: Decision | None = None
    withdraws: bool = False

    @property
    def step(self) -> str:
        """What audit keys call it; the draft's are those of the first version of this program."""
        kind = "withdraw" if self.withdraws else "deliver"
        return kind if self.decision is None else f"{self.decision.number}:{kind}"


class Courier:
    """The ways to all destinations.

    Args:
        settings: Destinations.
        store: Ledger to keep up to date.
        audit: Trail to write to.
        outcomes: Sends.
        durable: Says when the service stops.
    """

    def __init__(self, settings: Settings, store: Store, audit: AuditLog, outcomes: Outcomes, durable: Durable) -> None:
        self._goals = {goal.name: goal for goal in settings.destination}
        self._store, self._audit, self._outcomes, self._durable = store, audit, outcomes, durable

    def first(self, parcel: Parcel, name: str) -> str:
        """The first try, so that each destination has had one before any is waited for; returns the delivery's state.

        Raises:
            SegloopError: What no further try would change.
        """
        return self._attempt(parcel, name, 1)

    def again(self, parcel: Parcel, names: Sequence[str]) -> str:
        """All further tries; destinations do not wait for each other. Returns `NAME=STATE` of each.

        Raises:
            SegloopError: As `first`.
            Stopping: The service stops.
        """
        with ThreadPoolExecutor(max_workers=len(names), thread_name_prefix="deliver") as pool:
            # Each thread gets a context of its own, which says in log lines which study it is about.
            tries = {name: pool.submit(copy_context().run, self._persist, parcel, name) for name in names}
        return " ".join(f"{name}={one.result()}" for name, one in tries.items())

    def settle(self) -> None:
        """Wait until nothing is being sent that was begun before this was called."""
        for goal in self._goals.values():
            with self._outcomes.turn(goal):
                pass

    def _persist(self, parcel: Parcel, name: str) -> str:
        goal = self._goals.get(name)
        if goal is None:
            return self._attempt(parcel, name, 2)
        for attempt in range(2, goal.attempts + 1):
            if self._durable.stopping.wait(min(goal.retry_seconds * 2 ** (attempt - 2), _LONGEST_PAUSE)):
                raise Stopping
            state = self._attempt(parcel, name, attempt)
            if state != DeliveryState.FAILED:
                return state
        return DeliveryState.FAILED

    def _attempt(self, parcel: Parcel, name: str, attempt: int) -> str:
        key, goal = parcel.ticket.key, self._goals.get(name)
        try:
            state, files = self._try(parcel, name, goal)
        except SegloopError as fault:
            _log.warning("delivery failed", destination=name, code=fault.code, attempt=attempt)
            if not fault.code.startswith("peer.") and fault.code != "disk.full":
                raise
            self._store.add_delivery(delivery(key, name, DeliveryState.FAILED, code=fault.code))
            self._outcomes.note_failure(key, fault)
            return DeliveryState.FAILED
        if state == DeliveryState.DONE and not parcel.withdraws:
            self._note(parcel, "result.sent", name, files)
        late = parcel.decision is None and self._store.is_outdated(key, 0)
        aside = parcel.withdraws and state == DeliveryState.DONE and attempt == 1
        # The row says how the newest thing sent there stands; neither a draft behind a decision nor the note that
        # withdraws what a signed form replaced is that.
        if not late and not aside:
            self._store.add_delivery(delivery(key, name, state, files))
        return state

    def _try(self, parcel: Parcel, name: str, goal: Destination | None) -> tuple[DeliveryState, int]:
        if goal is None:
            return DeliveryState.SKIPPED, 0
        key, decision = parcel.ticket.key, parcel.decision
        if goal.gate == "approved" and decision is None:
            return DeliveryState.WAITING, 0
        with self._outcomes.turn(goal):
            if parcel.withdraws:
                assert decision is not None  # only a decision withdraws
                return self._withdraw(parcel, decision, goal)
            outdated = self._store.is_outdated(key, 0 if decision is None else decision.number)
            if outdated or self._store.is_superseded(key):
                return DeliveryState.SKIPPED, 0
            # Before it is sent: a try that breaks off half-way leaves something there that may have to be withdrawn.
            held = HoldingRecord(job=key, edition=parcel.edition, destination=name)
            self._store.add_holding(held)
            try:
                return DeliveryState.DONE, self._outcomes.deliver(parcel.ticket, goal, parcel.edition)
            except SegloopError as fault:
                if goal.kind in ("hl7", "fhir", "webhook") and fault.code == "peer.refused":
                    self._store.drop_holding(held)  # one message, and the receiver says that it did not take it
                raise

    def _withdraw(self, parcel: Parcel, decision: Decision, goal: Destination) -> tuple[DeliveryState, int]:
        ticket = parcel.ticket
        held = [one for one in self._store.holdings(ticket.key) if one.destination == goal.name]
        held = [one for one in held if parcel.edition == 0 or one.edition < parcel.edition]
        editions = [one.edition for one in held]
        signed = decision.kind == DecisionKind.SIGN
        replaced = decision.replaces or self._has_newer(ticket, goal.name)
        files = self._outcomes.withdraw(ticket, goal, decision, editions, replaced=replaced) if held else 0
        if files:
            # Before it is forgotten what there was to withdraw: a kill in between repeats the rest.
            self._note(parcel, "rejection.sent", goal.name, files)
        for one in held:
            self._store.add_holding(one.model_copy(update={"withdrawn": True}))
        return (DeliveryState.DONE if signed else DeliveryState.WITHDRAWN), files

    def _note(self, parcel: Parcel, action: str, name: str, files: int) -> None:
        self._audit.append(parcel.ticket.event(action, f"{parcel.step}:{name}", destination=name, files=str(files)))

    def _has_newer(self, ticket: Ticket, goal: str) -> bool:
        """Whether the destination has got a newer version's result in the meantime."""
        newer = [job for job in self._store.jobs(ticket.study) if job.model == ticket.model]
        return any(
            one.destination == goal
            for job in newer
            if job.number > ticket.number
            for one in self._store.holdings(job.key)
        )


def parted(states: str) -> dict[str, str]:
    """What `Courier.again` returned."""
    return dict(part.split("=") for part in states.split())


def carried(
    durable: Durable, courier: Courier, parcel: Parcel, names: Sequence[str], began: Callable[[str], None]
) -> list[str]:
    """Take a parcel to destinations in durable steps: one try each, then further ones side by side.

    Args:
        durable: Runs the steps.
        courier: Takes.
        parcel: What.
        names: Where to.
        began: Called with the name of each step as it begins.

    Returns:
        The last state of each delivery; after further tries, of those alone.
    """
    kind, key = ("withdraw" if parcel.withdraws else "deliver"), parcel.ticket.key

    def first(_: str, name: str) -> str:
        began(f"{kind}:{name}")
        return courier.first(parcel, name)

    def again(_: str, missed: list[str]) -> str:
        began(f"re{kind}")
        return courier.again(parcel, missed)

    states = [durable.step(f"{kind}:{name}", first, key, name) for name in names]
    missed = [name for name, state in zip(names, states, strict=True) if state == DeliveryState.FAILED]
    if not missed:
        return states
    return list(parted(durable.step(f"re{kind}", again, key, missed)).values())
