"""The two networks of a cascade, opened: the coarse one segments the image first, the other one refines its labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from segloop.infer.runtimes.base import Runtime


@dataclass(frozen=True, slots=True)
class Cascade:
    """The runtime of a cascade; `infer.engine` runs the coarse network on the image before the fine one.

    Args:
        coarse: Holding the network of `plan.coarse`.
        fine: Holding the Plan's own network, whose last input channels are the labels that the coarse one found.
    """

    coarse: Runtime
    fine: Runtime

    @property
    def name(self) -> str:
        """Of the fine network's runtime."""
        return self.fine.name

    @property
    def precision(self) -> str:
        """Of the fine network's hidden layers."""
        return self.fine.precision

    def __call__(self, batch: Float[np.ndarray, "b *space c"]) -> Float[np.ndarray, "b *space k"]:
        """Logits of the fine network, from patches that hold the coarse network's labels already."""
        return self.fine(batch)
