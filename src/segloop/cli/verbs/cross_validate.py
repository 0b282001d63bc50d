"""`segloop cross-validate`: every fold trained and scored, what follows from that chosen, and the models written."""

from __future__ import annotations

import argparse
import logging
import shlex
import time
from pathlib import Path
from typing import Any

from segloop.cli.console import Console
from segloop.cli.deployment import registry
from segloop.cli.quiet import load_tensorflow
from segloop.cli.values import count, duration_s, output_folder, setting
from segloop.cli.verbs.train import add_start, planned, start_words

_AS_LONG_AS_A_FOLD = -1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="folder of images and label maps")
    parser.add_argument(
        "-o",
        "--output",
        type=output_folder,
        required=True,
        metavar="RUN",
        help="folder for folds, metrics, models and report",
    )
    parser.add_argument("--plan", type=Path, metavar="PLAN.json", help="the recipe (default: planned from the dataset)")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--folds", type=count, metavar="N", help="number of folds (default: the Plan's, 5)")
    kind.add_argument(
        "--leave-site-out", action="store_true", help="hold out one site at a time, as groups.csv names them"
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--time-budget", type=duration_s, metavar="15m", help="of each training")
    length.add_argument("--epochs", type=count, metavar="N", help="of each training, instead of the Plan's")
    parser.add_argument(
        "--learning-curve",
        type=duration_s,
        nargs="?",
        const=_AS_LONG_AS_A_FOLD,
        metavar="TIME",
        help="also train on nested parts of fold 0's cases, in so much further time together (default: each part as "
        "long as a fold), and say what ten more cases would bring",
    )
    add_start(parser)
    parser.add_argument("--no-bundle", action="store_true", help="do not train on every case in the end")
    parser.add_argument("--resume", action="store_true", help="go on with what RUN holds; what is done stays")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of weights, patches and augmentation")
    parser.add_argument("--name", metavar="NAME", help="name of the model (default: the dataset's)")
    parser.add_argument(
        "--model-version", default="0.1.0", metavar="V", help="version written into the bundles (default 0.1.0)"
    )
    parser.add_argument(
        "--runtime", choices=("auto", "tensorflow", "openvino"), default="auto", help="what predicts held-out cases"
    )
    parser.add_argument(
        "--set", type=setting, action="append", default=[], metavar="KEY=VALUE", help="change a field of the Plan"
    )


def run(arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Validate, and say what came out."""
    started = time.monotonic()
    load_tensorflow()
    # One training after the other traces the same functions anew, which TensorFlow takes for a mistake.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    from segloop.data import Dataset
    from segloop.train.crossval import Length, cross_validate
    from segloop.train.folds import make_folds

    dataset = Dataset.load(arguments.dataset)
    init = registry(arguments).load(arguments.init) if arguments.init is not None else None
    plan = planned(arguments, dataset, init)
    folds = make_folds(dataset, arguments.folds or plan.training.folds, leave_site_out=arguments.leave_site_out)
    budget = arguments.learning_curve
    length = Length(
        time_budget_s=arguments.time_budget,
        epochs=arguments.epochs,
        learning=budget is not None,
        learning_s=None if budget is None or budget < 0 else budget,
        every_case=not arguments.no_bundle,
    )
    console.say(_cost(len(folds), length))
    found = cross_validate(
        plan,
        dataset,
        arguments.output,
        folds,
        length=length,
        resume=arguments.resume,
        seed=arguments.seed,
        version=arguments.model_version,
        command=_command(arguments),
        runtime=arguments.runtime,
        init=init,
        encoder_weights=arguments.encoder_weights,
        told=console.say,
        progress=lambda epoch, total, dice, left: console.progress(epoch, total, _scores(dice), left),
    )
    console.table(("what", "found"), [(fact.name, fact.value) for fact in found.facts])
    console.say("mean Dice undefined" if found.mean_dice is None else f"mean Dice {found.mean_dice:.4f} out of fold")
    for what, path in (("bundle", found.bundle), ("ensemble", found.ensemble), ("report", found.report)):
        if path is not None:
            console.say(f"{what:8}  {path}")
    return {**found.model_dump(mode="json"), "seconds": time.monotonic() - started}


def _cost(folds: int, length: Any) -> str:
    """How many trainings there will be, and how long they take where that is known."""
    trainings = folds + length.every_case
    parts = [f"{folds} folds" + (" and every case" if length.every_case else "")]
    if length.time_budget_s is not None:
        parts.append(f"{trainings} trainings of {length.time_budget_s / 60:g} min")
    if length.learning:
        further = "" if length.learning_s is None else f", {length.learning_s / 60:g} min together"
        parts.append(f"up to 4 further trainings for the learning curve{further}")
    return "; ".join(parts)


def _scores(dice: dict[str, float]) -> str:
    return "epochs" + "".join(f"  {name} {value:.3f}" for name, value in dice.items())


def _command(arguments: argparse.Namespace) -> str:
    """The command as a model card shows it: names of folders, not their place on this machine."""
    words = ["segloop", "cross-validate", arguments.dataset.name, "-o", arguments.output.name]
    if arguments.plan is not None:
        words += ["--plan", arguments.plan.name]
    if arguments.leave_site_out:
        words += ["--leave-site-out"]
    elif arguments.folds is not None:
        words += ["--folds", str(arguments.folds)]
    if arguments.time_budget is not None:
        words += ["--time-budget", f"{arguments.time_budget:g}s"]
    if arguments.epochs is not None:
        words += ["--epochs", str(arguments.epochs)]
    words += start_words(arguments)
    for key, value in arguments.set:
        words += ["--set", f"{key}={value}"]
    return shlex.join([*words, "--seed", str(arguments.seed)])
