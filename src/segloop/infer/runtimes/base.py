"""The protocol of runtimes, and how one is opened by name."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Protocol

import numpy as np
from jaxtyping import Float

from segloop.errors import ModelError
from segloop.infer.bundle import Bundle


class Runtime(Protocol):
    """Runs a network, on this machine or a server's.

    Attributes:
        name: As in `RUNTIMES`, or `EDGE`, or `SERVING`.
        precision: Of the hidden layers, `float32` or `bfloat16`.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def precision(self) -> str: ...  # noqa: D102

    def __call__(self, batch: Float[np.ndarray, "b *space c"]) -> Float[np.ndarray, "b *space k"]:
        """Logits, float32, of the input's spatial size.

        Args:
            batch: float32 (b, z, y, x, c), or (b, y, x, c) for a 2-D network; sizes are multiples of its divisor.
        """


RUNTIMES = ("openvino", "tensorflow")
"""Names that `auto` chooses from, the one that starts fastest first."""

EDGE = "litert"
"""A runtime that is opened by its name only: it shows what an edge device will say, and is not quick here."""

SERVING = "serving"
"""A runtime elsewhere: `serving:URL` sends every window to the export of the very bundle on TensorFlow Serving."""


def installed() -> tuple[str, ...]:
    """The runtimes whose package is on this machine; nothing is imported."""
    return tuple(name for name in RUNTIMES if find_spec(name) is not None)


def open_runtime(bundle: Bundle, name: str) -> Runtime:
    """The bundle's network, loaded into a runtime; for an ensemble or a cascade all of its networks.

    Args:
        bundle: A checked bundle.
        name: One of `RUNTIMES`, `EDGE`, `serving:URL`, or `auto` for what `choose` finds fastest.

    Raises:
        InputError: `usage` when a URL is none that may be asked.
        ModelError: `runtime.unavailable` when the name is unknown, the runtime is not installed, or it cannot load the
            network; `model.mismatch` when a server has another model.
        ServiceError: `peer.unavailable`, `peer.refused`, `peer.untrusted` or `peer.garbled`, by a server.
    """
    if name.startswith(f"{SERVING}:"):
        from segloop.infer.runtimes.serving import Serving

        return Serving(bundle, name.removeprefix(f"{SERVING}:"))
    if bundle.manifest.members:
        from segloop.infer.members import open_members

        return open_members(bundle, name)
    if name == "auto":
        from segloop.infer.runtimes.choice import choose

        name = choose(bundle).name
    if bundle.plan.coarse is not None:
        from segloop.infer.cascade import Cascade

        return Cascade(open_runtime(bundle.coarse(), name), _open(bundle, name))
    return _open(bundle, name)


def _open(bundle: Bundle, name: str) -> Runtime:
    """The bundle's own network."""
    if name == EDGE:
        from segloop.infer.runtimes.litert import LiteRt

        return LiteRt(bundle)
    if name not in RUNTIMES:
        raise _unavailable(name, f"There is no runtime {name!r}.")
    if name not in installed():
        raise _unavailable(name, f"The runtime {name!r} is not installed.")
    if name == "openvino":
        from segloop.infer.runtimes.openvino import OpenVino

        return OpenVino(bundle)
    from segloop.infer.runtimes.tensorflow import TensorFlow

    return TensorFlow.of(bundle)


def one_network_only(name: str) -> ModelError:
    """The refusal to send the windows of several networks to one server."""
    return ModelError(
        f"{name} has several networks; a server's signature `windows` is one network's.",
        code="runtime.unavailable",
        found=SERVING,
        expected=["auto", *installed()],
        hint="Run it here (--runtime auto), ask for one of its members, or use the export's own signatures.",
    )


def _unavailable(name: str, message: str) -> ModelError:
    present = installed()
    return ModelError(
        f"{message} Installed: {', '.join(present) or 'none'}.",
        code="runtime.unavailable",
        found=name,
        expected=["auto", *present, EDGE, f"{SERVING}:URL"],
        hint="Choose an installed runtime, or install openvino or tensorflow.",
    )
