"""Every loss gives on JAX, compiled and without TensorFlow, what it gives on TensorFlow; its moving weight moves."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import json
import sys

import keras
import numpy as np
from keras import ops

from segloop.nets import SegmentationLoss, make_loss
from training_kit import plan

draw = np.random.default_rng(0)
labels = (draw.random((2, 9, 9, 9)) < 0.3).astype(np.uint8)
labels[:, 0] = 255
logits = draw.normal(size=(2, 9, 9, 9, 2)).astype(np.float32)
kinds = [{"overlap": o} for o in ("dice", "generalised_dice", "tversky", "focal_tversky")]
kinds += [{"extra": e} for e in ("boundary", "hausdorff", "cldice")]
found = []
for kind in kinds:
    loss = make_loss(plan(loss=kind, ignore_label=2))
    assert isinstance(loss, SegmentationLoss)
    for progress in (0.0, 0.3):
        if keras.config.backend() == "jax":
            import jax

            assert "tensorflow" not in sys.modules

            @jax.jit
            def value(x, p):
                with keras.StatelessScope(state_mapping=[(loss.progress, p)]):
                    return loss(labels, x)

            number, slope = jax.value_and_grad(value)(logits, np.float32(progress))
        else:
            import tensorflow as tf

            loss.progress.assign(progress)
            variable = tf.Variable(logits)
            with tf.GradientTape() as tape:
                number = loss(labels, variable)
            slope = tape.gradient(number, variable)
        found.append([float(number), float(ops.sum(ops.abs(ops.convert_to_tensor(slope))))])
print(json.dumps(found))
"""

ERODING = 10
"""Two numbers each: Hausdorff and clDice, the last two, are made of erosions."""


@pytest.mark.long
@pytest.mark.timeout(900)
def test_both_backends_agree() -> None:
    if importlib.util.find_spec("jax") is None:
        if os.environ.get("SEGLOOP_REQUIRE_PEERS") == "1":
            pytest.fail("jax is not installed; it belongs to the dev group")
        pytest.skip("jax is not installed (pip install 'segloop[jax]')")
    answers = {}
    for backend in ("tensorflow", "jax"):
        environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(Path(__file__).parents[1])}
        done = subprocess.run(
            [sys.executable, "-c", CODE], check=True, env=environment, timeout=800, capture_output=True, text=True
        )
        answers[backend] = json.loads(done.stdout.strip().splitlines()[-1])
    assert len(answers["jax"]) == 14
    for number, (ours, theirs) in enumerate(zip(answers["jax"], answers["tensorflow"], strict=True)):
        assert ours[0] == pytest.approx(theirs[0], rel=1e-4)
        # Of equal voxels in an erosion TensorFlow gives the whole slope to one, JAX a part to each.
        assert ours[1] == pytest.approx(theirs[1], rel=0.05 if number >= ERODING else 1e-4)
    *_, before, after = (value for value, _ in answers["jax"])
    assert after > before
