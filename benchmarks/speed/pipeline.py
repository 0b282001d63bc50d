"""What the input pipeline costs a training step: step with the pipeline against step on one cached batch.

    python benchmarks/speed/pipeline.py ../shared/data/hippocampus

Both kinds run alternately in one process, so other work on the machine slows both; the ratio of the medians goes to
`benchmarks/results/pipeline.json`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import tensorflow as tf

from segloop.data import Budget, Dataset, fingerprint, make_plan
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
    examples = load_examples(plan, dataset, split_ids(plan, dataset, 0)[0])
    feed = training_feed(examples, plan, 0)
    cached = tf.data.Dataset.from_tensors(next(iter(feed))).repeat()
    fixed_step, piped_step = TensorFlowStep(model, cached), TensorFlowStep(model, feed)
    seconds_of(fixed_step, 3)
    piped, fixed = [], []
    for _ in range(arguments.rounds):
        fixed += seconds_of(fixed_step, arguments.steps)
        # The prefetched batches are used up first, or the pipeline would be paid for by the other kind.
        seconds_of(piped_step, 3)
        piped += seconds_of(piped_step, arguments.steps)
    overhead = statistics.median(piped) / statistics.median(fixed) - 1
    result = {
        "name": "pipeline",
        "command": "python benchmarks/speed/pipeline.py ../shared/data/hippocampus",
        "machine": cpu_model(),
        "overhead": round(overhead, 4),
        "step_cached_s": round(statistics.median(fixed), 4),
        "step_piped_s": round(statistics.median(piped), 4),
        "rows": [
            {
                "what": "training step with the input pipeline, over one cached batch",
                "what_zh": "含数据管线的训练步，相对于缓存批次",
                "value": f"{100 * overhead:+.1f} %",
                "bound": "≤ 10 %",
            }
        ],
    }
    RESULT.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", "utf-8")
    print(f"overhead {overhead:.4f}")


if __name__ == "__main__":
    main()
