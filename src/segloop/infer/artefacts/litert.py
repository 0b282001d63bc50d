"""The network for LiteRT (TensorFlow Lite): one window of the Plan's size to its logits, for edge devices."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from segloop.errors import ModelError
from segloop.infer.bundle import Bundle, load_network

Precision = Literal["float32", "float16"]
MODEL = "model.tflite"


def write_litert(bundle: Bundle, folder: Path, precision: Precision = "float16") -> Mapping[str, int]:
    """`model.tflite`; returns how many tensors it has of each type.

    With `float16` the weights are stored in half precision; a device without half precision computes in float32 all
    the same.

    Raises:
        ModelError: `runtime.unavailable` when the converter left weights in another type than asked for (some of its
            modes silently return a float model), or when LiteRT's interpreter is not installed to find out.
    """
    content = convert(bundle, window_shape(bundle), precision)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL).write_bytes(content)
    return weight_types(content)


def convert(bundle: Bundle, shape: tuple[int, ...], precision: Precision = "float16") -> bytes:
    """The network as a LiteRT model for input of one shape.

    Args:
        bundle: A checked bundle with one network.
        shape: (1, z, y, x, c), or (1, y, x, c) for a 2-D network; a multiple of its divisor.
        precision: Of the stored weights.

    Raises:
        ModelError: As `write_litert`.
    """
    network = load_network(bundle)
    with TemporaryDirectory() as saved:
        signature = [tf.TensorSpec(shape, tf.float32, name="image")]
        network.export(saved, format="tf_saved_model", verbose=False, input_signature=signature)
        converter = tf.lite.TFLiteConverter.from_saved_model(saved)
        if precision == "float16":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        content: bytes = converter.convert()
    found = weight_types(content)
    expected = sum(int(np.prod(v.shape)) for v in network.weights if len(v.shape) > 1)
    if found.get(precision, 0) < 0.99 * expected:
        raise ModelError(
            f"The converter gave weights of {dict(found)} values by type; {expected} in {precision} were asked for.",
            code="runtime.unavailable",
            found=dict(found),
            expected={precision: expected},
            hint="Export to saved-model or openvino, or in float32.",
        )
    return content


def window_shape(bundle: Bundle) -> tuple[int, ...]:
    """What the converted network takes: one window of the Plan, (1, z, y, x, c) or (1, y, x, c)."""
    spec = bundle.plan.network
    patch = bundle.plan.inference.patch
    return (1, *(patch if spec.dims == 3 else patch[1:]), spec.channels)


def weight_types(content: bytes) -> dict[str, int]:
    """Number of values that the model stores, by the type they are stored in."""
    interpreter = interpreter_of(content)
    found: dict[str, int] = {}
    for detail in interpreter.get_tensor_details():
        try:
            stored = interpreter.get_tensor(detail["index"])
        except ValueError:  # what only exists while the network runs
            continue
        name = np.dtype(detail["dtype"]).name
        found[name] = found.get(name, 0) + stored.size
    return found


def interpreter_of(content: bytes) -> Any:
    """LiteRT's interpreter with a model in it.

    Raises:
        ModelError: `runtime.unavailable` when it is not installed.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter  # type: ignore[import-untyped]
    except ImportError as fault:
        raise ModelError(
            "LiteRT's interpreter is not installed, and without it nobody can tell what the converter made.",
            code="runtime.unavailable",
            found="no ai-edge-litert",
            hint="Install segloop with the extra litert.",
        ) from fault
    return Interpreter(model_content=content)
