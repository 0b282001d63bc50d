"""JAX draws and makes the very patches that TensorFlow does, with every transform on."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

CODE = """
import sys

import keras
import numpy as np
from keras import ops

from segloop.data.feed import Example, Memory
from segloop.data.patches import Patches
from training_kit import plan

chances = {name: 0.7 for name in type(plan().training.augmentation).model_fields if name.endswith("_probability")}
recipe = plan(batch=6, augmentation={**chances, "mirror_axes": (0, 1, 2)})
draw = np.random.default_rng(1)
labels = [(draw.random((14, 18, 12)) < 0.02).astype(np.uint8) for _ in range(3)]
examples = [Example(str(i), draw.normal(size=(14, 18, 12, 1)).astype(np.float32), m) for i, m in enumerate(labels)]
memory = Memory.of(examples, recipe)
patches = Patches(recipe, 8, 3)

def make(number):
    return patches(number, memory.pool, memory.places)

if keras.config.backend() == "jax":
    import jax

    assert "tensorflow" not in sys.modules
    make = jax.jit(make)
image, label = (ops.convert_to_numpy(part) for part in make(ops.convert_to_tensor(np.int32(5))))
np.savez(sys.argv[1], image=image, label=label)
"""


@pytest.mark.long
@pytest.mark.timeout(600)
def test_both_backends_make_the_same_patches(tmp_path: Path) -> None:
    if importlib.util.find_spec("jax") is None:
        if os.environ.get("SEGLOOP_REQUIRE_PEERS") == "1":
            pytest.fail("jax is not installed; it belongs to the dev group")
        pytest.skip("jax is not installed (pip install 'segloop[jax]')")
    made = {}
    for backend in ("tensorflow", "jax"):
        path = tmp_path / f"{backend}.npz"
        environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(Path(__file__).parents[1])}
        subprocess.run([sys.executable, "-c", CODE, str(path)], check=True, env=environment, timeout=500)
        made[backend] = np.load(path)
    np.testing.assert_allclose(made["jax"]["image"], made["tensorflow"]["image"], atol=2e-3)
    # A point half-way between two voxels may be rounded either way.
    assert (made["jax"]["label"] == made["tensorflow"]["label"]).mean() > 0.9999
    assert made["jax"]["image"].std() > 0.1
