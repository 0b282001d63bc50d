"""Orders by HL7: kept before they are acknowledged, used for the right patient only."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import service_kit as kit
from his_kit import certificate
from segloop.errors import InputError, ServiceError
from segloop.io.dicom import SeriesRef, scan
from segloop.report.messages import Order
from segloop.report.messages.hl7 import parse
from segloop.service.listener import Listener
from segloop.service.mllp import Line, framed, send_message
from segloop.service.orders import Orders
from segloop.service.outbox import Channel
from segloop.settings import Destination, OrderSettings
from segloop.store import Tokens

TOKENS = Tokens(b"k" * 32)
HEAD = "MSH|^~\\&|RIS|HOSP|SEGLOOP|SEGLOOP|20260101||{kind}|C1|P|2.5.1||||||UNICODE UTF-8"
PID = f"PID|1||{kit.PATIENT_ID}^^^HOSP||Zyxplanted^Quillara"
ORM = (
    HEAD.format(kind="ORM^O01^ORM_O01"),
    PID,
    "ORC|{control}|PL-1^HIS|FI-1^RIS",
    f"OBR|1|PL-1^HIS|FI-1^RIS|||||||||||||||{kit.ACCESSION}",
)
OMI = (
    HEAD.format(kind="OMI^O23^OMI_O23"),
    PID,
    "ORC|NW|PL-2^HIS|FI-2^RIS",
    "OBR|1|PL-2^HIS|FI-2^RIS",
    f"IPC|OTHER-ACC|P1|{kit.STUDY_UID}|S1",
)


def written(*lines: str, control: str = "NW", patient: str = kit.PATIENT_ID) -> bytes:
    text = "".join(f"{line}\r" for line in lines)
    return text.replace("{control}", control).replace(kit.PATIENT_ID, patient).encode()


@pytest.fixture
def orders(tmp_path: Path) -> Orders:
    return Orders(tmp_path / "orders", TOKENS)


@pytest.fixture
def series(tmp_path: Path) -> SeriesRef:
    kit.study(tmp_path / "study", 3)
    return scan(tmp_path / "study")[0]


def verdict(answer: bytes) -> tuple[str, str]:
    line = parse(answer).first("MSA")
    return line.get(1), line.get(2)


def test_an_order_is_found_by_accession_number_or_study(orders: Orders, series: SeriesRef) -> None:
    assert orders.find(series) is None
    assert verdict(orders.take(written(*ORM))) == ("AA", "C1")
    assert orders.find(series) == Order("PL-1", "FI-1", "HIS", "RIS", kit.ACCESSION)
    assert verdict(orders.take(written(*OMI))) == ("AA", "C1")
    assert orders.find(series) == Order("PL-2", "FI-2", "HIS", "RIS", "OTHER-ACC")


def test_an_order_of_another_patient_is_not_used(orders: Orders, series: SeriesRef) -> None:
    for patient in ("SOMEBODY-ELSE", ""):
        orders.take(written(*ORM, patient=patient))
        assert orders.find(series) is None


def test_a_change_replaces_and_a_cancellation_withdraws(orders: Orders, series: SeriesRef) -> None:
    orders.take(written(*ORM))
    orders.take(written(*(line.replace("PL-1", "PL-9") for line in ORM), control="XO"))
    assert orders.find(series) == Order("PL-9", "FI-1", "HIS", "RIS", kit.ACCESSION)
    assert verdict(orders.take(written(*ORM, control="CA"))) == ("AA", "C1")
    assert orders.find(series) is None


def test_another_kind_of_message_is_refused_and_garbage_not_answered(orders: Orders) -> None:
    assert verdict(orders.take(written(HEAD.format(kind="ADT^A08"), PID))) == ("AR", "C1")
    with pytest.raises(InputError):
        orders.take(b"GET / HTTP/1.1\r\n")


@pytest.mark.skipif(os.name == "nt", reason="needs a folder that cannot be made")
def test_what_could_not_be_kept_is_not_acknowledged(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert verdict(Orders(tmp_path / "file" / "orders", TOKENS).take(written(*ORM))) == ("AE", "C1")


def test_no_name_of_a_file_says_whose_order_it_is(orders: Orders, tmp_path: Path) -> None:
    orders.take(written(*OMI))
    names = [path.name for path in (tmp_path / "orders").iterdir()]
    assert len(names) == 2
    assert not [name for name in names for planted in ("PLANTED", kit.STUDY_UID, "OTHER-ACC") if planted in name]


@pytest.fixture
def listener(orders: Orders) -> Iterator[Listener]:
    running = Listener(OrderSettings(port=0, timeout_seconds=5), orders.take)
    yield running
    running.stop()


def test_messages_come_over_the_line_in_pieces_and_in_a_row(
    listener: Listener, orders: Orders, series: SeriesRef
) -> None:
    send_message(written(*ORM), Line(host="127.0.0.1", port=listener.port, timeout_seconds=5))
    both = framed(written(*ORM)) + framed(written(*OMI))
    with socket.create_connection(("127.0.0.1", listener.port), timeout=5) as line:
        for start in range(0, len(both), 50):
            line.sendall(both[start : start + 50])
        answers = b""
        while answers.count(b"\x1c\r") < 2:
            answers += line.recv(4096)
    assert answers.count(b"MSA|AA|C1") == 2
    assert orders.find(series) == Order("PL-2", "FI-2", "HIS", "RIS", "OTHER-ACC")


@pytest.mark.parametrize("content", [b"GET / HTTP/1.1\r\n\r\n\x1c\r", b"\x0bno message\x1c\r", b"x" * (2 << 20)])
def test_garbage_ends_the_connection_and_not_the_listener(
    listener: Listener, content: bytes, orders: Orders, series: SeriesRef
) -> None:
    with socket.create_connection(("127.0.0.1", listener.port), timeout=5) as line:
        try:
            line.sendall(content)
            assert line.recv(1) == b""
        except ConnectionError:
            pass
    send_message(written(*ORM), Line(host="127.0.0.1", port=listener.port, timeout_seconds=5))
    assert orders.find(series) is not None


@pytest.mark.peer
def test_with_a_certificate_orders_come_by_tls_only_and_from_senders_that_prove_who_they_are(
    orders: Orders, series: SeriesRef, tmp_path: Path, require_peer: Callable[[str], Path]
) -> None:
    ours, theirs = (certificate(require_peer("openssl"), tmp_path, name) for name in ("localhost", "ris"))
    running = Listener(OrderSettings(port=0, certificate=ours, ca=theirs, timeout_seconds=5), orders.take)
    known = {"name": "ris", "kind": "hl7", "host": "localhost", "port": running.port, "timeout_seconds": 5}
    try:
        for refused in ({}, {"tls": True, "ca": ours}):
            with pytest.raises(ServiceError):
                Channel(Destination.model_validate({**known, **refused})).send_once(written(*ORM), tmp_path)
        assert orders.find(series) is None
        proven = {"tls": True, "ca": ours, "certificate": theirs}
        Channel(Destination.model_validate({**known, **proven})).send_once(written(*ORM), tmp_path)
        assert orders.find(series) == Order("PL-1", "FI-1", "HIS", "RIS", kit.ACCESSION)
    finally:
        running.stop()


def test_a_certificate_that_is_not_there_stops_the_start(orders: Orders, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="orders"):
        Listener(OrderSettings(port=0, certificate=tmp_path / "absent.pem"), orders.take)


def test_old_orders_are_forgotten_and_newer_ones_are_not(tmp_path: Path, series: SeriesRef) -> None:
    folder = tmp_path / "orders"
    kept = Orders(folder, TOKENS, keep_days=30)
    kept.take(written(*ORM))
    now = datetime.now(UTC)
    assert kept.forget(now + timedelta(days=29)) == 0
    assert kept.find(series) is not None
    assert kept.forget(now + timedelta(days=31)) == 1
    assert kept.find(series) is None
    assert list(folder.iterdir()) == []
    kept.take(written(*ORM))
    (path,) = folder.iterdir()
    path.write_bytes(b"{")
    assert Orders(folder, TOKENS, keep_days=0.001).forget(now + timedelta(days=99)) == 0
    assert path.exists(), "what cannot be read is left for a person to look at"


def test_without_a_limit_every_order_is_kept(orders: Orders, series: SeriesRef) -> None:
    orders.take(written(*ORM))
    assert orders.forget(datetime.now(UTC) + timedelta(days=9999)) == 0
    assert orders.find(series) is not None
