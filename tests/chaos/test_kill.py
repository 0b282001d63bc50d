"""kill -9 at the worst moments: each study is finished once, and nothing is stored twice."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

import service_kit as kit
from segloop.audit import verify
from segloop.service.archive import Archive
from segloop.service.reception import Answer
from segloop.store import DeliveryState, JobState, Store

pytestmark = pytest.mark.chaos


class WatchedArchive(Archive):
    """An archive that tells when an object is on disk, before the sender is answered."""

    def __init__(self, folder: Path) -> None:
        self.stored: Callable[[], None] = lambda: None
        self.requests: list[bytes] = []
        super().__init__(folder)

    def _accept(self, content: bytes, sop_class: str, sop_instance: str) -> Answer:
        answer = super()._accept(content, sop_class, sop_instance)
        self.requests.append(content)
        self.stored()
        return answer


class Killable:
    """The service in another process."""

    def __init__(self, root: Path, archive: Archive, steps: str, quiet: float = 0.3) -> None:
        self.data = root / "data"
        self._command = [
            sys.executable,
            str(Path(__file__).with_name("killed_service.py")),
            str(root),
            steps,
            str(archive.port),
            str(quiet),
        ]
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        (self.data / "ports.json").unlink(missing_ok=True)
        process = subprocess.Popen(self._command, stderr=subprocess.DEVNULL)
        kit.wait((self.data / "ports.json").exists, 60)
        return process

    @property
    def port(self) -> int:
        return int(json.loads((self.data / "ports.json").read_text("utf-8"))["dicom"])

    def kill(self) -> None:
        children = psutil.Process(self.process.pid).children(recursive=True)
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()
        # The worker ends by itself when its parent is gone.
        _, alive = psutil.wait_procs(children, timeout=20)
        assert not alive

    def restart(self) -> None:
        self.process = self._start()

    def finished(self) -> bool:
        path = self.data / "segloop.sqlite"
        if not path.exists():
            return False
        store = Store(path)
        try:
            return any(job.state == JobState.DONE for job in store.jobs())
        finally:
            store.close()


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[WatchedArchive]:
    running = WatchedArchive(tmp_path / "archive")
    yield running
    running.stop()


def finished_once(killable: Killable, archive: WatchedArchive) -> None:
    kit.wait(killable.finished, 90)
    killable.kill()
    assert len(archive.files()) == 1
    assert len(set(archive.requests)) == 1
    store = Store(killable.data / "segloop.sqlite")
    (job,) = store.jobs()
    (delivery,) = store.deliveries()
    assert (job.state, delivery.state) == (JobState.DONE, DeliveryState.DONE)
    store.close()
    verify(killable.data / "audit.jsonl")
    rows = [json.loads(line)["event"] for line in (killable.data / "audit.jsonl").read_text("utf-8").splitlines()]
    keys = [row["key"] for row in rows if row["action"] != "service.started"]
    assert len(keys) == len(set(keys))
    assert [row["action"] for row in rows].count("result.sent") == 1


def test_after_reception(tmp_path: Path, archive: WatchedArchive) -> None:
    killable = Killable(tmp_path, archive, "tiny", quiet=3.0)
    kit.send_to(killable.port, kit.study(tmp_path / "in", 4))
    killable.kill()
    assert len(list((killable.data / "spool").rglob("*.dcm"))) == 4
    killable.restart()
    finished_once(killable, archive)


def test_during_reception(tmp_path: Path, archive: WatchedArchive) -> None:
    killable = Killable(tmp_path, archive, "tiny", quiet=3.0)
    files = kit.study(tmp_path / "in", 4)
    kit.send_to(killable.port, files[:2])
    killable.kill()
    killable.restart()
    # The sender got Success for two only, and sends the whole study again.
    kit.send_to(killable.port, files)
    finished_once(killable, archive)


def test_in_the_middle_of_a_job(tmp_path: Path, archive: WatchedArchive) -> None:
    killable = Killable(tmp_path, archive, "slow")
    kit.send_to(killable.port, kit.study(tmp_path / "in", 4))
    kit.wait(lambda: bool(list(killable.data.glob("jobs/*/out/begun-*"))), 60)
    killable.kill()
    killable.restart()
    finished_once(killable, archive)
    assert len(list(killable.data.glob("jobs/*/out/begun-*"))) == 2


def test_between_delivery_and_ledger(tmp_path: Path, archive: WatchedArchive) -> None:
    killable = Killable(tmp_path, archive, "tiny")

    def kill_once() -> None:
        archive.stored = lambda: None
        os.kill(killable.process.pid, signal.SIGKILL)

    archive.stored = kill_once
    kit.send_to(killable.port, kit.study(tmp_path / "in", 4))
    killable.process.wait(timeout=90)
    assert len(archive.files()) == 1
    killable.restart()
    finished_once(killable, archive)
    # It was sent twice, because the first answer was lost; both times the same bytes under the same UID.
    assert len(archive.requests) == 2


def test_three_times_in_a_row(tmp_path: Path, archive: WatchedArchive) -> None:
    killable = Killable(tmp_path, archive, "slow")
    kit.send_to(killable.port, kit.study(tmp_path / "in", 4))
    for begun in (1, 2, 3):
        kit.wait(lambda begun=begun: len(list(killable.data.glob("jobs/*/out/begun-*"))) >= begun, 60)  # type: ignore[misc]
        killable.kill()
        killable.restart()
    finished_once(killable, archive)


def fill(path: Path) -> None:
    """Write until the disk is full."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        for size in (65536, 4096, 512, 1):
            with contextlib.suppress(OSError):
                while True:
                    os.write(descriptor, b"\0" * size)
    finally:
        os.close(descriptor)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_is_answered_and_the_service_goes_on_when_there_is_space_again(
    tmp_path: Path, archive: WatchedArchive
) -> None:
    from segloop.errors import ServiceError

    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(disk)], check=False)
    if mounted.returncode != 0:
        pytest.skip("this machine does not let tests mount a small disk")
    killable = None
    try:
        killable = Killable(disk, archive, "tiny")
        ballast = disk / "ballast"
        fill(ballast)
        with pytest.raises(ServiceError, match="0xA700"):
            kit.send_to(killable.port, kit.study(tmp_path / "in", 4))
        ballast.unlink()
        kit.send_to(killable.port, kit.study(tmp_path / "in", 4))
        kit.wait(lambda: len(archive.files()) == 1, 90)
        kit.wait(killable.finished, 90)
    finally:
        if killable is not None:
            killable.kill()
        subprocess.run(["umount", str(disk)], check=True)
