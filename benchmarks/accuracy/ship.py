"""Train, cross-validate and ship one model, as one command that resumes.

    python benchmarks/accuracy/ship.py hippocampus-mr ../shared/data/hippocampus --epochs 90 --folds 0 1 2 3 4
        --reference ../shared/data/hippocampus/nnunet-per-case.json   (on one line)

Trains the given folds and then every case, each in `runs/<name>/`, scores the held-out cases through `segloop
evaluate`, writes `benchmarks/results/<name>.json`, and puts the model of all cases, with the out-of-fold figures on its
card, into the package. What is done already is not done again. A number of epochs gives the same model on a busy
machine as on an idle one; a time budget does not.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from segloop.infer import Bundle, reissue
from segloop.infer.bundle import SHIPPED_BYTES
from segloop.infer.machine import cpu_model
from segloop.measure.agreement import bootstrap_interval
from segloop.train.scores import Scores, paired_difference

ROOT = Path(__file__).resolve().parent.parent.parent


def main() -> None:
    """Do what is not done yet, from the folds to the shipped bundle."""
    options = _options()
    run = ROOT / "runs" / options.name
    scores = [_fold(options, run, fold) for fold in options.folds]
    _train(options, run / "all", "all")
    summary = _summary(options, scores)
    path = ROOT / "benchmarks" / "results" / f"{options.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", "utf-8")
    bundle = Bundle(run / "all" / "bundle")
    if bundle.size_bytes > SHIPPED_BYTES:
        raise SystemExit(f"{bundle.size_bytes} bytes are too many to ship")
    shipped = reissue(
        bundle,
        ROOT / "src" / "segloop" / "bundles" / options.name,
        card=_card(bundle.card, summary),
        metrics={"out_of_fold_mean_dice": summary["mean_dice"]},
    )
    print(f"{options.name}: out-of-fold mean Dice {summary['mean_dice']:.4f}, shipped {shipped.digest}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("dataset", type=Path)
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--minutes", type=float, help="time budget of each training")
    length.add_argument("--epochs", type=int, help="length of each training")
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--reference", type=Path, help="another method's Dice per case and label")
    parser.add_argument("--version", default="1.0.0")
    parser.add_argument("--set", action="append", default=[], help="change a field of the Plan")
    return parser.parse_args()


def _fold(options: argparse.Namespace, run: Path, fold: int) -> Scores:
    folder = run / f"fold{fold}"
    _train(options, folder, str(fold))
    out = folder / "metrics.json"
    if not out.exists():
        _segloop("evaluate", folder / "bundle", options.dataset, "--fold", fold, "-o", out)
    return Scores.model_validate_json(out.read_bytes())


def _train(options: argparse.Namespace, folder: Path, fold: str) -> None:
    if (folder / "bundle" / "manifest.json").exists():
        return
    changes = [word for change in options.set for word in ("--set", change)]
    length = ["--epochs", options.epochs] if options.epochs else ["--time-budget", f"{options.minutes}m"]
    arguments = ["--fold", fold, *length, "--model-version", options.version]
    _segloop("train", options.dataset, "-o", folder, *arguments, "--name", options.name, "--resume", *changes)


def _segloop(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "segloop", *map(str, words)], check=True, cwd=ROOT)


def _summary(options: argparse.Namespace, scores: list[Scores]) -> dict:
    cases = [case for one in scores for case in one.cases]
    labels = {}
    for value, label in scores[0].labels.items():
        dice = [case.labels[value].dice for case in cases if case.labels[value].dice is not None]
        hd95 = [case.labels[value].hd95_mm for case in cases if case.labels[value].hd95_mm is not None]
        labels[value] = {
            "name": label.name,
            "dice": float(np.mean(dice)),
            "ci95": bootstrap_interval(dice),
            "hd95_mm": float(np.mean(hd95)),
        }
    mean = float(np.mean([label["dice"] for label in labels.values()]))
    summary = {
        "name": options.name,
        "command": " ".join(["python benchmarks/accuracy/ship.py", *map(_shown, sys.argv[1:])]),
        "machine": cpu_model(),
        "length_of_each_training": _length(options),
        "folds": options.folds,
        "cases": len(cases),
        "labels": labels,
        "mean_dice": mean,
        "per_case": {case.id: {v: label.dice for v, label in case.labels.items()} for case in cases},
        "rows": [_row(options, label["name"], label["dice"], len(cases)) for label in labels.values()]
        + [_row(options, "mean", mean, len(cases))],
    }
    if options.reference is not None:
        pooled = scores[0].model_copy(update={"cases": tuple(cases)})
        difference = paired_difference(pooled, _reference(options.reference))
        summary["paired_difference_to_nnunet"] = difference.model_dump(mode="json")
        low, high = difference.ci95
        summary["rows"].append(
            {
                "what": f"{options.name}: mean Dice less nnU-Net's on the same cases (nnU-Net: 1,000 epochs, GPU)",
                "what_zh": f"{options.name}：同一病例上的平均 Dice 减去 nnU-Net（1000 轮，GPU）",
                "value": f"{difference.difference:+.4f} ({low:+.4f} to {high:+.4f})",
            }
        )
    return summary


def _row(options: argparse.Namespace, name: str, dice: float, cases: int) -> dict[str, str]:
    folds = ", ".join(map(str, options.folds))
    what = f"{options.name}: Dice {name}, out of fold ({cases} cases, folds {folds}, {_length(options)} each)"
    length = f"{options.epochs} 轮" if options.epochs else f"{options.minutes:g} 分钟"
    what_zh = f"{options.name}：{name} 的 Dice，折外（{cases} 例，第 {folds} 折，每次训练 {length}）"
    return {"what": what, "what_zh": what_zh, "value": f"{dice:.4f}", "bound": "≥ 0.880" if name == "mean" else ""}


def _length(options: argparse.Namespace) -> str:
    return f"{options.epochs} epochs" if options.epochs else f"{options.minutes:g} min"


def _reference(path: Path) -> dict[str, float]:
    document = json.loads(path.read_text("utf-8"))
    cases = document.get("cases", document)
    return {case: float(np.mean([dice[k] for k in ("1", "2")])) for case, dice in cases.items()}


def _card(card: str, summary: dict) -> str:
    rows = "\n".join(
        f"| {label['name']} | {label['dice']:.4f} | {_range(label['ci95'], '.4f')} | {label['hd95_mm']:.2f} |"
        for label in summary["labels"].values()
    )
    folds = ", ".join(map(str, summary["folds"]))
    cases = summary["cases"]
    text = f"""The shipped weights were trained on every case. The same plan with folds {folds} held out, {cases} cases
through the production `Segmenter`, weights in half precision,
{summary["length_of_each_training"]} of training each:

| label | Dice | 95 % interval | HD95 mm |
|---|---|---|---|
{rows}
| mean | {summary["mean_dice"]:.4f} | | |
"""
    paired = summary.get("paired_difference_to_nnunet")
    if paired:
        text += (
            f"\nnnU-Net v2 (3d_fullres, 1,000 epochs, GPU) has {paired['reference_mean']:.4f} out of fold on the same "
            f"cases; paired difference {paired['difference']:+.4f} (95 % interval {_range(paired['ci95'], '+.4f')}).\n"
        )
    text += f"\nFrom `benchmarks/results/{summary['name']}.json`, made by `{summary['command']}`.\n"
    before, _, rest = card.partition("## Metrics\n")
    return f"{before}## Metrics\n{text}\n## Intended use{rest.partition('## Intended use')[2]}"


def _range(bounds: tuple[float, float], form: str) -> str:
    return f"{bounds[0]:{form}} to {bounds[1]:{form}}"


def _shown(word: str) -> str:
    return Path(word).as_posix() if not Path(word).is_absolute() else Path(word).name


if __name__ == "__main__":
    main()
