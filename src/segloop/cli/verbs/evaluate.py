"""`segloop evaluate`: a bundle's scores on the cases of a dataset."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from segloop.cli.console import Console
from segloop.cli.deployment import add_registry, registry
from segloop.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("bundle", metavar="BUNDLE", help="a bundle's folder, or NAME[@stage|@version]")
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="folder of images and label maps")
    parser.add_argument("-o", "--output", type=Path, metavar="METRICS.json", help="where the scores go")
    cases = parser.add_mutually_exclusive_group()
    cases.add_argument("--fold", type=int, metavar="K", help="score only the cases that fold K holds out")
    cases.add_argument("--cases", type=Path, metavar="FILE", help="score only the case ids in this file, one a line")
    parser.add_argument("--folds", type=int, default=5, help="number of folds the split has (default 5)")
    parser.add_argument(
        "--runtime", choices=("auto", "tensorflow", "openvino"), default="auto", help="what runs the network"
    )
    parser.add_argument(
        "--allow-training-cases", action="store_true", help="score cases the model was trained on, and mark them"
    )
    add_registry(parser)


def run(arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Score, show the table, write the document."""
    from segloop.data import Dataset
    from segloop.store import write_whole
    from segloop.study import READABLE
    from segloop.train.crossval import evaluate

    bundle = registry(arguments).load(arguments.bundle)
    dataset = Dataset.load(arguments.dataset)
    ids = tuple(case.id for case in dataset.cases)
    if arguments.fold is not None:
        if not 0 <= arguments.fold < arguments.folds:
            raise InputError(f"Fold {arguments.fold} is not one of 0 to {arguments.folds - 1}.", code="usage")
        ids = dataset.split(arguments.folds)[arguments.fold][1]
    elif arguments.cases is not None:
        ids = tuple(line.strip() for line in arguments.cases.read_text("utf-8").splitlines() if line.strip())
    scores = evaluate(
        bundle,
        dataset,
        ids,
        allow_training_cases=arguments.allow_training_cases,
        runtime=arguments.runtime,
        progress=lambda done, total: console.progress(done, total, "cases"),
    )
    document = scores.model_dump(mode="json", by_alias=True)
    console.table(
        ("label", "Dice", "95 % interval", "HD95 mm", "surface Dice 1 mm"),
        [
            (label.name, label.dice.mean, _interval(label.dice.ci95), label.hd95_mm.mean, label.surface_dice.mean)
            for label in scores.labels.values()
        ],
    )
    mean = "undefined" if scores.mean_dice is None else f"{scores.mean_dice:.4f}"
    console.say(f"mean Dice {mean} over {len(scores.cases)} cases")
    if arguments.output is not None:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        write_whole(scores.to_json().encode(), arguments.output, READABLE)
    return document


def _interval(bounds: tuple[float, float] | None) -> str:
    return "-" if bounds is None else f"{bounds[0]:.3f} to {bounds[1]:.3f}"
