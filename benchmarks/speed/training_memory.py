"""What a training step really occupies, beside what the planner reckons: peak resident memory, each in a fresh process.

    python benchmarks/speed/training_memory.py

Every network takes three steps in a process of its own; what the process held before it built the network is
subtracted from the most it ever held. Writes `benchmarks/results/training_memory.json`.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from segloop.data.cost import step_bytes, step_seconds
from segloop.data.network import GRAPHICS, network
from segloop.infer.machine import cpu_model
from segloop.plan import NetworkSpec, Plan
from segloop.volume import Shape

HERE = Path(__file__).resolve().parent
STEPS = 3


def kinds() -> dict[str, tuple[NetworkSpec, Shape, int]]:
    """The networks measured: name to network, patch and batch."""
    cube, crop, square = (64, 64, 64), (40, 56, 40), (1, 256, 256)
    flat = (1.0, 1.0, 1.0)
    return {
        "3-D crops": (network(crop, flat, 3, channels=1, classes=3), crop, 4),
        "3-D, a GPU's width": (network(cube, flat, 3, channels=1, classes=3, scale=GRAPHICS), cube, 2),
        "2-D squares": (network(square, flat, 2, channels=3, classes=2), square, 8),
    }


def main() -> None:
    """Measure each network in each precision and write the result; with --one, be the process that measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", nargs=2, metavar=("NAME", "PRECISION"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(*options.one)))
        return
    found = []
    for name in kinds():
        for precision in ("float32", "mixed_bfloat16"):
            words = [sys.executable, str(Path(__file__).resolve()), "--one", name, precision]
            run = subprocess.run(words, capture_output=True, text=True, check=True)
            found.append(json.loads(run.stdout.splitlines()[-1]))
            print(found[-1])
    lowest, highest = (pick(one["measured_mib"] / one["reckoned_mib"] for one in found) for pick in (min, max))
    document = {
        "name": "training_memory",
        "command": "python benchmarks/speed/training_memory.py",
        "machine": cpu_model(),
        "networks": found,
        "rows": [
            {
                "what": "peak memory of a training step, relative to what the planner reckons (three networks, "
                "float32 and bfloat16)",
                "what_zh": "训练一步的内存峰值，相对于规划时的估计（三种网络，float32 与 bfloat16）",
                "value": f"{lowest:.2f} to {highest:.2f}",
                "bound": "≤ 1.1",
            }
        ],
    }
    path = HERE.parent / "results" / "training_memory.json"
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")


def measure(name: str, precision: str) -> dict[str, object]:
    """Peak memory and processor time of one network's steps in this process."""
    from segloop.train.compiling import compiled

    spec, patch, batch = kinds()[name]
    labels = [{"value": value, "name": str(value)} for value in range(1, spec.classes)]
    plan = Plan.parse(
        {
            "name": "memory",
            "labels": labels,
            "inputs": {"channels": spec.channels},
            "network": spec.model_dump(mode="json"),
            "training": {"patch": patch, "batch": batch},
            "inference": {"patch": patch},
        }
    )
    before = resident_mib()
    model = compiled(plan, 0, precision)
    shape = (batch, *patch[3 - spec.dims :])
    draw = np.random.default_rng(0)
    image = draw.normal(size=(*shape, spec.channels)).astype(np.float32)
    target = (draw.integers(0, spec.classes, shape).astype(np.uint8),) * len(model.outputs)
    seconds = []
    for _ in range(STEPS):
        started = time.process_time()
        model.train_on_batch(image, target)
        seconds.append(time.process_time() - started)
    return {
        "network": name,
        "precision": precision,
        "patch": patch,
        "batch": batch,
        "features": spec.features,
        "measured_mib": round(resident_mib() - before),
        "reckoned_mib": round(step_bytes(spec, patch, batch) / 2**20),
        "core_seconds": round(min(seconds), 2),
        "reckoned_core_seconds": round(2 * step_seconds(spec, patch, batch), 2),
    }


def resident_mib() -> float:
    """The most memory this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
