"""Results posted to web addresses: a yes counts only when it says so of everything that was sent."""

from __future__ import annotations

import email
import hashlib
import hmac
import json
import ssl
from collections.abc import Callable, Iterator
from email import policy
from pathlib import Path

import pytest

import service_kit as kit
from his_kit import FhirServer, Web
from segloop.errors import ServiceError
from segloop.io.web import Endpoint
from segloop.service.outbox import Channel, notice
from segloop.service.web import send_bundle, send_notice, send_objects
from segloop.settings import Destination

CONTEXT = ssl.create_default_context()
ENTRY = {
    "resource": {"resourceType": "Device"},
    "request": {"method": "POST", "url": "Device", "ifNoneExist": "identifier=a|1"},
}
BUNDLE = json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": [ENTRY]}).encode()


@pytest.fixture
def web() -> Iterator[Callable[..., Web]]:
    running: list[Web] = []

    def begin(status: int = 200, body: bytes = b"{}") -> Web:
        running.append(Web(lambda *_: (status, body)))
        return running[-1]

    yield begin
    for one in running:
        one.stop()


@pytest.fixture
def fhir() -> Iterator[Callable[..., FhirServer]]:
    running: list[FhirServer] = []

    def begin(*states: int) -> FhirServer:
        running.append(FhirServer(*states))
        return running[-1]

    yield begin
    for one in running:
        one.stop()


def test_a_transaction_is_done_once_however_often_it_is_sent(fhir: Callable[..., FhirServer]) -> None:
    server = fhir()
    base = Endpoint(url=f"{server.url}/fhir")
    for _ in range(2):
        send_bundle(BUNDLE, base, CONTEXT, "secret")
    assert len(server.created) == 1
    path, headers, body = server.requests[0]
    assert (path, body, headers["authorization"]) == ("/fhir", BUNDLE, "Bearer secret")
    assert headers["content-type"] == "application/fhir+json"


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (500, b"", "peer.unavailable"),
        (503, b"", "peer.unavailable"),
        (429, b"", "peer.unavailable"),
        (412, b"", "peer.refused"),
        (401, b"", "peer.refused"),
        (302, b"", "peer.refused"),
        (200, b"", "peer.garbled"),
        (200, b"<html>Zyxplanted</html>", "peer.garbled"),
        (200, b"[]", "peer.garbled"),
        (200, b'{"type": "searchset", "entry": [{"response": {"status": "201"}}]}', "peer.garbled"),
        (200, b'{"type": "transaction-response", "entry": []}', "peer.garbled"),
        (200, b'{"type": "transaction-response", "entry": [{}]}', "peer.garbled"),
        (200, b'{"type": "transaction-response", "entry": [{"response": {"status": "422 No"}}]}', "peer.refused"),
    ],
)
def test_what_is_no_yes_to_a_transaction(web: Callable[..., Web], status: int, body: bytes, code: str) -> None:
    server = web(status, body)
    with pytest.raises(ServiceError) as caught:
        send_bundle(BUNDLE, Endpoint(url=server.url, timeout_seconds=5), CONTEXT)
    assert caught.value.code == code
    assert "Zyxplanted" not in json.dumps(caught.value.as_document())
    assert len(server.requests) == 1, "nothing may be followed elsewhere"


def test_nobody_there(web: Callable[..., Web]) -> None:
    server = web()
    server.stop()
    with pytest.raises(ServiceError) as caught:
        send_bundle(BUNDLE, Endpoint(url=server.url, timeout_seconds=2), CONTEXT)
    assert caught.value.code == "peer.unavailable"


def test_objects_are_stored_as_they_lie_on_disk(web: Callable[..., Web], tmp_path: Path) -> None:
    files = kit.study(tmp_path, 2)
    server = web(200, b'{"00081199": {"vr": "SQ", "Value": [{}, {}]}}')
    assert send_objects(files, Endpoint(url=f"{server.url}/dicom-web/"), CONTEXT) == 2
    path, headers, body = server.requests[0]
    assert path == "/dicom-web/studies"
    told = f"Content-Type: {headers['content-type']}\r\n\r\n".encode()
    parts = list(email.message_from_bytes(told + body, policy=policy.HTTP).iter_parts())
    assert [part.get_content_type() for part in parts] == ["application/dicom"] * 2
    # The parser takes the line break before a boundary away, as the format says.
    assert [part.get_payload(decode=True) for part in parts] == [path.read_bytes() for path in files]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"00081198": {"vr": "SQ", "Value": [{}]}, "00081199": {"vr": "SQ", "Value": [{}]}}', "peer.refused"),
        (b'{"00081199": {"vr": "SQ", "Value": [{}]}}', "peer.garbled"),
        (b"{}", "peer.garbled"),
    ],
)
def test_an_object_that_was_not_taken_is_noticed(
    web: Callable[..., Web], tmp_path: Path, body: bytes, code: str
) -> None:
    with pytest.raises(ServiceError) as caught:
        send_objects(kit.study(tmp_path, 2), Endpoint(url=web(202, body).url), CONTEXT)
    assert caught.value.code == code


def test_word_of_a_result_is_signed_and_names_nobody(web: Callable[..., Web], tmp_path: Path) -> None:
    server = web(204, b"")
    secret = tmp_path / "secret"
    secret.write_text("key\n", encoding="utf-8")
    goal = Destination(name="hook", kind="webhook", url=f"{server.url}/hook", token_file=secret)
    told = notice("result.ready", "ab" * 32, "cd" * 16, "liver")
    for _ in range(2):
        Channel(goal).send_once(told, tmp_path / "receipts")
    ((path, headers, body),) = server.requests
    assert (path, body) == ("/hook", told)
    assert headers["x-segloop-signature"] == "sha256=" + hmac.new(b"key", told, hashlib.sha256).hexdigest()
    assert json.loads(body)["event"] == "result.ready"
    with pytest.raises(ServiceError):
        send_notice(told, Endpoint(url=web(404).url), CONTEXT)
