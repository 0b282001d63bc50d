"""Event files: read back by TensorBoard, and cut where a resumed run goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from segloop.errors import ServiceError
from segloop.train.events import EventFile


def losses(folder: Path) -> list[tuple[int, float]]:
    accumulator = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    accumulator.Reload()
    return [(event.step, float(make_ndarray(event.tensor_proto))) for event in accumulator.Tensors("loss")]


def write(folder: Path, steps: range, value: float, start: int = 0) -> None:
    file = EventFile(folder, start)
    for step in steps:
        file.scalars({"loss": value}, step)
    file.close()


def test_a_resumed_run_takes_the_place_of_steps_that_were_lost(tmp_path: Path) -> None:
    write(tmp_path, range(1, 6), 1.0)
    write(tmp_path, range(4, 8), 2.0, start=3)
    assert losses(tmp_path) == [(1, 1.0), (2, 1.0), (3, 1.0), (4, 2.0), (5, 2.0), (6, 2.0), (7, 2.0)]


def test_a_file_torn_by_a_kill_is_read_up_to_the_tear(tmp_path: Path) -> None:
    write(tmp_path, range(1, 4), 1.0)
    (path,) = tmp_path.iterdir()
    os.truncate(path, path.stat().st_size - 5)
    write(tmp_path, range(3, 5), 2.0, start=2)
    assert losses(tmp_path) == [(1, 1.0), (2, 1.0), (3, 2.0), (4, 2.0)]


def test_a_run_that_starts_anew_leaves_nothing_of_the_old_one(tmp_path: Path) -> None:
    write(tmp_path, range(1, 4), 1.0)
    write(tmp_path, range(1, 2), 2.0)
    assert losses(tmp_path) == [(1, 2.0)]


def test_a_histogram_of_many_or_not_finite_values_is_small_and_finite(tmp_path: Path) -> None:
    file = EventFile(tmp_path)
    values = np.linspace(-1, 1, 1_000_000, dtype=np.float32)
    values[:100] = np.nan
    file.histogram("w", values, 1)
    file.close()
    accumulator = EventAccumulator(str(tmp_path), size_guidance={"tensors": 0})
    accumulator.Reload()
    buckets = make_ndarray(accumulator.Tensors("w")[0].tensor_proto)
    assert np.isfinite(buckets).all()
    assert 45_000 < buckets[:, 2].sum() <= 50_000
    np.testing.assert_allclose(buckets[:, 2], buckets[:, 2].mean(), rtol=0.01)
    (path,) = tmp_path.iterdir()
    assert path.stat().st_size < 2_000


def test_a_name_of_this_machine_stands_in_no_file(tmp_path: Path) -> None:
    write(tmp_path, range(1, 2), 1.0)
    (path,) = tmp_path.iterdir()
    assert os.uname().nodename not in path.name.removesuffix(str(os.getpid()))
    assert os.uname().nodename.encode() not in path.read_bytes() or len(os.uname().nodename) < 4


def test_a_disk_that_refuses_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("no folder")
    with pytest.raises(ServiceError) as fault:
        EventFile(tmp_path / "logs" / "train")
    assert fault.value.code == "disk.full"


def test_everything_is_written_where_tensorflow_cannot_be_imported(tmp_path: Path) -> None:
    program = """
import sys
sys.modules["tensorflow"] = None
from pathlib import Path
import numpy as np
from segloop.train.events import EventFile
from segloop.train.hyperparameters import session_end, session_start
file = EventFile(Path(sys.argv[1]))
file.summary(session_start({"training.epochs": 3}, "run"), 0)
file.scalars({"loss": 0.5}, 1)
file.histogram("w", np.arange(9.0), 1)
file.image("p", np.zeros((4, 5, 3), np.uint8), 1)
file.summary(session_end(), 1)
file.close()
"""
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
    accumulator = EventAccumulator(str(tmp_path), size_guidance={"tensors": 0})
    accumulator.Reload()
    found = set(accumulator.Tags()["tensors"])
    assert found == {"_hparams_/session_start_info", "loss", "w", "p", "_hparams_/session_end_info"}
    assert losses(tmp_path) == [(1, 0.5)]
