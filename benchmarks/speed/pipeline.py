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
from collections.abc import Iterator
from pathlib import Path

import keras

from segloop.data import Budget, Dataset, fingerprint, make_plan
from segloop.data.feed import training_feed
from segloop.infer.machine import cpu_model
from segloop.train.examples import load_examples, split_ids
from segloop.train.fitting import compiled
from segloop.train.precision import policy

RESULT = Path(__file__).parents[1] / "results" / "pipeline.json"


def step_seconds(model: keras.Model, batches: Iterator[tuple], steps: int) -> list[float]:
    """Seconds of each step, waiting for its batch included."""
    seconds = []
    for _ in range(steps):
        started = time.perf_counter()
        model.train_on_batch(*next(batches))
        seconds.append(time.perf_counter() - started)
    return seconds


def endless(batch: tuple) -> Iterator[tuple]:
    """The same batch again and again."""
    while True:
        yield batch


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
    feed = iter(training_feed(examples, plan, 0, copies=len(model.outputs)))
    cached = endless(next(feed))
    step_seconds(model, cached, 3)
    piped, fixed = [], []
    for _ in range(arguments.rounds):
        fixed += step_seconds(model, cached, arguments.steps)
        # The prefetched batches are used up first, or the pipeline would be paid for by the other kind.
        step_seconds(model, feed, 3)
        piped += step_seconds(model, feed, arguments.steps)
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
                "bound": "≤ 15 %",
            }
        ],
    }
    RESULT.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", "utf-8")
    print(f"overhead {overhead:.4f}")


if __name__ == "__main__":
    main()
