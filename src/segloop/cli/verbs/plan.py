"""`segloop plan`: fingerprint of a dataset to a Plan, with every choice explained."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from segloop.cli.console import Console
from segloop.cli.values import setting, size_bytes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="folder of images and label maps")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="PLAN.json", help="where the Plan goes")
    parser.add_argument("--dims", type=int, choices=(2, 3), help="2-D or 3-D network (default: what the data suggest)")
    parser.add_argument("--size", type=int, choices=(256, 512), help="patch edge in pixels of a 2-D network")
    parser.add_argument("--memory", type=size_bytes, metavar="SIZE", help="memory that training may use, such as 8GiB")
    parser.add_argument(
        "--set", type=setting, action="append", default=[], metavar="KEY=VALUE", help="change a field of the Plan"
    )


def run(arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Write the Plan and say why each value was chosen."""
    from segloop.data import Budget, Dataset, fingerprint, make_plan
    from segloop.store import write_whole
    from segloop.study import READABLE

    dataset = Dataset.load(arguments.dataset)
    budget = Budget(size=arguments.size)
    if arguments.memory:
        budget = budget.model_copy(update={"memory_bytes": arguments.memory})
    plan = make_plan(fingerprint(dataset), budget, name=dataset.name, dims=arguments.dims).changed(dict(arguments.set))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    write_whole(plan.to_json().encode(), arguments.output, READABLE)
    for reason in plan.reasons:
        console.say(f"- {reason}")
    console.say(f"Plan written to {arguments.output}")
    return {"plan": str(arguments.output), "digest": plan.digest, "reasons": list(plan.reasons)}
