"""What is sent, what is not sent any more, and what is remembered of it, without anything on the line."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path

import pytest

import service_kit as kit
from segloop.audit import AuditLog, events
from segloop.errors import PrivacyError, SegloopError, ServiceError
from segloop.service.courier import Courier, Parcel
from segloop.service.decisions import Decision
from segloop.service.outcome import Outcomes
from segloop.service.steps import Durable
from segloop.service.ticket import Ticket
from segloop.settings import Destination
from segloop.store import DecisionKind, DeliveryState, JobRecord, JobState, Store, now
from segloop.study import StudyTask

KEY, OTHER = "ab" * 32, "cd" * 32


class Line(Outcomes):
    """In place of every receiver: fails as told, and writes down what was asked of it."""

    def __init__(self) -> None:
        self.fault: SegloopError | None = None
        self.sent: list[tuple[str, int]] = []
        self.withdrawn: list[tuple[str, tuple[int, ...], bool]] = []
        self._turns: dict[str, threading.Lock] = {}

    def turn(self, goal: Destination) -> AbstractContextManager[object]:
        return self._turns.setdefault(goal.name, threading.Lock())

    def deliver(self, ticket: Ticket, goal: Destination, edition: int = 0) -> int:
        if self.fault is not None:
            raise self.fault
        self.sent.append((goal.name, edition))
        return 3

    def withdraw(self, ticket, goal, decision, editions, *, replaced):  # type: ignore[no-untyped-def]
        if self.fault is not None:
            raise self.fault
        self.withdrawn.append((goal.name, tuple(editions), replaced))
        return 1

    def note_failure(self, key: str, fault: SegloopError) -> None:
        pass


class Desk:
    """A courier with three destinations and a real ledger and trail."""

    def __init__(self, root: Path) -> None:
        goals = [
            {"name": "pacs", "kind": "dicom"},
            {"name": "his", "kind": "hl7", "port": 1},
            {"name": "sealed", "kind": "folder", "folder": "f", "gate": "approved"},
        ]
        self.store, self.line, self.trail = Store(root / "l.sqlite"), Line(), root / "audit.jsonl"
        settings = kit.settings(root, destination=goals)
        self.courier = Courier(settings, self.store, AuditLog(self.trail), self.line, Durable(self.line))
        self.ticket = self.job(KEY, 1)

    def job(self, key: str, number: int) -> Ticket:
        task = StudyTask(source=Path("in"), out=Path("out"), model="m")
        places = ("pacs", "his", "sealed")
        ticket = Ticket(
            key=key, study="s", version="v", number=number, model="m", task=task, destinations=places, created=now()
        )
        state = JobState.RUNNING
        record = JobRecord(
            key=key, study="s", version="v", number=number, model="m", state=state, created=now(), updated=now()
        )
        self.store.add_job(record)
        return ticket

    def decided(self, kind: DecisionKind, number: int = 1) -> Decision:
        decision = Decision(job=KEY, number=number, kind=kind, actor="Li^Wei", decided=datetime.now(UTC))
        self.store.add_decision(decision.record())
        return decision

    def held(self) -> list[tuple[str, int]]:
        return [(one.destination, one.edition) for one in self.store.holdings(KEY)]

    def rows(self) -> dict[str, str]:
        return {one.destination: one.state for one in self.store.deliveries(KEY)}

    def actions(self) -> list[str]:
        return [one.action for one in events(self.trail)]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_draft_goes_where_drafts_go_and_waits_where_they_do_not(desk: Desk) -> None:
    states = [desk.courier.first(Parcel(desk.ticket), name) for name in desk.ticket.destinations]
    assert states == [DeliveryState.DONE, DeliveryState.DONE, DeliveryState.WAITING]
    assert desk.line.sent == [("pacs", 0), ("his", 0)]
    assert desk.held() == [("his", 0), ("pacs", 0)]
    assert desk.rows() == {"pacs": "done", "his": "done", "sealed": "waiting"}


def test_what_may_have_arrived_in_part_is_remembered_and_what_was_refused_is_not(desk: Desk) -> None:
    desk.line.fault = ServiceError("broke off")
    assert desk.courier.first(Parcel(desk.ticket), "pacs") == DeliveryState.FAILED
    assert desk.courier.first(Parcel(desk.ticket), "his") == DeliveryState.FAILED
    assert desk.held() == [("his", 0), ("pacs", 0)]
    desk.line.fault = ServiceError("AR", code="peer.refused")
    desk.courier.first(Parcel(desk.ticket), "pacs")
    desk.courier.first(Parcel(desk.ticket), "his")
    assert desk.held() == [("pacs", 0)], "an archive that refuses one object may have taken those before it"
    assert desk.actions() == []


def test_what_no_further_try_would_change_stops_the_job(desk: Desk) -> None:
    desk.line.fault = PrivacyError("another patient", code="identity.mismatch")
    with pytest.raises(PrivacyError):
        desk.courier.first(Parcel(desk.ticket), "pacs")


def test_a_draft_behind_a_decision_is_not_sent_and_leaves_no_trace(desk: Desk) -> None:
    signed = desk.decided(DecisionKind.SIGN)
    assert desk.courier.first(Parcel(desk.ticket, 1, signed), "his") == DeliveryState.DONE
    assert desk.courier.first(Parcel(desk.ticket), "his") == DeliveryState.SKIPPED
    assert desk.line.sent == [("his", 1)]
    assert desk.rows() == {"his": "done"}
    desk.decided(DecisionKind.REJECT, 2)
    assert desk.courier.first(Parcel(desk.ticket, 1, signed), "pacs") == DeliveryState.SKIPPED


def test_a_signature_withdraws_what_was_there_before_it_and_a_rejection_everything(desk: Desk) -> None:
    desk.courier.first(Parcel(desk.ticket), "pacs")
    signed = desk.decided(DecisionKind.SIGN)
    desk.courier.first(Parcel(desk.ticket, 1, signed), "pacs")
    back = Parcel(desk.ticket, 1, signed, withdraws=True)
    assert desk.courier.first(back, "pacs") == DeliveryState.DONE
    assert desk.courier.first(back, "pacs") == DeliveryState.DONE
    assert desk.line.withdrawn == [("pacs", (0,), True)]
    assert desk.held() == [("pacs", 1)]
    assert desk.rows() == {"pacs": "done"}
    rejected = Parcel(desk.ticket, 0, desk.decided(DecisionKind.REJECT, 2), withdraws=True)
    desk.line.fault = ServiceError("down")
    assert desk.courier.first(rejected, "pacs") == DeliveryState.FAILED
    assert desk.held() == [("pacs", 1)], "it is not forgotten before it was told"
    desk.line.fault = None
    assert desk.courier.first(rejected, "pacs") == DeliveryState.WITHDRAWN
    assert desk.line.withdrawn[1:] == [("pacs", (1,), False)]
    assert desk.held() == []
    assert desk.actions() == ["result.sent", "result.sent", "rejection.sent", "rejection.sent"]


def test_a_withdrawal_knows_whether_the_receiver_has_something_newer(desk: Desk) -> None:
    desk.courier.first(Parcel(desk.ticket), "his")
    desk.courier.first(Parcel(desk.ticket), "pacs")
    newer = desk.job(OTHER, 2)
    desk.courier.first(Parcel(newer), "his")
    back = Parcel(desk.ticket, 0, desk.decided(DecisionKind.WITHDRAW), withdraws=True)
    for name in ("his", "pacs"):
        desk.courier.first(back, name)
    assert desk.line.withdrawn == [("his", (0,), True), ("pacs", (0,), False)]
    assert desk.courier.first(Parcel(desk.ticket), "his") == DeliveryState.SKIPPED
