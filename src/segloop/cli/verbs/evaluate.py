"""`segloop evaluate`: a bundle's scores on the cases of a dataset."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segloop.cli.console import Console
from segloop.cli.deployment import add_registry, registry
from segloop.cli.values import count, output_file, runtime
from segloop.errors import InputError

if TYPE_CHECKING:
    from segloop.train.scores import Scores

_FOLDS = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("bundle", metavar="BUNDLE", help="a bundle's folder, or NAME[@stage|@version]")
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="folder of images and label maps")
    parser.add_argument("-o", "--output", type=output_file, metavar="METRICS.json", help="where the scores go")
    cases = parser.add_mutually_exclusive_group()
    cases.add_argument("--fold", type=int, metavar="K", help="score only the cases that fold K holds out")
    cases.add_argument("--cases", type=Path, metavar="FILE", help="score only the case ids in this file, one a line")
    parser.add_argument(
        "--folds", type=count, metavar="N", help="number of folds the split has (default: the bundle's own, else 5)"
    )
    parser.add_argument(
        "--runtime",
        type=runtime,
        default="auto",
        metavar="RUNTIME",
        help="what runs the network: auto, tensorflow, openvino, litert, or serving:URL of TensorFlow Serving",
    )
    parser.add_argument(
        "--allow-training-cases", action="store_true", help="score cases the model was trained on, and mark them"
    )
    parser.add_argument(
        "--tta", action="store_true", help="segment mirrored images as well, along the axes that training mirrored"
    )
    parser.add_argument(
        "--against", type=Path, metavar="OTHER.json", help="compare with these metrics, case by case, with an interval"
    )
    parser.add_argument("--predictions", type=Path, metavar="DIR", help="keep the label maps in this folder")
    add_registry(parser)


def run(arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Score, show the table, write the document."""
    from segloop.data import Dataset
    from segloop.store import READABLE, write_whole
    from segloop.train.evaluation import evaluate
    from segloop.train.scores import read_scores

    bundle = registry(arguments).load(arguments.bundle)
    dataset = Dataset.load(arguments.dataset)
    ids = tuple(case.id for case in dataset.cases)
    if arguments.fold is not None:
        folds = arguments.folds or bundle.manifest.provenance.folds or _FOLDS
        if not 0 <= arguments.fold < folds:
            raise InputError(f"Fold {arguments.fold} is not one of 0 to {folds - 1}.", code="usage")
        ids = dataset.split(folds)[arguments.fold][1]
    elif arguments.cases is not None:
        ids = _listed(arguments.cases)
    scores = evaluate(
        bundle,
        dataset,
        ids,
        allow_training_cases=arguments.allow_training_cases,
        runtime=arguments.runtime,
        tta=arguments.tta,
        keep=arguments.predictions,
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
    if arguments.against is not None:
        document["against"] = _compared(scores, read_scores(arguments.against), console)
    return document


def _listed(path: Path) -> tuple[str, ...]:
    """The case ids in a file, one a line, each once."""
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as fault:
        reason = fault.strerror if isinstance(fault, OSError) else "it is no text in UTF-8"
        raise InputError(
            f"The list of cases {path.name} cannot be read: {reason}.",
            found=path.name,
            expected="a text file with one case id a line",
        ) from fault
    ids = tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not ids:
        raise InputError(
            f"The list of cases {path.name} names no case.",
            code="usage",
            found=0,
            expected="at least one case id, one a line",
        )
    return ids


def _compared(scores: Scores, other: Scores, console: Console) -> dict[str, Any]:
    """The difference of mean Dice on the cases that both have."""
    from segloop.train.scores import paired_difference

    reference = {case.id: case.mean_dice for case in other.cases if case.mean_dice is not None}
    found = paired_difference(scores, reference)
    low, high = found.ci95
    console.say(
        f"against {other.model.name} {other.model.version}: {found.difference:+.4f} ({low:+.4f} to {high:+.4f}, 95 %), "
        f"better in {found.better} of {found.cases} cases"
    )
    return found.model_dump(mode="json")


def _interval(bounds: tuple[float, float] | None) -> str:
    return "-" if bounds is None else f"{bounds[0]:.3f} to {bounds[1]:.3f}"
