"""LiteRT (TensorFlow Lite) on this machine: what an edge device will say, tried before it is sent there."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
from jaxtyping import Float

from segloop.infer.bundle import Bundle

# A converted network has one input shape; whole images come in as many shapes as they have.
_KEPT_SHAPES = 4


class LiteRt:
    """The network as `segloop export --format litert` writes it: weights in half precision, arithmetic in float32.

    It is converted for each window size when that first comes, which needs TensorFlow and takes seconds, so `auto`
    never chooses it.

    Raises:
        ModelError: `runtime.unavailable` when LiteRT's interpreter is not installed, or the network cannot be
            converted.
    """

    name = "litert"
    precision = "float32"

    def __init__(self, bundle: Bundle) -> None:
        from segloop.infer.artefacts.litert import window_shape

        self._bundle = bundle
        self._ready: OrderedDict[tuple[int, ...], Any] = OrderedDict()
        self._for_shape(window_shape(bundle))

    def __call__(self, batch: Float[np.ndarray, "b *space c"]) -> Float[np.ndarray, "b *space k"]:
        """Logits; see `Runtime`."""
        interpreter = self._for_shape((1, *batch.shape[1:]))
        (given,), (answer,) = interpreter.get_input_details(), interpreter.get_output_details()
        logits = []
        for window in batch:
            interpreter.set_tensor(given["index"], np.ascontiguousarray(window[None], np.float32))
            interpreter.invoke()
            logits.append(interpreter.get_tensor(answer["index"]))  # a copy
        return np.concatenate(logits)

    def _for_shape(self, shape: tuple[int, ...]) -> Any:
        from segloop.infer.artefacts.litert import convert, interpreter_of

        if shape not in self._ready:
            interpreter = interpreter_of(convert(self._bundle, shape))
            interpreter.allocate_tensors()
            self._ready[shape] = interpreter
            if len(self._ready) > _KEPT_SHAPES:
                self._ready.popitem(last=False)
        self._ready.move_to_end(shape)
        return self._ready[shape]
