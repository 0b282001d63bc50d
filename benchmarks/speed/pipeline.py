"""What the input pipeline costs a training step: step with the pipeline against step on one cached batch.

Once with the cases in memory, and once with the same cases in a file, as those are that are too many for memory.

    python benchmarks/speed/pipeline.py ../shared/data/hippocampus

All kinds run alternately in one process, so other work on the machine slows both; the ratio of the medians goes to
`benchmarks/results/pipeline.json`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import tensorflow as tf

from segloop.data import Budget, Dataset, fingerprint, make_plan, shelf
from segloop.data.feed import training_feed
from segloop.infer.machine import cpu_model
from segloop.train.compiling import compiled
from segloop.train.examples import load_examples, split_ids
from segloop.train.precision import policy
from segloop.train.running import Step
from segloop.train.stepping import TensorFlowStep

RESULT = Path(__file__).parents[1] / "results" / "pipeline.json"


def seconds_of(step: Step, steps: int) -> list[float]:
    """Seconds of each step, waiting for its batch included."""
    seconds = []
    for _ in range(steps):
        started = time.perf_counter()
        float(step())
        seconds.append(time.perf_counter() - started)
    return seconds


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path, nargs="?", default=Path("../shared/data/hippocampus"))
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=8)
    arguments = parser.parse_args()

    dataset = Dataset.load(arguments.dataset)
    plan = make_plan(fingerprint(dataset), Budget())
    model = compiled(plan, 0, policy(plan.training.precision))
    ids = split_ids(plan, dataset, 0)[0]
    feed = training_feed(load_examples(plan, dataset, ids), plan, 0)
    shelf.MEMORY_BYTES = 0
    from_file = training_feed(load_examples(plan, dataset, ids), plan, 0)
    cached = tf.data.Dataset.from_tensors(next(iter(feed))).repeat()
    steps = {
        "cached": TensorFlowStep(model, cached),
        "piped": TensorFlowStep(model, feed),
        "file": TensorFlowStep(model, from_file),
    }
    seconds_of(steps["cached"], 3)
    found: dict[str, list[float]] = {kind: [] for kind in steps}
    for _ in range(arguments.rounds):
        for kind, step in steps.items():
            # The prefetched batches are used up first, or the pipeline would be paid for by another kind.
            seconds_of(step, 3)
            found[kind] += seconds_of(step, arguments.steps)
    median = {kind: statistics.median(seconds) for kind, seconds in found.items()}
    overhead, overhead_file = (median[kind] / median["cached"] - 1 for kind in ("piped", "file"))
    result = {
        "name": "pipeline",
        "command": "python benchmarks/speed/pipeline.py ../shared/data/hippocampus",
        "machine": cpu_model(),
        "overhead": round(overhead, 4),
        "overhead_file": round(overhead_file, 4),
        **{f"step_{kind}_s": round(seconds, 4) for kind, seconds in median.items()},
        "rows": [
            {
                "what": "training step with the input pipeline, over one cached batch",
                "what_zh": "含数据管线的训练步，相对于缓存批次",
                "value": f"{100 * overhead:+.1f} %",
                "bound": "≤ 10 %",
            },
            {
                "what": "the same with cases in a file, as those are that are too many for memory",
                "what_zh": "同上，病例存放在文件中（超出内存时即如此）",
                "value": f"{100 * overhead_file:+.1f} %",
                "bound": "",
            },
        ],
    }
    RESULT.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", "utf-8")
    print(f"overhead {overhead:.4f}, from a file {overhead_file:.4f}")


if __name__ == "__main__":
    main()
