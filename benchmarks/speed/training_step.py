"""One training step here against PyTorch's: same network, batch, losses, optimiser, precision and machine.

    python benchmarks/speed/training_step.py --torch-python PATH/TO/python

The interpreter named needs PyTorch (an environment of its own; 2.13.0 was used). Both sides take turns in one run, so
that other work on the machine slows both; the ratio is the mean over the turns of the medians', with its interval. Our
side also keeps the moving average of the weights, PyTorch's does not. Writes `benchmarks/results/training_step.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from itertools import chain
from pathlib import Path

import numpy as np
import tensorflow as tf

from segloop.infer.machine import cpu_model
from segloop.measure.agreement import bootstrap_interval
from segloop.plan import LabelSpec, Plan
from segloop.train.compiling import compiled
from segloop.train.precision import policy, threads
from segloop.train.stepping import TensorFlowStep

HERE = Path(__file__).resolve().parent
ARMS = tuple(
    f"{layout} {precision}" for layout in ("contiguous", "channels_last") for precision in ("float32", "bfloat16")
)


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch-python", default=os.environ.get("TORCH_PYTHON"))
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--steps", type=int, default=5)
    options = parser.parse_args()
    if not options.torch_python:
        print("skipped: name an interpreter that has PyTorch with --torch-python or TORCH_PYTHON")
        return
    labels = (LabelSpec(value=1, name="a"), LabelSpec(value=2, name="b"))
    plan = Plan.parse({"name": "step", "labels": [x.model_dump() for x in labels], "network": {"classes": 3}})
    precision = policy("auto")
    shape = (plan.training.batch, *plan.training.patch)
    draw = np.random.default_rng(0)
    image = draw.normal(size=(*shape, 1)).astype(np.float32)
    target = draw.integers(0, 3, shape).astype(np.uint8)
    step = TensorFlowStep(compiled(plan, 0, precision), tf.data.Dataset.from_tensors((image, (target,))).repeat())

    def ours(steps: int) -> list[float]:
        seconds = []
        for _ in range(steps):
            started = time.perf_counter()
            float(step())
            seconds.append(time.perf_counter() - started)
        return seconds

    with tempfile.TemporaryDirectory() as folder:
        spec = {
            "network": plan.network.model_dump(mode="json"),
            "batch": plan.training.batch,
            "patch": plan.training.patch,
            "threads": threads(),
        }
        path = Path(folder, "spec.json")
        path.write_text(json.dumps(spec), "utf-8")
        command = [options.torch_python, str(HERE / "_torch_step.py"), str(path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as peer:
            assert peer.stdin is not None
            assert peer.stdout is not None

            def theirs(steps: int, arm: str) -> list[float]:
                peer.stdin.write(f"{steps} {arm}\n")
                peer.stdin.flush()
                return json.loads(peer.stdout.readline())

            ours(3)
            # An arm that is far slower need not be measured on and on.
            first = {arm: statistics.median(theirs(4, arm)) for arm in ARMS}
            arms = [arm for arm in ARMS if first[arm] < 1.3 * min(first.values())]
            seconds: dict[str, list[list[float]]] = {"segloop": [], **{arm: [] for arm in arms}}
            for _ in range(options.rounds):
                seconds["segloop"].append(ours(options.steps))
                for arm in arms:
                    seconds[arm].append(theirs(options.steps, arm))
            peer.stdin.close()
    median = {name: statistics.median(chain.from_iterable(found)) for name, found in seconds.items()}
    best = min(arms, key=lambda arm: median[arm])
    rounds = {name: np.array([statistics.median(found) for found in seconds[name]]) for name in ("segloop", best)}
    ratios = rounds["segloop"] / rounds[best]
    low, high = bootstrap_interval(ratios)
    document = {
        "name": "training_step",
        "command": "python benchmarks/speed/training_step.py --torch-python PATH",
        "machine": cpu_model(),
        "precision": precision,
        "median_seconds": {name: round(value, 4) for name, value in median.items()},
        "first_seconds": {arm: round(value, 4) for arm, value in first.items()},
        "best": best,
        "ratios": [round(float(ratio), 4) for ratio in ratios],
        "rows": [
            {
                "what": f"training step, relative to PyTorch's best layout and precision ({precision})",
                "what_zh": f"训练一步所需时间，相对于 PyTorch 最快的布局与精度（{precision}）",
                "value": f"{ratios.mean():.3f} ({low:.3f} to {high:.3f})",
                "bound": "≤ 1.05",
            }
        ],
    }
    result = HERE.parent / "results" / "training_step.json"
    result.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")
    print(f"ratio {ratios.mean():.3f} ({low:.3f} to {high:.3f}), medians {document['median_seconds']}")


if __name__ == "__main__":
    main()
