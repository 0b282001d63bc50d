"""The arithmetic this machine trains fastest in, and what its processor is, for the record."""

from __future__ import annotations

import hashlib
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Literal

from segloop.infer.machine import has_bf16

Policy = Literal["float32", "mixed_bfloat16"]

# From the most to the least capable; the first one present names the machine.
_INSTRUCTION_SETS = ("amx_bf16", "avx512_bf16", "avx512f", "avx2", "sve", "asimd")


def policy(wanted: Literal["auto", "float32", "mixed_bfloat16"]) -> Policy:
    """The Keras dtype policy to train with.

    `auto` gives `mixed_bfloat16` where the processor multiplies bfloat16 by itself, or a GPU is used, which doubles
    the speed; elsewhere it would be many times slower than float32, so `auto` gives that.
    """
    if wanted != "auto":
        return wanted
    import tensorflow as tf

    return "mixed_bfloat16" if has_bf16() or tf.config.list_physical_devices("GPU") else "float32"


def instruction_set() -> str:
    """The widest vector instructions of the processor, such as `avx512_bf16`; its architecture where unknown."""
    try:
        words = set(Path("/proc/cpuinfo").read_text("utf-8").split())
    except OSError:
        words = set()
    return next((name for name in _INSTRUCTION_SETS if name in words), platform.machine())


def threads() -> int:
    """Processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def installed_digest() -> str:
    """`sha256:…` over the names and versions of all installed distributions: equal environments have equal digests."""
    lines = {f"{d.metadata['Name'].lower()}=={d.version}" for d in metadata.distributions() if d.metadata["Name"]}
    return "sha256:" + hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()
