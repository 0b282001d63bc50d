"""TensorFlow: runs the bundle's Keras network, on an accelerator where there is one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf
from jaxtyping import Float

from segloop.errors import ModelError
from segloop.infer.machine import has_bf16

if TYPE_CHECKING:
    from segloop.infer.bundle import Bundle

# NVIDIA's compute capability from which bfloat16 is native.
_BF16_CAPABILITY = (8, 0)


class TensorFlow:
    """A Keras network as one TensorFlow function of any input size.

    Args:
        network: Its only output are the full-resolution logits.
        precision: Of its hidden layers.

    Raises:
        ModelError: `backend.mismatch` when Keras runs on another backend.
    """

    name = "tensorflow"

    def __init__(self, network: keras.Model, precision: str = "float32") -> None:
        require_backend()
        self.precision = precision
        self._run = _traced(network)

    @classmethod
    def of(cls, bundle: Bundle) -> TensorFlow:
        """The bundle's network, hidden layers in bfloat16 where the hardware has it."""
        from segloop.infer.bundle import load_network

        require_backend()
        precision = "bfloat16" if _fast_bf16() else "float32"
        dtype = "mixed_bfloat16" if precision == "bfloat16" else "float32"
        return cls(load_network(bundle, dtype), precision)

    def __call__(self, batch: Float[np.ndarray, "b *space c"]) -> Float[np.ndarray, "b *space k"]:
        """Logits; see `Runtime`."""
        # A copy, because TensorFlow's own array is read-only.
        return np.array(self._run(tf.constant(batch, tf.float32)), np.float32)


def _traced(network: keras.Model) -> Callable[[Any], Any]:
    """The network in inference mode as a TensorFlow function, traced once for every input size."""
    (image,) = network.inputs
    signature = [tf.TensorSpec([None] * (len(image.shape) - 1) + [image.shape[-1]], tf.float32, name="image")]
    # Without XLA: on CPU it makes these networks 2 to 10 times slower.
    function: Callable[[Any], Any] = tf.function(
        lambda batch: network([batch], training=False),
        input_signature=signature,
        jit_compile=False,
        autograph=False,  # there is no Python control flow to translate
    )
    return function


def require_backend() -> None:
    """Raise unless Keras runs on TensorFlow."""
    if keras.backend.backend() != "tensorflow":
        raise ModelError(
            f"Keras runs on {keras.backend.backend()}; the TensorFlow runtime needs its own backend.",
            code="backend.mismatch",
            found=keras.backend.backend(),
            expected="tensorflow",
            hint="Set KERAS_BACKEND=tensorflow before Keras is imported, or choose the runtime openvino.",
        )


def _fast_bf16() -> bool:
    accelerators = tf.config.list_physical_devices("GPU")
    if not accelerators:
        return has_bf16()
    capability = tf.config.experimental.get_device_details(accelerators[0]).get("compute_capability", (0, 0))
    return bool(tuple(capability) >= _BF16_CAPABILITY)
