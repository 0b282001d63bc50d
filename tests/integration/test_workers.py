"""Two workers on this machine learn what one process learns, and stay equal to the last bit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from segloop.data.feed import training_feed
from segloop.train.compiling import compiled
from segloop.train.examples import load_examples
from segloop.train.stepping import TensorFlowStep
from training_kit import plan, write_dataset
from worker_kit import finished, start, start_team

STEPS = 3

# Worker 1 begins from other weights, to see that the first worker's are taken.
PROGRAM = """
import hashlib, json, os
from pathlib import Path
from segloop.train.strategy import TeamStep, find_team
index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
team = find_team(4)
import numpy as np
from segloop.data.dataset import Dataset
from segloop.data.feed import training_feed
from segloop.errors import PlanError
from segloop.train.compiling import compiled
from segloop.train.examples import load_examples
from segloop.train.team import Orders
from training_kit import plan
recipe, dataset = plan(batch=4), Dataset.load(sys.argv[1])
model = compiled(recipe, 3 + index, "float32")
team.level([*model.weights, *model.optimizer.variables])
examples = load_examples(recipe, dataset, [case.id for case in dataset.cases])
step = TeamStep(model, training_feed(examples, recipe, 3, share=team.share(4)), team)
model.optimizer.learning_rate = 0.01
losses = [float(step()) for _ in range(int(sys.argv[2]))]
values = [np.asarray(v) for v in [*model.weights, *model.optimizer.variables]]
digest = hashlib.sha256(b"".join(v.tobytes() for v in values)).hexdigest()
orders = team.agree(Orders(0.25 + index, 0.01 + index, False, index == 1))
try:
    team.require_same("Plan", "ab" * 8 if index == 0 else "cd" * 8)
    refused = None
except PlanError as fault:
    refused = str(fault)
np.savez(sys.argv[3], *[np.asarray(v) for v in model.weights])
print(json.dumps([losses, digest, orders, refused, team.share(4)]))
"""


# Two processors of one machine, as two GPUs would be.
MIRRORED = """
import json
import tensorflow as tf
devices = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)
from segloop.data.dataset import Dataset
from segloop.data.feed import training_feed
from segloop.train.compiling import compiled
from segloop.train.examples import load_examples
from segloop.train.strategy import TeamStep, Workers
from training_kit import plan
team = Workers(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]), 1, 0)
recipe, dataset = plan(batch=4), Dataset.load(sys.argv[1])
model = compiled(recipe, 3, "float32")
team.level(model.weights)
examples = load_examples(recipe, dataset, [case.id for case in dataset.cases])
step = TeamStep(model, training_feed(examples, recipe, 3, share=team.share(4)), team)
model.optimizer.learning_rate = 0.01
print(json.dumps([float(step()) for _ in range(int(sys.argv[2]))]))
"""


@pytest.mark.long
@pytest.mark.timeout(900)
def test_two_workers_do_the_steps_of_one_process(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "balls")
    rows = [(tmp_path / "balls", STEPS, tmp_path / f"weights{index}.npz") for index in range(2)]
    team = start_team(PROGRAM, rows)
    first, second = (json.loads(finished(process).splitlines()[-1]) for process in team)
    assert first[1] == second[1]
    assert first[0] == second[0]
    assert first[2] == second[2] == [0.25, 0.01, False, True]
    assert first[3] is None
    assert "another Plan" in second[3]
    assert (first[4], second[4]) == ([0, 2], [2, 4])

    recipe = plan(batch=4)
    model = compiled(recipe, 3, "float32")
    examples = load_examples(recipe, dataset, [case.id for case in dataset.cases])
    step = TensorFlowStep(model, training_feed(examples, recipe, 3))
    model.optimizer.learning_rate = 0.01
    alone = [float(step()) for _ in range(STEPS)]
    assert first[0] == pytest.approx(alone, abs=1e-5)
    mirrored = json.loads(finished(start(MIRRORED, tmp_path / "balls", STEPS)).splitlines()[-1])
    assert mirrored == pytest.approx(alone, abs=1e-5)
    with np.load(tmp_path / "weights0.npz") as archive:
        for name, variable in zip(archive.files, model.weights, strict=True):
            np.testing.assert_allclose(archive[name], np.asarray(variable), atol=2e-4, err_msg=variable.path)
