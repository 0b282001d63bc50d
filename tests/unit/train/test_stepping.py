"""Steps on TensorFlow: the seed decides them to the last bit."""

from __future__ import annotations

import hashlib
from pathlib import Path

import keras
import numpy as np
import pytest

from segloop.data.feed import training_feed
from segloop.train.compiling import compiled
from segloop.train.examples import load_examples
from segloop.train.stepping import TensorFlowStep
from training_kit import plan, write_dataset


@pytest.mark.long
def test_one_seed_gives_equal_weights_and_another_seed_others(tmp_path: Path) -> None:
    dataset, recipe = write_dataset(tmp_path / "balls"), plan()
    examples = load_examples(recipe, dataset, [case.id for case in dataset.cases])

    def trained(seed: int, other: int) -> str:
        keras.utils.set_random_seed(other)  # no state of the process may matter
        model = compiled(recipe, seed, "float32")
        step = TensorFlowStep(model, training_feed(examples, recipe, seed))
        for _ in range(3):
            step()
        return hashlib.sha256(b"".join(np.asarray(v).tobytes() for v in model.weights)).hexdigest()

    first, again, another = trained(1, 10), trained(1, 11), trained(2, 10)
    assert first == again
    assert first != another
