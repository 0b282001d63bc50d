import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import service_kit as kit
from segloop.errors import InputError, ServiceError
from segloop.service.worker import Worker
from segloop.study import StudyTask, write_record


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    running = Worker(kit.nothing)
    yield running
    running.stop()


@pytest.fixture
def task(tmp_path: Path) -> Path:
    write_record(StudyTask(source=tmp_path, out=tmp_path, model="m"), tmp_path / "task.json")
    return tmp_path / "task.json"


def process_of(worker: Worker, task: Path) -> int:
    worker.run(kit.note_process, task)
    return int((task.parent / "pid").read_text("utf-8"))


def test_steps_share_one_process_that_is_not_this_one(worker: Worker, task: Path) -> None:
    worker.wait_ready(60)
    assert worker.is_ready()
    assert process_of(worker, task) == process_of(worker, task) != os.getpid()


def test_an_error_comes_back_with_all_its_parts(worker: Worker, task: Path) -> None:
    with pytest.raises(InputError) as caught:
        worker.run(kit.refuse, task)
    assert (caught.value.code, caught.value.found, caught.value.hint) == ("input.empty", 1, "do it")


def test_a_killed_process_fails_its_step_and_is_replaced(worker: Worker, task: Path) -> None:
    before = process_of(worker, task)
    with pytest.raises(ServiceError) as caught:
        worker.run(kit.dies, task)
    assert caught.value.code == "worker.lost"
    assert process_of(worker, task) != before


def test_one_killed_while_idle_is_replaced_as_well(worker: Worker, task: Path) -> None:
    before = process_of(worker, task)
    os.kill(before, signal.SIGKILL)
    kit.wait(lambda: not worker.is_ready() or not Path(f"/proc/{before}").exists(), 10)
    try:
        after = process_of(worker, task)
    except ServiceError:
        after = process_of(worker, task)
    assert after != before
