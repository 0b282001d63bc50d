"""Cross-validate and ship one model, as one command that resumes.

    python benchmarks/accuracy/ship.py hippocampus-mr ../shared/data/hippocampus --epochs 100
        --reference ../shared/data/hippocampus/nnunet-per-case.json   (on one line)

`segloop cross-validate` in `runs/<name>/` trains the folds and then every case, and chooses clean-up, temperature and
the intervals of volumes from what the folds held out. This writes its out-of-fold figures to
`benchmarks/results/<name>.json`, and puts the model of all cases, with the figures on its card, into the package. A
number of epochs gives the same model on a busy machine as on an idle one; a time budget does not.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from harness import RESULTS, ROOT, RUNS, row, segloop, write_result

from segloop.infer import Bundle, reissue
from segloop.infer.bundle import SHIPPED_BYTES
from segloop.train.scores import LabelSummary, PairedDifference, Scores, paired_difference


def main() -> None:
    """Do what is not done yet, from the folds to the shipped bundle."""
    options = _options()
    run = RUNS / options.name
    length = ["--epochs", options.epochs] if options.epochs else ["--time-budget", f"{options.minutes:g}m"]
    changes = [word for change in options.set for word in ("--set", change)]
    named = ["--name", options.name, "--model-version", options.version]
    segloop("cross-validate", options.dataset, "-o", run, *named, *length, *changes, "--resume")
    bundle = Bundle(run / "bundle")
    if bundle.size_bytes > SHIPPED_BYTES:
        raise SystemExit(f"{bundle.size_bytes} bytes are too many to ship")
    scores = Scores.model_validate_json((run / "metrics.json").read_bytes())
    paired = (
        None
        if options.reference is None
        else paired_difference(scores, _reference(options.reference, list(scores.labels)))
    )
    _write(options, scores, bundle, paired)
    shipped = reissue(
        bundle,
        ROOT / "src" / "segloop" / "bundles" / options.name,
        card=_card(bundle.card, options.name, paired),
        metrics=bundle.manifest.metrics,
    )
    print(f"{options.name}: shipped {shipped.digest}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("dataset", type=Path)
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--minutes", type=float, help="time budget of each training")
    length.add_argument("--epochs", type=int, help="length of each training")
    parser.add_argument("--reference", type=Path, help="another method's Dice per case and label")
    parser.add_argument("--version", default="1.0.0")
    parser.add_argument("--set", action="append", default=[], help="change a field of the Plan")
    return parser.parse_args()


def _write(options: argparse.Namespace, scores: Scores, bundle: Bundle, paired: PairedDifference | None) -> None:
    folds = bundle.plan.training.folds
    length = f"{options.epochs} epochs" if options.epochs else f"{options.minutes:g} min"
    length_zh = f"{options.epochs} 轮" if options.epochs else f"{options.minutes:g} 分钟"

    def line(name: str, summary: LabelSummary) -> dict[str, str]:
        low, high = summary.dice.ci95 or (np.nan, np.nan)
        return row(
            f"{options.name}: Dice {name}, out of fold ({len(scores.cases)} cases, {folds} folds, {length} each)",
            f"{options.name}：{name} 的 Dice，折外（{len(scores.cases)} 例，{folds} 折，每次训练 {length_zh}）",
            f"{summary.dice.mean:.4f} ({low:.4f} to {high:.4f})",
        )

    rows = [line(label.name, label) for label in scores.labels.values()]
    if paired is not None:
        low, high = paired.ci95
        rows.append(
            row(
                f"{options.name}: mean Dice {scores.mean_dice:.4f}, less nnU-Net's on the same cases",
                f"{options.name}：平均 Dice {scores.mean_dice:.4f}，减去 nnU-Net 在同一病例上的值",
                f"{paired.difference:+.4f} ({low:+.4f} to {high:+.4f})",
                "≥ -0.003",
            )
        )
    rows += _intervals(options.name, bundle)
    write_result(
        options.name,
        rows,
        length_of_each_training=length,
        mean_dice=scores.mean_dice,
        labels={value: label.model_dump(mode="json") for value, label in scores.labels.items()},
        paired_difference=None if paired is None else paired.model_dump(mode="json"),
        intervals=[rule.model_dump(mode="json") for rule in bundle.manifest.intervals],
        per_case={case.id: {v: label.dice for v, label in case.labels.items()} for case in scores.cases},
    )


def _intervals(name: str, bundle: Bundle) -> Sequence[dict[str, str]]:
    names = bundle.plan.label_names
    return [
        row(
            f"{name}: experts' volumes of {names[rule.label]} inside the measured one's 95 % interval, out of fold",
            f"{name}：专家勾画的 {names[rule.label]} 体积落在测量值 95% 区间内的比例，折外",
            f"{rule.coverage:.1%} of {rule.cases}",
            "90 to 98 %",
        )
        for rule in bundle.manifest.intervals
        if rule.coverage is not None
    ]


def _reference(path: Path, labels: Sequence[str]) -> dict[str, float]:
    """Mean Dice over the labels, by case."""
    cases: dict[str, Any] = json.loads(path.read_text("utf-8"))["cases"]
    return {case: float(np.mean([dice[label] for label in labels])) for case, dice in cases.items()}


def _card(card: str, name: str, paired: PairedDifference | None) -> str:
    """The card that the cross-validation wrote, with the other method's figure and the file that holds them all."""
    said = ""
    if paired is not None:
        low, high = paired.ci95
        said = (
            f"nnU-Net v2 (3d_fullres, 1,000 epochs, GPU) has {paired.reference_mean:.4f} out of fold on the same "
            f"cases; paired difference {paired.difference:+.4f} (95 % interval {low:+.4f} to {high:+.4f}).\n\n"
        )
    result = json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
    said += f"From `benchmarks/results/{name}.json`, made by `{result['command']}`.\n"
    before, _, rest = card.partition("\n## Intended use")
    return f"{before}\n{said}\n## Intended use{rest}"


if __name__ == "__main__":
    main()
