"""A training that is killed, told to end, or has no disk left: what is on disk stays good, and goes on from there."""

from __future__ import annotations

import hashlib
import json
import random
import re
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from segloop.data.dataset import Dataset
from segloop.train import checkpoint, fit
from training_kit import plan, write_dataset
from worker_kit import finished, start, start_team

STEPS = 120

# plan(…) options as JSON, then what fit is given.
PROGRAM = """
import json
from pathlib import Path
from segloop.data.dataset import Dataset
from segloop.train import fit
from training_kit import plan
fit(plan(**json.loads(sys.argv[3])), Dataset.load(sys.argv[1]), Path(sys.argv[2]), fold=0, resume=True, seed=7)
"""

COMMAND = """
from segloop.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def balls(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write_dataset(tmp_path_factory.mktemp("data") / "balls")


def _digest(folder: Path) -> str:
    """Of everything a checkpoint holds but its record of times."""
    with np.load(folder / "checkpoint" / checkpoint.FILE) as archive:
        names = [name for name in archive.files if name != "state"]
        return hashlib.sha256(b"".join(archive[name].tobytes() for name in sorted(names))).hexdigest()


def _wait_for_steps(run: Path, process: subprocess.Popen[str], seconds: float = 200) -> int:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        state = checkpoint.peek(run / "checkpoint")
        if state is not None:
            return state.step
        time.sleep(0.05)
    process.kill()
    pytest.fail(f"no checkpoint: {process.communicate()[1]}")


@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_killed_at_any_moment_a_training_ends_with_the_same_weights(balls: Dataset, tmp_path: Path) -> None:
    options = {"steps_per_epoch": 20, "epochs": STEPS // 20, "schedule": "plateau"}
    fit(plan(**options), balls, tmp_path / "whole", fold=0, seed=7)
    command = (PROGRAM, balls.root, tmp_path / "killed", json.dumps(options))
    process = start(*command)
    _wait_for_steps(tmp_path / "killed", process)
    time.sleep(random.uniform(0, 1.5))
    process.kill()
    process.communicate()
    state = checkpoint.peek(tmp_path / "killed" / "checkpoint")
    assert state is not None
    finished(start(*command))
    assert _digest(tmp_path / "killed") == _digest(tmp_path / "whole")
    weights = [(tmp_path / run / "bundle/weights/weights.npz").read_bytes() for run in ("whole", "killed")]
    assert hashlib.sha256(weights[0]).digest() == hashlib.sha256(weights[1]).digest()
    histories = [checkpoint.peek(tmp_path / run / "checkpoint").history for run in ("whole", "killed")]
    assert histories[0] == histories[1]


@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_a_signal_pauses_a_training_and_a_file_ends_it(balls: Dataset, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(plan(epochs=100_000).to_json(), "utf-8")
    command = ["train", balls.root, "-o", tmp_path / "run", "--plan", tmp_path / "plan.json", "--fold", "0"]
    process = start(COMMAND, *command, "--resume")
    before = _wait_for_steps(tmp_path / "run", process)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    paused = checkpoint.peek(tmp_path / "run" / "checkpoint")
    assert paused is not None
    assert paused.step >= before
    assert f"step {paused.step}" in out
    assert not (tmp_path / "run" / "bundle").exists()
    process = start(COMMAND, *command, "--resume")
    while checkpoint.peek(tmp_path / "run" / "checkpoint").step == paused.step and process.poll() is None:
        time.sleep(0.05)
    (tmp_path / "run" / "stop").touch()
    out = finished(process)
    assert (tmp_path / "run" / "bundle" / "manifest.json").is_file()
    assert not (tmp_path / "run" / "stop").exists()
    ended = checkpoint.peek(tmp_path / "run" / "checkpoint")
    assert ended is not None
    assert ended.step > paused.step
    assert f"{ended.step} steps" in out


@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_a_full_disk_ends_a_training_at_once_and_leaves_the_good_checkpoint(balls: Dataset, tmp_path: Path) -> None:
    fit(plan(epochs=3), balls, tmp_path / "run", fold=0)
    good = _digest(tmp_path / "run")
    size = (tmp_path / "run" / "checkpoint" / checkpoint.FILE).stat().st_size
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({size // 2},) * 2)\n" + COMMAND
    (tmp_path / "plan.json").write_text(plan(epochs=3).to_json(), "utf-8")
    command = ["train", balls.root, "-o", tmp_path / "run", "--plan", tmp_path / "plan.json", "--fold", "0", "--json"]
    process = start(limited, *command, "--epochs", "100000", "--resume")
    out, err = process.communicate(timeout=280)
    assert process.returncode == 6, err
    assert json.loads(out)["error"]["code"] == "disk.full"
    assert _digest(tmp_path / "run") == good
    assert [file.name for file in (tmp_path / "run" / "checkpoint").iterdir()] == [checkpoint.FILE]


@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_when_one_worker_dies_the_other_says_so_and_both_go_on_later(balls: Dataset, tmp_path: Path) -> None:
    """The second worker has a disk of its own: the first one's checkpoint is enough for both."""
    runs = [tmp_path / "run", tmp_path / "other"]
    (tmp_path / "plan.json").write_text(plan(batch=4, epochs=10).to_json(), "utf-8")
    rows = [
        ["train", balls.root, "-o", run, "--plan", tmp_path / "plan.json", "--fold", "0", "--resume"] for run in runs
    ]
    team = start_team(COMMAND, [[*row, "--epochs", "100000"] for row in rows])
    _wait_for_steps(runs[0], team[0])
    team[1].kill()
    killed = time.monotonic()
    _, err = team[0].communicate(timeout=60)
    assert time.monotonic() - killed < 10
    assert team[0].returncode == 6
    assert "worker.lost" in err
    team[1].communicate()
    state = checkpoint.peek(runs[0] / "checkpoint")
    assert state is not None
    assert state.step >= 25
    assert not runs[1].exists()

    # Ends by the file that is there already, after the one step that each command does at least.
    epochs = str(state.step // 10 + 1)
    team = start_team(COMMAND, [[*row, "--epochs", epochs] for row in rows])
    first, second = (finished(process) for process in team)
    assert "bundle" in first
    assert "worker 0" in second
    assert not runs[1].exists()
    found = re.search(r"(\d+) steps", first)
    assert found is not None
    assert int(found[1]) == 10 * int(epochs)
