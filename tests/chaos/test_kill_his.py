"""kill -9 while a message is on its way to a HIS: it gets there, as one message, whenever the kill comes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import service_kit as kit
from his_kit import His
from segloop.store import DeliveryState, JobState, Store

pytestmark = pytest.mark.chaos


class Killable:
    """The service in another process."""

    def __init__(self, root: Path, his: His) -> None:
        self.data = root / "data"
        self._command = [sys.executable, str(Path(__file__).with_name("killed_his.py")), str(root), str(his.port)]
        self.start()

    def start(self) -> None:
        (self.data / "ports.json").unlink(missing_ok=True)
        self.process = subprocess.Popen(self._command, stderr=subprocess.DEVNULL)
        kit.wait((self.data / "ports.json").exists, 60)
        self.children = psutil.Process(self.process.pid).children(recursive=True)

    @property
    def port(self) -> int:
        return int(json.loads((self.data / "ports.json").read_text("utf-8"))["dicom"])

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)

    def died(self) -> None:
        self.process.wait(timeout=90)
        # The worker ends by itself when its parent is gone.
        _, alive = psutil.wait_procs(self.children, timeout=20)
        assert not alive

    def finished(self) -> bool:
        store = Store(self.data / "segloop.sqlite")
        try:
            return any(job.state == JobState.DONE for job in store.jobs())
        finally:
            store.close()


@pytest.fixture
def his() -> Iterator[His]:
    running = His()
    yield running
    running.stop()


def got_there_once(killable: Killable, his: His) -> None:
    kit.wait(killable.finished, 90)
    killable.kill()
    killable.died()
    assert len(set(his.received)) == 1
    assert len(his.taken) == 1
    store = Store(killable.data / "segloop.sqlite")
    (delivery,) = store.deliveries()
    assert delivery.state == DeliveryState.DONE
    store.close()
    rows = [json.loads(line)["event"] for line in (killable.data / "audit.jsonl").read_text("utf-8").splitlines()]
    assert [row["action"] for row in rows].count("result.sent") == 1


@pytest.mark.parametrize("moment", ["before the answer", "behind the answer"])
def test_killed_around_the_acknowledgement(tmp_path: Path, his: His, moment: str) -> None:
    killable = Killable(tmp_path, his)

    def kill_once() -> None:
        his.heard = his.answered = lambda: None
        killable.kill()

    if moment == "before the answer":
        his.heard = kill_once
    else:
        his.answered = kill_once
    kit.send_to(killable.port, kit.study(tmp_path / "in", 4))
    killable.died()
    killable.start()
    got_there_once(killable, his)
    assert len(his.received) <= 2


def test_killed_again_and_again_while_the_receiver_refuses(tmp_path: Path, his: His) -> None:
    his.behaviours = ["AE"]
    killable = Killable(tmp_path, his)
    kit.send_to(killable.port, kit.study(tmp_path / "in", 4))
    for _ in range(3):
        before = len(his.received)
        kit.wait(lambda before=before: len(his.received) > before, 60)  # type: ignore[misc]
        killable.kill()
        killable.died()
        killable.start()
    his.behaviours = ["AA"]
    got_there_once(killable, his)
