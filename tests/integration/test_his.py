"""Results to a hospital information system, through the whole service: never lost, never doubled, never silent."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

import his_kit
import service_kit as kit
from his_kit import FhirServer, His
from segloop import audit
from segloop.report.messages.hl7 import parse
from segloop.service.mllp import Line, send_message
from segloop.service.running import Service
from segloop.store import DeliveryRecord, DeliveryState, JobRecord, JobState


class Run:
    """A running service that delivers to the destinations given."""

    def __init__(
        self, root: Path, goals: list[dict[str, object]], steps: tuple[kit.Step, ...], **changes: object
    ) -> None:
        quick = {"retry_seconds": 0.1, "timeout_seconds": 1.0}
        self.settings = kit.settings(root, destination=[{**quick, **goal} for goal in goals], **changes)
        self.steps = steps
        self.service: Service = kit.service(self.settings, steps)

    def job(self, state: JobState, seconds: float = 60.0) -> JobRecord:
        kit.wait(lambda: any(job.state == state for job in self.service.store.jobs()), seconds)
        return next(job for job in self.service.store.jobs() if job.state == state)

    def delivery(self, name: str) -> DeliveryRecord:
        return next(one for one in self.service.store.deliveries() if one.destination == name)


@pytest.fixture
def his() -> Iterator[Callable[..., His]]:
    running: list[His] = []

    def begin(*behaviours: str) -> His:
        running.append(His(*behaviours))
        return running[-1]

    yield begin
    for one in running:
        one.stop()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    running: list[Run] = []

    def begin(*goals: dict[str, object], steps: tuple[kit.Step, ...] = his_kit.STEPS, **changes: object) -> Run:
        running.append(Run(tmp_path, list(goals), steps, **changes))
        return running[-1]

    yield begin
    for run in running:
        run.service.stop()


def hl7(server: His, **changes: object) -> dict[str, object]:
    return {"name": "his", "kind": "hl7", "port": server.port, "application": "HIS", **changes}


def test_a_message_gets_through_whatever_the_receiver_does_first(
    tmp_path: Path, his: Callable[..., His], start: Callable[..., Run]
) -> None:
    server = his("nothing", "AE", "AR", "garbage", "half", "close", "midway", "other", "AA")
    run = start(hl7(server, retry_seconds=0.02))
    kit.send_to(run.service.ports.dicom, kit.study(tmp_path / "in", 4))
    job = run.job(JobState.DONE)
    assert len(set(server.received)) == 1, "a retry sends the same bytes"
    assert len(server.received) == 8
    (content,) = server.taken.values()
    message = parse(content)
    assert message.first("PID").get(3) == kit.PATIENT_ID
    assert message.header.get(5) == "HIS"
    assert run.delivery("his").state == DeliveryState.DONE
    rows = audit.events(run.settings.data_dir / "audit.jsonl")
    assert [row.action for row in rows].count("result.sent") == 1
    file = httpx.get(f"{run.service.page}api/v1/jobs/{job.key}/files/oru.hl7")
    assert file.headers["content-type"].startswith("x-application/hl7")


def test_a_result_names_the_order_it_answers(
    tmp_path: Path, his: Callable[..., His], start: Callable[..., Run]
) -> None:
    server = his("AA")
    run = start(hl7(server), orders={"port": 0})
    assert run.service.ports.orders is not None
    order = (
        "MSH|^~\\&|RIS|H|SEGLOOP|S|20260101||ORM^O01|C1|P|2.5.1",
        f"PID|1||{kit.PATIENT_ID}",
        "ORC|NW|PL-1^HIS|FI-1^RIS",
        f"OBR|1|PL-1^HIS|FI-1^RIS|||||||||||||||{kit.ACCESSION}",
    )
    send_message("".join(f"{line}\r" for line in order).encode(), Line(host="127.0.0.1", port=run.service.ports.orders))
    kit.send_to(run.service.ports.dicom, kit.study(tmp_path / "in", 4))
    run.job(JobState.DONE)
    (content,) = server.taken.values()
    for name in ("ORC", "OBR"):
        line = parse(content).first(name)
        assert [line.raw(2), line.raw(3)] == ["PL-1^HIS", "FI-1^RIS"]
    assert parse(content).first("OBR").get(18) == kit.ACCESSION


def test_a_message_that_is_always_refused_is_shown_and_can_be_sent_again_without_doubling_the_others(
    tmp_path: Path, his: Callable[..., His], start: Callable[..., Run]
) -> None:
    stubborn, willing = his("AR"), his("AA")
    run = start(hl7(stubborn, attempts=3), hl7(willing, name="other"))
    kit.send_to(run.service.ports.dicom, kit.study(tmp_path / "in", 4))
    job = run.job(JobState.UNDELIVERED)
    assert len(stubborn.received) == 3
    parked = run.delivery("his")
    assert (parked.state, parked.code) == (DeliveryState.FAILED, "peer.refused")
    shown = httpx.get(f"{run.service.page}api/v1/jobs/{job.key}").json()
    assert {one["destination"]: one["state"] for one in shown["deliveries"]} == {"his": "failed", "other": "done"}
    failure = (run.settings.data_dir / "jobs" / job.key / "failure.json").read_text("utf-8")
    assert json.loads(failure)["found"] == "AR"
    stubborn.behaviours = ["AA"]
    run.service.jobs.retry(job.key)
    run.job(JobState.DONE)
    assert len(stubborn.taken) == 1
    assert len(willing.received) == 1, "what was acknowledged is not sent again"


def test_a_receiver_that_is_down_does_not_keep_the_others_waiting(
    tmp_path: Path, his: Callable[..., His], start: Callable[..., Run]
) -> None:
    down, up = his("AE"), his("AA")
    run = start(hl7(down, retry_seconds=600.0), hl7(up, name="other"))
    kit.send_to(run.service.ports.dicom, kit.study(tmp_path / "in", 4))
    kit.wait(lambda: len(up.taken) == 1, 30)
    assert run.delivery("his").state == DeliveryState.FAILED


def test_a_newer_version_of_a_result_is_not_followed_by_the_older_one(
    tmp_path: Path, his: Callable[..., His], start: Callable[..., Run]
) -> None:
    server = his("nothing", "AA")
    run = start(hl7(server, timeout_seconds=4.0))
    kit.send_to(run.service.ports.dicom, kit.study(tmp_path / "in", 4))
    kit.wait(lambda: len(server.received) >= 1, 30)
    kit.send_to(run.service.ports.dicom, kit.study(tmp_path / "in", 5)[4:])
    run.job(JobState.SUPERSEDED)
    run.job(JobState.DONE)
    first = parse(server.received[0]).control_id
    assert len(server.taken) == 1
    assert first not in server.taken
    assert server.most_at_once == 1, "one message was on the line while another was sent"


def test_a_message_about_another_patient_never_leaves(
    tmp_path: Path, his: Callable[..., His], start: Callable[..., Run]
) -> None:
    server = his("AA")
    run = start(hl7(server), steps=his_kit.ANOTHER)
    kit.send_to(run.service.ports.dicom, kit.study(tmp_path / "in", 4))
    assert run.job(JobState.FAILED).code == "identity.mismatch"
    assert server.received == []


def test_fhir_and_word_of_it_arrive_once(tmp_path: Path, start: Callable[..., Run]) -> None:
    server = FhirServer(503, 500, 200)
    hook = his_kit.Web(lambda *_: (204, b""))
    try:
        run = start(
            {"name": "fhir", "kind": "fhir", "url": f"{server.url}/fhir", "patient_system": "urn:oid:1.2.3"},
            {"name": "hook", "kind": "webhook", "url": hook.url},
        )
        kit.send_to(run.service.ports.dicom, kit.study(tmp_path / "in", 4))
        run.job(JobState.DONE)
        assert len({body for _, _, body in server.requests}) == 1
        reports = [one for one in server.created.values() if one["resourceType"] == "DiagnosticReport"]
        assert [one["subject"]["reference"] for one in reports] == [
            f"Patient?identifier=urn:oid:1.2.3|{kit.PATIENT_ID}"
        ]
        ((_, _, told),) = hook.requests
        assert not [planted for planted in kit.PLANTED if planted in told]
    finally:
        server.stop()
        hook.stop()
