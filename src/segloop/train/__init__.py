"""Training: a Plan and a dataset to a bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segloop.train.fitting import FitResult, fit
    from segloop.train.loop import Progress

__all__ = ["FitResult", "Progress", "fit"]


def __getattr__(name: str) -> Any:
    """Load the module that holds `name` when it is first asked for: it brings TensorFlow."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.fitting"), name)
