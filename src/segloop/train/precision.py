"""The arithmetic this machine trains fastest in, and what its processor is, for the record."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Literal

import keras

from segloop.infer.machine import has_bf16
from segloop.train.checkpoint import Machine

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
    return "mixed_bfloat16" if accelerated() or has_bf16() else "float32"


def accelerated() -> bool:
    """True when Keras' backend computes on something else than the processor."""
    if keras.config.backend() == "jax":
        import jax

        return bool(jax.default_backend() != "cpu")
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def machine(precision: str) -> Machine:
    """What this process computes with."""
    backend = str(keras.config.backend())
    return Machine(
        backend=f"{backend} {version_of(backend)}",
        instruction_set=instruction_set(),
        precision=precision,
        threads=threads(),
        lock=installed_digest(),
    )


def version_of(library: str) -> str:
    """Version of an imported library; empty where it is not there."""
    return str(getattr(sys.modules.get(library), "__version__", ""))


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
