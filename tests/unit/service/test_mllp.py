"""One HL7 message out, one acknowledgement back: nothing is taken for a yes that is none."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from his_kit import His, certificate
from segloop.errors import InputError, ServiceError
from segloop.report.messages.hl7 import message, segment
from segloop.service.mllp import Line, send_message
from segloop.service.outbox import Channel
from segloop.settings import Destination

MESSAGE = message(
    segment("MSH", (9, "ORU^R01^ORU_R01"), (10, "ID7"), (11, "P"), (12, "2.5.1"), (18, "UNICODE UTF-8")),
    segment("OBX", (1, "1"), (2, "TX"), (5, "王" * 5000)),
)


@pytest.fixture
def his() -> Iterator[Callable[..., His]]:
    running: list[His] = []

    def begin(*behaviours: str, context: ssl.SSLContext | None = None) -> His:
        running.append(His(*behaviours, context=context))
        return running[-1]

    yield begin
    for one in running:
        one.stop()


def line(his: His, seconds: float = 5.0) -> Line:
    return Line(host="127.0.0.1", port=his.port, timeout_seconds=seconds)


@pytest.mark.parametrize("behaviour", ["AA", "CA"])
def test_an_accepted_message_arrives_as_it_is(his: Callable[..., His], behaviour: str) -> None:
    server = his(behaviour)
    send_message(MESSAGE, line(server))
    assert server.taken == {"ID7": MESSAGE}


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        ("AE", "peer.refused"),
        ("AR", "peer.refused"),
        ("nothing", "peer.unavailable"),
        ("close", "peer.unavailable"),
        ("half", "peer.unavailable"),
        ("midway", "peer.unavailable"),
        ("garbage", "peer.garbled"),
        ("other", "peer.garbled"),
    ],
)
def test_everything_else_is_an_error_that_quotes_nobody(his: Callable[..., His], behaviour: str, code: str) -> None:
    with pytest.raises(ServiceError) as caught:
        send_message(MESSAGE, line(his(behaviour), 1.0))
    assert caught.value.code == code
    assert "Zyxplanted" not in json.dumps(caught.value.as_document())


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(ServiceError) as caught:
        send_message(MESSAGE, Line(host="127.0.0.1", port=port, timeout_seconds=2))
    assert caught.value.code == "peer.unavailable"


def test_what_was_acknowledged_is_not_sent_again_and_what_changed_is(his: Callable[..., His], tmp_path: Path) -> None:
    server = his("AE", "AA")
    goal = Destination(name="his", kind="hl7", port=server.port)
    with pytest.raises(ServiceError):
        Channel(goal).send_once(MESSAGE, tmp_path)
    for _ in range(3):
        Channel(goal).send_once(MESSAGE, tmp_path)
    assert len(server.received) == 2
    Channel(goal).send_once(MESSAGE.replace(b"ID7", b"ID8"), tmp_path)
    assert list(server.taken) == ["ID7", "ID8"]


def test_a_file_of_the_settings_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'his'"):
        Channel(Destination(name="his", kind="hl7", port=1, tls=True, ca=tmp_path / "absent.pem"))


@pytest.mark.peer
def test_tls_needs_a_certificate_for_the_name_from_an_authority_that_is_trusted(
    his: Callable[..., His], tmp_path: Path, require_peer: Callable[[str], Path]
) -> None:
    openssl = require_peer("openssl")
    known, stranger = (certificate(openssl, tmp_path, name) for name in ("localhost", "his.example"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(known)
    server = his("AA", context=context)

    def send(ca: Path | None, host: str) -> None:
        goal = Destination(name="his", kind="hl7", host=host, port=server.port, tls=True, ca=ca, timeout_seconds=5)
        Channel(goal).send_once(MESSAGE, tmp_path / "receipts")

    for ca, host in ((None, "localhost"), (stranger, "localhost"), (known, "127.0.0.1")):
        with pytest.raises(ServiceError) as caught:
            send(ca, host)
        assert caught.value.code == "peer.untrusted"
    assert server.received == []
    send(known, "localhost")
    assert list(server.taken) == ["ID7"]


@pytest.mark.peer
def test_a_receiver_may_ask_who_we_are(
    his: Callable[..., His], tmp_path: Path, require_peer: Callable[[str], Path]
) -> None:
    openssl = require_peer("openssl")
    theirs, ours = (certificate(openssl, tmp_path, name) for name in ("localhost", "segloop"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(theirs)
    context.load_verify_locations(ours)
    context.verify_mode = ssl.CERT_REQUIRED
    server = his("AA", context=context)
    known = {"name": "his", "kind": "hl7", "host": "localhost", "port": server.port, "tls": True, "ca": theirs}
    with pytest.raises(ServiceError):
        Channel(Destination.model_validate(known)).send_once(MESSAGE, tmp_path)
    Channel(Destination.model_validate({**known, "certificate": ours})).send_once(MESSAGE, tmp_path)
    assert list(server.taken) == ["ID7"]
