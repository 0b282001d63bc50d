"""What this machine's processor is and can do, and where a user's caches lie."""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path

_BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}


@cache
def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return ""


@cache
def has_bf16() -> bool:
    """True when the processor multiplies bfloat16 by itself; without, bfloat16 is far slower than float32.

    Where the system does not list the processor's flags (not Linux) the answer is False.
    """
    for line in _cpuinfo().splitlines():
        if line.lower().startswith(("flags", "features")):
            return bool(_BF16_FLAGS & set(line.split()))
    return False


@cache
def cpu_model() -> str:
    """The processor's name and number of usable cores."""
    names = [line.partition(":")[2].strip() for line in _cpuinfo().splitlines() if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores{', bf16' if has_bf16() else ''}"


def cache_folder() -> Path:
    """Where segloop keeps what it can find out again: `$XDG_CACHE_HOME/segloop`, else `~/.cache/segloop`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "segloop"
