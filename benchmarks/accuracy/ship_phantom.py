"""Train `phantom-ct` on phantoms, measure it on others, and ship it, as one command that resumes.

    python benchmarks/accuracy/ship_phantom.py --minutes 60 --minutes-varied 32

First on phantoms as `segloop phantom` makes them; then, from these weights, on phantoms whose livers and lesions vary
more in density, so that a lesion's border is found between what lies on its two sides.

Writes phantoms and the run to `runs/phantom-ct`, the measured volumes of unseen phantoms to
`benchmarks/results/phantom-ct-volumes.json` (through `phantom.py`), and the bundle into the package. The intervals of
its volumes come from 40 other unseen phantoms, in four groups that take the place of folds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segloop.infer import Bundle, reissue
from segloop.measure import VolumeInterval
from segloop.phantom import VARIED, Contrast, write_dataset
from segloop.train.intervals import volume_intervals
from segloop.train.scores import Scores
from segloop.train.validated import interval_in_words

ROOT = Path(__file__).resolve().parent.parent.parent
RUN = ROOT / "runs" / "phantom-ct"
SHIPPED = ROOT / "src" / "segloop" / "bundles" / "phantom-ct"
TRAINING_SEEDS = range(1000, 1128)
CHANGES = {
    "network.features": [12, 24, 48, 96],
    "network.strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2], [2, 2, 2]],
    "network.kernels": [[3, 3, 3]] * 4,
    "network.deep_supervision": 3,
    "training.patch": [48, 72, 80],
    "training.batch": 2,
    # Borders of lesions are what is hard: most patches hold one.
    "training.foreground_fraction": 0.8,
    "training.ema": 0.995,
    "inference.patch": [72, 112, 160],
    "inference.overlap": 0.3,
    "inference.mode": "window",
    # Another phantom is a better variant of a phantom than an interpolated one, whose borders no longer are exact.
    "training.augmentation.mirror_axes": [],
    **{
        f"training.augmentation.{name}_probability": 0
        for name in ("rotation", "scale", "elastic", "gamma", "contrast", "brightness", "noise", "blur")
    },
    "post.steps": [{"label": 1, "largest_component": True}, {"label": 2, "min_component_ml": 0.3}],
}
"""What differs from the Plan that the planner makes: a smaller network, so that the demo is quick on two cores."""
VARIED_SEEDS = range(2000, 2128)
VARIED_CHANGES = {
    "training.patch": [40, 56, 64],
    # Instance normalisation sees the window: one like the training patch finds borders as they were learnt. Windows
    # twice as large moved small lesions' borders by up to a third of a voxel.
    "inference.patch": [40, 56, 80],
    "inference.overlap": 0.67,
}

INTERVAL_SEEDS = range(9100, 9140)
GROUPS = 4


def main() -> None:
    """Do what is not done yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--minutes-varied", type=float, default=32)
    options = parser.parse_args()
    first = _trained("all", _dataset("dataset", TRAINING_SEEDS, None), options.minutes, CHANGES)
    varied = _dataset("varied", VARIED_SEEDS, VARIED)
    changes = CHANGES | VARIED_CHANGES
    bundle = Bundle(_trained("final", varied, options.minutes_varied, changes, "--init", first))
    _python("benchmarks/accuracy/phantom.py", "--seeds", "20", "--model", bundle.path)
    result = json.loads((ROOT / "benchmarks" / "results" / "phantom-ct-volumes.json").read_text("utf-8"))
    rows = "\n".join(f"| {row['what'].removeprefix('phantom-ct: ')} | {row['value']} |" for row in result["rows"])
    intervals = _intervals(bundle)
    text = f"| on phantoms it was not trained on | |\n|---|---|\n{rows}\n"
    text += f"\nFrom `benchmarks/results/phantom-ct-volumes.json`, made by `{result['command']}`.\n\n"
    for rule in intervals:
        text += f"- Volume of {bundle.plan.label_names[rule.label]}: {interval_in_words(rule)}.\n"
    before, _, rest = bundle.card.partition("## Metrics\n")
    card = f"{before}## Metrics\n{text}\n## Intended use{rest.partition('## Intended use')[2]}"
    metrics = {"largest_liver_error": result["largest_liver_error"]}
    shipped = reissue(bundle, SHIPPED, card=card, metrics=metrics, intervals=intervals)
    print(f"phantom-ct shipped {shipped.digest}")


def _intervals(bundle: Bundle) -> Sequence[VolumeInterval]:
    """From the errors on phantoms that neither training nor the figures on the card have seen."""
    scores = RUN / "intervals.json"
    if not scores.exists():
        dataset = _dataset("intervals", INTERVAL_SEEDS, None)
        _python("-m", "segloop", "evaluate", bundle.path, dataset, "-o", scores)
    cases = Scores.model_validate_json(scores.read_bytes()).cases
    return volume_intervals([cases[group::GROUPS] for group in range(GROUPS)], bundle.plan.labels)


def _dataset(name: str, seeds: range, contrast: Contrast | None) -> Path:
    folder = RUN / name
    if not (folder / "dataset.json").exists():
        write_dataset(folder, seeds, contrast=contrast)
    return folder


def _trained(name: str, dataset: Path, minutes: float, changes: dict[str, Any], *words: object) -> Path:
    """The bundle of a training that is done once and goes on where it was cut off."""
    run = RUN / name
    if not (run / "bundle" / "manifest.json").exists():
        settings = [word for key, value in changes.items() for word in ("--set", f"{key}={json.dumps(value)}")]
        named = ("--name", "phantom-ct", "--model-version", "1.0.0")
        budget = ("--resume", "--time-budget", f"{minutes:g}m")
        _python("-m", "segloop", "train", dataset, "-o", run, *budget, *named, *settings, *words)
    return run / "bundle"


def _python(*words: object) -> None:
    subprocess.run([sys.executable, *map(str, words)], check=True, cwd=ROOT)


if __name__ == "__main__":
    main()
