"""kill -9 between a decision and what follows from it: it is carried out, once, whenever the kill comes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from pydicom import dcmread

import service_kit as kit
from his_kit import His
from segloop.report.messages.hl7 import parse
from segloop.store import DecisionState, JobState, Standing, Store

pytestmark = pytest.mark.chaos

SIGNED = {"observer": "Li^Wei", "organisation": "H"}
REJECTED = {"observer": "Li^Wei", "reason": "no liver"}


class Killable:
    """The service in another process."""

    def __init__(self, root: Path, his: His) -> None:
        self.root, self.data = root, root / "data"
        self._command = [sys.executable, str(Path(__file__).with_name("killed_hospital.py")), str(root), str(his.port)]
        self.start()

    def start(self) -> None:
        (self.data / "ports.json").unlink(missing_ok=True)
        self.process = subprocess.Popen(self._command, stderr=subprocess.DEVNULL)
        kit.wait((self.data / "ports.json").exists, 120)
        self.ports = json.loads((self.data / "ports.json").read_text("utf-8"))
        self.children = psutil.Process(self.process.pid).children(recursive=True)

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)

    def died(self) -> None:
        self.process.wait(timeout=120)
        _, alive = psutil.wait_procs(self.children, timeout=30)
        assert not alive

    def draft(self) -> str:
        """Key of the job, once its draft is delivered."""
        kit.send_to(self.ports["dicom"], kit.study(self.root / "in", 4))
        kit.wait(lambda: bool(self.look(lambda store: [j for j in store.jobs() if j.state == JobState.DONE])), 120)
        return str(self.look(lambda store: store.jobs()[0].key))

    def look(self, at):  # type: ignore[no-untyped-def]
        store = Store(self.data / "segloop.sqlite")
        try:
            return at(store)
        finally:
            store.close()

    def ask(self, key: str, action: str, body: dict[str, str]) -> None:
        url = f"http://127.0.0.1:{self.ports['web']}/api/v1/jobs/{key}/{action}"
        assert httpx.post(url, json=body, headers={"X-Segloop": "1"}, timeout=60).status_code == 202

    def carried_out(self, key: str) -> None:
        kit.wait(lambda: self.look(lambda s: {d.state for d in s.decisions(key)}) == {DecisionState.DONE}, 120)

    def actions(self) -> list[str]:
        lines = (self.data / "audit.jsonl").read_text("utf-8").splitlines()
        return [json.loads(line)["event"]["action"] for line in lines]


@pytest.fixture
def his() -> Iterator[His]:
    running = His()
    yield running
    running.stop()


@pytest.mark.parametrize("moment", ["at once", "on its way", "acknowledged"])
def test_a_signature_survives(tmp_path: Path, his: His, moment: str) -> None:
    killable = Killable(tmp_path, his)
    key = killable.draft()

    def kill_once() -> None:
        his.heard = his.answered = lambda: None
        killable.kill()

    if moment == "on its way":
        his.heard = kill_once
    elif moment == "acknowledged":
        his.answered = kill_once
    killable.ask(key, "sign", SIGNED)
    if moment == "at once":
        killable.kill()
    killable.died()
    killable.start()
    killable.carried_out(key)
    killable.kill()
    killable.died()
    final = [message for message in his.received if parse(message).first("OBR").get(25) == "F"]
    assert len(set(final)) == 1, "a repeated message is the same, with the same MSH-10"
    assert len(his.taken) == 2, "the draft and the signed form, each filed once"
    (report,) = (tmp_path / "sealed").rglob("sr.dcm")
    assert dcmread(report).VerificationFlag == "VERIFIED"
    assert killable.look(lambda store: store.standing(key)) == Standing.SIGNED
    assert killable.actions().count("result.signed") == 1
    assert killable.actions().count("result.sent") == 3


def test_a_rejection_survives_and_nothing_rejected_is_sent_after_it(tmp_path: Path, his: His) -> None:
    killable = Killable(tmp_path, his)
    key = killable.draft()
    killable.ask(key, "reject", REJECTED)
    killable.kill()
    killable.died()
    killable.start()
    killable.carried_out(key)
    killable.kill()
    killable.died()
    assert {one.get(11) for one in parse(his.received[-1]).all("OBX")} == {"W"}
    assert len(his.taken) == 2
    assert not list((tmp_path / "sealed").rglob("*.dcm"))
    assert killable.look(lambda store: store.standing(key)) == Standing.REJECTED
    assert killable.actions().count("result.rejected") == 1
