"""How fast a runtime is, measured in a process of its own.

`python -m segloop.infer.runtimes.measure BUNDLE RUNTIME` loads the bundle's network and prints a `Speed` as JSON. A
fresh process sees what a cold start costs, leaves the caller's memory alone, and may crash without taking the caller
along.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from segloop.infer.bundle import Bundle
from segloop.infer.runtimes.base import Runtime, open_runtime
from segloop.plan import Frozen

_LIMIT_S = 180.0
_REPEATS, _ENOUGH_S = 8, 1.0


class Speed(Frozen):
    """Seconds until a runtime has answered its first patch in a new process, and seconds per patch after that."""

    start: float
    patch: float


def speed(bundle: Bundle, name: str) -> Speed | str:
    """The runtime's speed on this machine, or in one line why it cannot run here."""
    command = [sys.executable, "-m", __name__, str(bundle.path), name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        return f"no answer within {_LIMIT_S:.0f} s"
    try:
        return Speed.model_validate_json(done.stdout)
    except ValidationError:
        lines = done.stderr.strip().splitlines()
        return lines[-1][:200] if lines else f"exit status {done.returncode}"


def seconds_per_patch(runtime: Runtime, bundle: Bundle) -> float:
    """Shortest of a few runs on one patch of noise."""
    batch, shortest, spent = noise(bundle), float("inf"), 0.0
    for _ in range(_REPEATS):
        started = time.perf_counter()
        runtime(batch)
        shortest = min(shortest, time.perf_counter() - started)
        spent += time.perf_counter() - started
        if spent > _ENOUGH_S:
            break
    return shortest


def noise(bundle: Bundle) -> np.ndarray:
    """One patch of the bundle's size, batch axis first."""
    plan = bundle.plan
    space = plan.inference.patch[3 - plan.network.dims :]
    return np.random.default_rng(0).standard_normal((1, *space, plan.network.channels), np.float32)


def main(path: str, name: str) -> None:
    """Measure in this process and print the result."""
    started = time.perf_counter()
    bundle = Bundle(Path(path))
    runtime = open_runtime(bundle, name)
    runtime(noise(bundle))
    start = time.perf_counter() - started
    patch = seconds_per_patch(runtime, bundle)
    sys.stdout.write(Speed(start=round(start, 3), patch=round(patch, 5)).model_dump_json())


if __name__ == "__main__":
    main(*sys.argv[1:])
