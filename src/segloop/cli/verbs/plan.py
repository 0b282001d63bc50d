"""`segloop plan`: fingerprint of a dataset to a Plan, with every choice explained."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from segloop.cli.console import Console
from segloop.cli.values import output_file, setting, size_bytes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="folder of images and label maps")
    parser.add_argument(
        "-o", "--output", type=output_file, required=True, metavar="PLAN.json", help="where the Plan goes"
    )
    parser.add_argument("--dims", type=int, choices=(2, 3), help="2-D or 3-D network (default: what the data suggest)")
    parser.add_argument("--size", type=int, choices=(256, 512), help="patch edge in pixels of a 2-D network")
    parser.add_argument(
        "--device", choices=("cpu", "gpu"), default="cpu", help="what the Plan is to be trained on (default cpu)"
    )
    parser.add_argument(
        "--memory",
        type=size_bytes,
        metavar="SIZE",
        help="memory that training may use, of the GPU or of the process (default 8GiB)",
    )
    parser.add_argument(
        "--variant",
        choices=("auto", "full", "low", "cascade"),
        default="auto",
        help="resolution of a 3-D network: full, so low that a patch shows a quarter of the image, or first low and "
        "then full (default: cascade where a patch at full resolution shows less than a quarter)",
    )
    parser.add_argument(
        "--set", type=setting, action="append", default=[], metavar="KEY=VALUE", help="change a field of the Plan"
    )


def run(arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Write the Plan and say why each value was chosen."""
    from segloop.data import Budget, Dataset, fingerprint, make_plan
    from segloop.store import READABLE, write_whole

    dataset = Dataset.load(arguments.dataset)
    budget = Budget(size=arguments.size, device=arguments.device)
    if arguments.memory:
        budget = budget.model_copy(update={"memory_bytes": arguments.memory})
    facts = fingerprint(dataset, lambda done, total: console.progress(done, total, "cases looked at"))
    plan = make_plan(facts, budget, name=dataset.name, dims=arguments.dims, variant=arguments.variant)
    plan = plan.changed(dict(arguments.set))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    write_whole(plan.to_json().encode(), arguments.output, READABLE)
    for reason in plan.reasons:
        console.say(f"- {reason}")
    coarse = list(plan.coarse.reasons) if plan.coarse else []
    if coarse:
        console.say("The coarse network of the cascade, where it differs:")
        for reason in coarse:
            if reason not in plan.reasons:
                console.say(f"- {reason}")
    console.say(f"Plan written to {arguments.output}")
    return {
        "plan": str(arguments.output),
        "digest": plan.digest,
        "reasons": list(plan.reasons),
        "coarse_reasons": coarse,
    }
