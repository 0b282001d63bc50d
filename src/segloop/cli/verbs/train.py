"""`segloop train`: a dataset to a bundle, within a time budget where one is given."""

from __future__ import annotations

import argparse
import shlex
import time
from pathlib import Path
from typing import Any

from segloop.cli.console import Console
from segloop.cli.quiet import load_tensorflow
from segloop.cli.values import duration_s, fold, setting


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="folder of images and label maps")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="RUN", help="folder for bundle, logs and report"
    )
    parser.add_argument("--plan", type=Path, metavar="PLAN.json", help="the recipe (default: planned from the dataset)")
    parser.add_argument(
        "--fold", type=fold, default=None, metavar="all|K", help="use every case (default), or hold fold K out"
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--time-budget", type=duration_s, metavar="15m", help="from the start of the command to the written bundle"
    )
    length.add_argument("--epochs", type=int, metavar="N", help="number of epochs instead of the Plan's")
    parser.add_argument("--resume", action="store_true", help="go on from RUN's last checkpoint")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of weights, patches and augmentation")
    parser.add_argument("--name", metavar="NAME", help="name of the model (default: the dataset's)")
    parser.add_argument(
        "--model-version", default="0.1.0", metavar="V", help="version written into the bundle (default 0.1.0)"
    )
    parser.add_argument(
        "--set", type=setting, action="append", default=[], metavar="KEY=VALUE", help="change a field of the Plan"
    )


def run(arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Train and say where the bundle lies."""
    started = time.monotonic()
    load_tensorflow()
    from segloop.data import Budget, Dataset, fingerprint, make_plan
    from segloop.plan import Plan
    from segloop.train import fit

    dataset = Dataset.load(arguments.dataset)
    name = arguments.name or dataset.name
    if arguments.plan is not None:
        plan = Plan.load(arguments.plan)
    else:
        plan = make_plan(fingerprint(dataset), Budget(), name=name)
    changes = dict(arguments.set) | ({"name": name} if arguments.name else {})
    plan = plan.changed(changes)
    result = fit(
        plan,
        dataset,
        arguments.output,
        fold=arguments.fold,
        time_budget_s=arguments.time_budget,
        started=started,
        epochs=arguments.epochs,
        resume=arguments.resume,
        seed=arguments.seed,
        version=arguments.model_version,
        command=_command(arguments),
        progress=_Bar(console),
    )
    console.say(f"bundle  {result.bundle}")
    console.say(f"report  {arguments.output / 'report.html'}")
    console.say(f"{result.steps} steps in {time.monotonic() - started:.0f} s")
    return {"bundle": str(result.bundle), "steps": result.steps, "seconds": time.monotonic() - started}


def _command(arguments: argparse.Namespace) -> str:
    """The command as a model card shows it: names of folders, not their place on this machine."""
    words = ["segloop", "train", arguments.dataset.name, "-o", arguments.output.name]
    if arguments.plan is not None:
        words += ["--plan", arguments.plan.name]
    words += ["--fold", "all" if arguments.fold is None else str(arguments.fold)]
    if arguments.time_budget is not None:
        words += ["--time-budget", f"{arguments.time_budget:g}s"]
    if arguments.epochs is not None:
        words += ["--epochs", str(arguments.epochs)]
    for key, value in arguments.set:
        words += ["--set", f"{key}={value}"]
    return shlex.join([*words, "--seed", str(arguments.seed)])


class _Bar:
    """Draws the progress of a training on the console."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __call__(self, epoch: int, total: int, dice: dict[str, float], seconds_left: float) -> None:
        scores = "  ".join(f"{name} {value:.3f}" for name, value in dice.items())
        self._console.progress(epoch, total, f"epochs  Dice {scores}" if scores else "epochs", seconds_left)
