from pathlib import Path

import pytest
from fastapi.testclient import TestClient

import service_kit as kit
from segloop.errors import InputError
from segloop.service.app import View, create_app
from segloop.service.page import Row, language_of, work_list
from segloop.service.quarantine import Quarantine
from segloop.service.serializer import JsonSerializer
from segloop.store import (
    DecisionKind,
    DecisionRecord,
    DecisionState,
    JobRecord,
    JobState,
    Spool,
    Store,
    StudyRecord,
    StudyState,
    now,
)

KEY = "ab" * 32


@pytest.mark.parametrize(
    ("header", "language"),
    [("", "en"), ("zh-CN,zh;q=0.9,en;q=0.8", "zh-CN"), ("en-GB,zh;q=0.5", "en"), ("de,zh", "zh-CN"), ("fr", "en")],
)
def test_the_language_follows_the_browser(header: str, language: str) -> None:
    assert language_of(header) == language


def test_everything_shown_is_escaped() -> None:
    evil = "<script>alert(1)</script>"
    row = Row(evil, evil, 1, evil, evil, evil, evil, ((evil, 1.0),), ((evil, '"><script>'),))
    assert "<script" not in work_list([row], [], "en", evil)


def test_what_a_volume_was_before_stands_beside_it() -> None:
    row = Row(
        "P", "s", 1, "2026", "done", "", "m", (("liver", 2.0), ("new", 1.0)), (), "", ("2025-01-02", {"liver": 1.5})
    )
    page = work_list([row], [], "en", "")
    assert "liver: 2.00 ml (1.50 ml, 2025-01-02)<br>new: 1.00 ml</td>" in page


def test_both_languages_say_research_use() -> None:
    assert "For research use" in work_list([], [], "en", "SEGLOOP@127.0.0.1:11112")
    assert "科研" in work_list([], [], "zh-CN", "SEGLOOP@127.0.0.1:11112")


class Desk:
    """Writes down what it is asked for, and knows one job."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def retry(self, key: str) -> None:
        self._decide(key, None)

    def sign(self, key: str, observer: str, organisation: str, note: str) -> None:
        if not observer:
            raise InputError("no name", code="usage")
        self._decide(key, DecisionKind.SIGN)

    def reject(self, key: str, observer: str, reason: str) -> None:
        self._decide(key, DecisionKind.REJECT)

    def _decide(self, key: str, kind: DecisionKind | None) -> None:
        if key != KEY:
            raise InputError("no such job", code="job.unknown")
        if kind is not None:
            number = len(self._store.decisions(key)) + 1
            queued = DecisionState.QUEUED
            self._store.add_decision(DecisionRecord(job=key, number=number, kind=kind, state=queued, decided=now()))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "l.sqlite")


@pytest.fixture
def client(tmp_path: Path, store: Store) -> TestClient:
    spool, quarantine = Spool(tmp_path / "spool"), Quarantine(tmp_path / "q")
    kit.study(tmp_path / "spool" / "s", 1)
    store.add_study(StudyRecord(study="s", version="v", number=1, files=1, received=now(), state=StudyState.PROCESSED))
    store.add_job(
        JobRecord(
            key=KEY, study="s", version="v", number=1, model="m", state=JobState.QUEUED, created=now(), updated=now()
        )
    )
    quarantine.put_instance("t", "s", InputError("cut <off>"), b"x")

    view = View(tmp_path, store, spool, quarantine, "SEGLOOP@127.0.0.1:1", lambda: True, lambda: 2, Desk(store))
    return TestClient(create_app(view), base_url="http://127.0.0.1:8080")


def test_the_page_shows_the_patient_and_the_rest_does_not(client: TestClient) -> None:
    page = client.get("/").text
    assert "Zyxplanted, Quillara" in page
    assert "cut &lt;off&gt;" in page
    for path in ("/metrics", "/api/v1/studies", "/api/v1/jobs", f"/api/v1/jobs/{KEY}", "/healthz", "/readyz"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert not any(planted in answer.content for planted in kit.PLANTED)


def test_metrics_count(client: TestClient) -> None:
    text = client.get("/metrics").text
    assert 'segloop_jobs{state="queued"} 1' in text
    assert "segloop_open_studies 2" in text


def test_security_headers_and_foreign_hosts(client: TestClient) -> None:
    headers = client.get("/").headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert client.get("/", headers={"host": "evil.example"}).status_code == 421
    assert client.get("/", headers={"host": "localhost:8080"}).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        f"/api/v1/jobs/{'cd' * 32}",
        f"/api/v1/jobs/{KEY}/files/result.json",
        f"/api/v1/jobs/{KEY}/files/ticket.json",
        f"/api/v1/jobs/{KEY}/files/..%2f..%2fsecret.key",
        f"/api/v1/jobs/..%2f..%2f{KEY}",
    ],
)
def test_what_is_no_result_is_not_served(client: TestClient, path: str) -> None:
    assert client.get(path).status_code in (404, 422)


def test_a_retry_needs_a_header_that_foreign_pages_cannot_send(client: TestClient) -> None:
    assert client.post(f"/api/v1/jobs/{KEY}/retry").status_code == 422
    assert client.post(f"/api/v1/jobs/{KEY}/retry", headers={"X-Segloop": "1"}).status_code == 202
    assert client.post(f"/api/v1/jobs/{'cd' * 32}/retry", headers={"X-Segloop": "1"}).status_code == 409


def test_nothing_else_can_be_changed(client: TestClient) -> None:
    assert client.post("/api/v1/jobs").status_code == 405
    assert client.delete(f"/api/v1/jobs/{KEY}").status_code == 405


def test_an_error_in_the_database_is_its_code_only() -> None:
    serializer = JsonSerializer()
    text = serializer.serialize(InputError("study of DOE^JANE", code="input.two_patients"))
    assert "DOE" not in text
    assert serializer.deserialize(text).code == "input.two_patients"
    assert "DOE" not in serializer.serialize(KeyError("DOE^JANE"))
    assert serializer.deserialize(serializer.serialize({"args": ["k"]})) == {"args": ["k"]}


HEADER = {"X-Segloop": "test"}


def test_decisions_need_the_header_and_a_body_and_show_what_they_did(client: TestClient) -> None:
    signed = {"observer": "Li^Wei", "organisation": "H"}
    assert client.post(f"/api/v1/jobs/{KEY}/sign", json=signed).status_code == 422
    assert client.post(f"/api/v1/jobs/{KEY}/sign", json={**signed, "evil": 1}, headers=HEADER).status_code == 422
    assert client.post(f"/api/v1/jobs/{KEY}/sign", json={**signed, "observer": ""}, headers=HEADER).status_code == 422
    assert client.post(f"/api/v1/jobs/{'cd' * 32}/sign", json=signed, headers=HEADER).status_code == 409
    assert client.get(f"/api/v1/jobs/{KEY}").json()["standing"] == "draft"
    assert client.post(f"/api/v1/jobs/{KEY}/sign", json=signed, headers=HEADER).status_code == 202
    shown = client.get(f"/api/v1/jobs/{KEY}")
    assert shown.json()["standing"] == "signed"
    assert b"Li^Wei" not in shown.content
    assert "· signed" in client.get("/").text
    assert "已签名" in client.get("/", headers={"accept-language": "zh"}).text
    rejected = {"observer": "Li^Wei", "reason": "wrong side"}
    assert client.post(f"/api/v1/jobs/{KEY}/reject", json=rejected).status_code == 422
    assert client.post(f"/api/v1/jobs/{KEY}/reject", json=rejected, headers=HEADER).status_code == 202
    shown = client.get(f"/api/v1/jobs/{KEY}")
    assert shown.json()["standing"] == "rejected"
    assert [one["kind"] for one in shown.json()["decisions"]] == ["sign", "reject"]
    assert b"wrong side" not in shown.content


def test_a_signed_file_that_is_not_there_is_not_served(client: TestClient) -> None:
    assert client.get(f"/api/v1/jobs/{KEY}/signed/1/files/result.json").status_code == 404
    assert client.get(f"/api/v1/jobs/{KEY}/signed/0/files/result.json").status_code == 422


def test_a_decision_that_could_not_be_carried_out_is_shown(client: TestClient, store: Store) -> None:
    signed = {"observer": "Li^Wei", "organisation": "H"}
    assert client.post(f"/api/v1/jobs/{KEY}/sign", json=signed, headers=HEADER).status_code == 202
    store.set_decision(KEY, 1, DecisionState.FAILED, "input.changed")
    page = client.get("/").text
    assert "sign failed input.changed" in page
    assert "· signed" not in page
    assert client.get(f"/api/v1/jobs/{KEY}").json()["standing"] == "draft"
