"""OpenVINO: starts in tenths of a second, needs no TensorFlow, and is the fastest on CPUs."""

from __future__ import annotations

import sys
from collections import OrderedDict
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Float

from segloop.errors import ModelError
from segloop.infer.bundle import GRAPH, Bundle

# Compiled for one input shape each; a shape costs some tens of megabytes of buffers.
_KEPT_SHAPES = 4


def load_openvino() -> Any:
    """The `openvino` package, imported without its telemetry.

    Importing OpenVINO reports so to a server on the internet, from its converter's package, unless that cannot be
    imported. segloop makes no network call that nobody configured and has no use for the converter, so it hides the
    converter while OpenVINO loads. Whoever imports the converter afterwards gets it.
    """
    converter = "openvino.tools.ovc"
    hidden = "openvino" not in sys.modules and converter not in sys.modules
    if hidden:
        sys.modules[converter] = None  # type: ignore[assignment]  # what Python's import system takes as "not there"
    try:
        import openvino
    finally:
        if hidden:
            del sys.modules[converter]
    return openvino


@cache
def openvino_core() -> Any:
    """The process' one `openvino.Core`, never released.

    Its CPU plugin gives the thread that loads it a stack for signal handlers, and takes that away with itself. Of two
    plugins released in the order they were made, the second one puts back the first one's, which is gone: the next
    SIGTERM would end the process with a segmentation fault instead of its handler.
    """
    return load_openvino().Core()


class OpenVino:
    """A bundle's graph, compiled for each input shape when it first comes; the last few are kept.

    Hidden layers run in bfloat16 where the processor has it, else in float32.

    Raises:
        ModelError: `runtime.unavailable` when OpenVINO cannot read the graph.
    """

    name = "openvino"

    def __init__(self, bundle: Bundle) -> None:
        self._core = openvino_core()
        self.precision = (
            "bfloat16" if "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "float32"
        )
        try:
            self._graph = self._core.read_model(str(bundle.path / GRAPH))
        except RuntimeError as fault:
            raise ModelError(
                f"OpenVINO cannot read {GRAPH}: {str(fault).splitlines()[0][:200]}.",
                code="runtime.unavailable",
                found=GRAPH,
                hint="Choose another runtime, or export the bundle again.",
            ) from fault
        self._compiled: OrderedDict[tuple[int, ...], Any] = OrderedDict()

    def __call__(self, batch: Float[np.ndarray, "b *space c"]) -> Float[np.ndarray, "b *space k"]:
        """Logits; see `Runtime`."""
        compiled = self._for_shape(batch.shape)
        answer = compiled(np.ascontiguousarray(batch, np.float32))[0]
        # The next call reuses the buffer behind the answer.
        return np.array(answer, np.float32)

    def _for_shape(self, shape: tuple[int, ...]) -> Any:
        if shape in self._compiled:
            self._compiled.move_to_end(shape)
            return self._compiled[shape]
        self._graph.reshape(list(shape))
        hints = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "bf16" if self.precision == "bfloat16" else "f32",
        }
        compiled = self._core.compile_model(self._graph, "CPU", hints)
        self._compiled[shape] = compiled
        if len(self._compiled) > _KEPT_SHAPES:
            self._compiled.popitem(last=False)
        return compiled
