"""What runs a bundle's network: one protocol, one module per runtime."""

from __future__ import annotations

from segloop.infer.runtimes.base import RUNTIMES, Runtime, open_runtime
from segloop.infer.runtimes.choice import Choice, choose

__all__ = ["RUNTIMES", "Choice", "Runtime", "choose", "open_runtime"]
