"""Training on Keras' JAX backend where TensorFlow cannot be imported; a TensorFlow machine makes the bundle of it."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

from segloop.cli import main
from segloop.data.feed import training_feed
from segloop.infer.bundle import Bundle
from segloop.train import checkpoint
from segloop.train.checkpoint import State
from segloop.train.compiling import compiled
from segloop.train.examples import load_examples, split_ids
from segloop.train.stepping import TensorFlowStep
from training_kit import plan, write_dataset
from worker_kit import finished, start

WITHOUT_TENSORFLOW = """
from importlib.abc import MetaPathFinder

class Blocked(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "tensorflow":
            raise ImportError("TensorFlow cannot be imported here")

sys.meta_path.insert(0, Blocked())
from segloop.cli import main
from segloop.data import shelf
{memory}
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module", autouse=True)
def _jax() -> None:
    if importlib.util.find_spec("jax") is None:
        if os.environ.get("SEGLOOP_REQUIRE_PEERS") == "1":
            pytest.fail("jax is not installed; it belongs to the dev group")
        pytest.skip("jax is not installed (pip install 'segloop[jax]')")


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("memory", ["", "shelf.MEMORY_BYTES = 1000"], ids=["memory", "file"])
def test_two_steps_without_tensorflow_are_tensorflows_and_become_a_bundle(tmp_path: Path, memory: str) -> None:
    dataset = write_dataset(tmp_path / "balls")
    recipe = plan(steps_per_epoch=1, epochs=3)
    (tmp_path / "plan.json").write_text(recipe.to_json(), "utf-8")
    command = ["train", str(tmp_path / "balls"), "-o", str(tmp_path / "run"), "--plan", str(tmp_path / "plan.json")]
    command += ["--fold", "0", "--seed", "5", "--resume"]
    # Backends draw other weights from one seed, so the run begins on TensorFlow, with a step that sets every moment.
    model = compiled(recipe, 5, "float32")
    examples = load_examples(recipe, dataset, split_ids(recipe, dataset, 0)[0])
    step = TensorFlowStep(model, training_feed(examples, recipe, 5))
    step()
    folder = tmp_path / "run" / "checkpoint"
    checkpoint.save(folder, State(plan=recipe.digest, seed=5, fold=0, step=1), model)
    arguments = [*command, "--backend", "jax"]
    code = WITHOUT_TENSORFLOW.format(memory=memory)
    said = finished(start(code, *arguments, environment={"KERAS_BACKEND": "jax"}), seconds=600)
    assert "--resume on TensorFlow" in said
    state = checkpoint.peek(folder)
    assert state is not None
    assert state.step == 3
    assert state.machine is not None
    assert state.machine.backend.startswith("jax ")

    # The same batches, weights and moments on TensorFlow: losses agree to what rounding in another order leaves.
    losses = []
    for point in state.history:
        model.optimizer.learning_rate = point.learning_rate
        losses.append(float(step()))
    assert [point.loss for point in state.history] == pytest.approx(losses, abs=1e-3)
    assert abs(losses[0] - losses[1]) > 1e-2

    assert main(command) == 0
    provenance = Bundle(tmp_path / "run" / "bundle").manifest.provenance
    assert (provenance.steps, provenance.backend) == (3, state.machine.backend)
