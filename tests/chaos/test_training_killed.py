"""A training that is killed with SIGKILL goes on from its last checkpoint."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from segloop.train import checkpoint

ROOT = Path(__file__).parents[2]

PROGRAM = """
import sys
from pathlib import Path
sys.path.insert(0, "tests")
from training_kit import plan, write_dataset
from segloop.data.dataset import Dataset
from segloop.train import fit
data, out = Path(sys.argv[1]), Path(sys.argv[2])
dataset = Dataset.load(data) if data.exists() else write_dataset(data)
print(fit(plan(epochs=20), dataset, out, fold=0, resume=True).steps)
"""


@pytest.mark.chaos
@pytest.mark.timeout(280)
def test_a_killed_training_is_resumed_and_finished(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "data"), str(tmp_path / "run")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    folder, deadline = tmp_path / "run" / "checkpoint", time.monotonic() + 150
    while checkpoint.peek(folder) is None and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    state = checkpoint.peek(folder)
    assert state is not None
    assert 0 < state.step < 200
    assert not (tmp_path / "run" / "bundle").exists()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "200"
    assert (tmp_path / "run" / "bundle" / "manifest.json").is_file()
