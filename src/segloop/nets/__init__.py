"""Networks and what they are trained with, written for Keras 3 in `keras.ops` only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segloop.nets.losses import SegmentationLoss, make_loss, set_progress
    from segloop.nets.objectives import DiceCrossEntropy, StreamingDice, deep_supervision
    from segloop.nets.targets import Targets
    from segloop.nets.unet import build_unet, deploy

__all__ = [
    "DiceCrossEntropy",
    "SegmentationLoss",
    "StreamingDice",
    "Targets",
    "build_unet",
    "deep_supervision",
    "deploy",
    "make_loss",
    "set_progress",
]

_HOME = {
    "DiceCrossEntropy": "objectives",
    "SegmentationLoss": "losses",
    "StreamingDice": "objectives",
    "Targets": "targets",
    "build_unet": "unet",
    "deep_supervision": "objectives",
    "deploy": "unet",
    "make_loss": "losses",
    "set_progress": "losses",
}


def __getattr__(name: str) -> Any:
    """Load the module that holds `name` when it is first asked for: importing Keras takes seconds."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
