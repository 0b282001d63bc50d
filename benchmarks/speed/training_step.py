"""One training step here against PyTorch's: same network, batch, losses, optimiser, precision and machine.

    python benchmarks/speed/training_step.py --torch-python PATH/TO/python

The interpreter named needs PyTorch (an environment of its own; 2.13.0 was used). Both sides take turns in one run, so
that other work on the machine slows both. Writes `benchmarks/results/training_step.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from segloop.infer.machine import cpu_model
from segloop.plan import LabelSpec, Plan
from segloop.train.fitting import compiled
from segloop.train.precision import policy, threads

HERE = Path(__file__).resolve().parent
LAYOUTS = ("contiguous", "channels_last")


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch-python", default=os.environ.get("TORCH_PYTHON"))
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=5)
    options = parser.parse_args()
    if not options.torch_python:
        print("skipped: name an interpreter that has PyTorch with --torch-python or TORCH_PYTHON")
        return
    labels = (LabelSpec(value=1, name="a"), LabelSpec(value=2, name="b"))
    plan = Plan.parse({"name": "step", "labels": [x.model_dump() for x in labels], "network": {"classes": 3}})
    precision = policy("auto")
    model = compiled(plan, 0, precision)
    shape = (plan.training.batch, *plan.training.patch)
    draw = np.random.default_rng(0)
    image = draw.normal(size=(*shape, 1)).astype(np.float32)
    target = (draw.integers(0, 3, shape).astype(np.uint8),) * len(model.outputs)

    def ours(steps: int) -> list[float]:
        seconds = []
        for _ in range(steps):
            started = time.perf_counter()
            model.train_on_batch(image, target)
            seconds.append(time.perf_counter() - started)
        return seconds

    with tempfile.TemporaryDirectory() as folder:
        spec = {
            "network": plan.network.model_dump(mode="json"),
            "batch": plan.training.batch,
            "patch": plan.training.patch,
            "bfloat16": precision == "mixed_bfloat16",
            "threads": threads(),
        }
        path = Path(folder, "spec.json")
        path.write_text(json.dumps(spec), "utf-8")
        command = [options.torch_python, str(HERE / "_torch_step.py"), str(path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as peer:
            assert peer.stdin is not None
            assert peer.stdout is not None

            def theirs(steps: int, layout: str) -> list[float]:
                peer.stdin.write(f"{steps} {layout}\n")
                peer.stdin.flush()
                return json.loads(peer.stdout.readline())

            ours(3)
            for layout in LAYOUTS:
                theirs(3, layout)
            seconds: dict[str, list[float]] = {"segloop": [], **{f"torch {layout}": [] for layout in LAYOUTS}}
            for _ in range(options.rounds):
                seconds["segloop"] += ours(options.steps)
                for layout in LAYOUTS:
                    seconds[f"torch {layout}"] += theirs(options.steps, layout)
            peer.stdin.close()
    median = {name: statistics.median(found) for name, found in seconds.items()}
    best = min(median[f"torch {layout}"] for layout in LAYOUTS)
    ratio = median["segloop"] / best
    document = {
        "name": "training_step",
        "command": "python benchmarks/speed/training_step.py --torch-python PATH",
        "machine": cpu_model(),
        "precision": precision,
        "median_seconds": {name: round(value, 4) for name, value in median.items()},
        "seconds": {name: [round(s, 4) for s in found] for name, found in seconds.items()},
        "rows": [
            {
                "what": f"training step, relative to PyTorch's best layout ({precision})",
                "what_zh": f"训练一步所需时间，相对于 PyTorch 的最快布局（{precision}）",
                "value": f"{ratio:.2f}",
                "bound": "≤ 1.1",
            }
        ],
    }
    result = HERE.parent / "results" / "training_step.json"
    result.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")
    print(f"ratio {ratio:.3f}, medians {document['median_seconds']}")


if __name__ == "__main__":
    main()
