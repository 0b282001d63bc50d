import json
from pathlib import Path

import pytest

from segloop.audit import AuditLog, Event, verify
from segloop.errors import ServiceError


@pytest.fixture
def trail(tmp_path: Path) -> Path:
    log = AuditLog(tmp_path / "audit.jsonl")
    for number in range(5):
        assert log.append(
            Event(key=f"k{number}", action="job.started", subject=f"s{number}", detail={"n": str(number)})
        )
    return tmp_path / "audit.jsonl"


def test_an_intact_trail_verifies(trail: Path) -> None:
    assert verify(trail) == 5


def test_the_same_key_is_recorded_once_also_after_a_restart(trail: Path) -> None:
    log = AuditLog(trail)
    assert not log.append(Event(key="k3", action="job.started"))
    assert log.append(Event(key="k9", action="job.finished"))
    assert verify(trail) == 6
    assert log.tail(2)[-1].key == "k9"


def edited(lines: list[str]) -> list[str]:
    row = json.loads(lines[2])
    row["event"]["subject"] = "somebody else"
    return [*lines[:2], json.dumps(row), *lines[3:]]


@pytest.mark.parametrize(
    "tamper",
    [
        edited,
        lambda lines: [*lines[:2], *lines[3:]],
        lambda lines: lines[1:],
        lambda lines: lines[:-1],
        lambda lines: [lines[0], lines[2], lines[1], *lines[3:]],
        lambda lines: [*lines, lines[-1]],
        lambda lines: [*lines[:2], "{}", *lines[3:]],
        lambda lines: [],
    ],
    ids=["edited", "removed", "first removed", "cut off", "moved", "repeated", "garbage", "emptied"],
)
def test_tampering_is_noticed_and_nothing_is_appended(trail: Path, tamper) -> None:  # type: ignore[no-untyped-def]
    lines = trail.read_text("utf-8").splitlines()
    trail.write_text("".join(line + "\n" for line in tamper(lines)), encoding="utf-8")
    for attempt in (lambda: verify(trail), lambda: AuditLog(trail)):
        with pytest.raises(ServiceError) as caught:
            attempt()
        assert caught.value.code == "audit.broken"


def test_a_row_torn_by_a_power_cut_is_dropped(trail: Path) -> None:
    with trail.open("ab") as stream:
        stream.write(b'{"number": 6, "time": "20')
    log = AuditLog(trail)
    assert log.append(Event(key="k6", action="job.started"))
    assert verify(trail) == 6


def test_a_kill_between_row_and_head_loses_nothing(trail: Path) -> None:
    head = trail.with_name("audit.jsonl.head")
    before = head.read_bytes()
    AuditLog(trail).append(Event(key="k6", action="job.started"))
    head.write_bytes(before)
    assert verify(trail) == 6
    assert not AuditLog(trail).append(Event(key="k6", action="job.started"))


def test_a_failed_write_fails_the_step_and_every_later_one(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    log = AuditLog(path)
    log.append(Event(key="a", action="job.started"))
    path.rename(tmp_path / "moved")
    path.mkdir()
    with pytest.raises(ServiceError) as first:
        log.append(Event(key="b", action="job.started"))
    assert first.value.code == "disk.full"
    with pytest.raises(ServiceError) as second:
        log.append(Event(key="c", action="job.started"))
    assert second.value.code == "audit.broken"
