"""37 cases only: what augmentation, elastic deformation included, is worth.

    python benchmarks/accuracy/few_cases.py --minutes 10 --seeds 3

Trains on the first 37 cases of hippocampus by id, with the planned augmentation and without any, and scores 60 other
cases. Writes `benchmarks/results/few-cases.json`. Runs in `runs/few-cases` and goes on where it was cut off.
"""

from __future__ import annotations

import argparse

import numpy as np
from harness import DATA, RUNS, cores, row, scored, subset, trained, write_result

from segloop.data import Dataset
from segloop.measure.agreement import bootstrap_interval
from segloop.plan import AugmentationSpec

TRAINED, SCORED = 37, 60
NONE = {
    f"training.augmentation.{name}": 0 for name in AugmentationSpec.model_fields if name.endswith("_probability")
} | {"training.augmentation.mirror_axes": [], "inference.mirror_axes": []}
ARMS = {"augmented": {"training.augmentation.elastic_probability": 0.3}, "plain": NONE}


def main() -> None:
    """Every arm and seed, then the difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    whole = DATA / "hippocampus"
    ids = [case.id for case in Dataset.load(whole).cases]
    folder = RUNS / "few-cases"
    few = subset(whole, folder / "dataset", ids[:TRAINED])
    (folder / "scored.txt").write_text("\n".join(ids[-SCORED:]) + "\n", "utf-8")
    dice: dict[str, list[np.ndarray]] = {arm: [] for arm in ARMS}
    for seed in range(options.seeds):
        for arm, changes in ARMS.items():
            run = folder / f"{arm}-{seed}"
            trained(run, few, options.minutes, "--name", "few", seed=seed, changes=changes)
            scores = scored(run, whole, "--cases", folder / "scored.txt")
            dice[arm].append(np.array([case.mean_dice for case in scores.cases], float))
    mean = {arm: np.mean(found, axis=0) for arm, found in dice.items()}
    gain = mean["augmented"] - mean["plain"]
    low, high = bootstrap_interval(gain)
    shape = f"{TRAINED} cases, {options.minutes:g} min on {cores()[0]}, {options.seeds} seeds, {SCORED} scored"
    shape_zh = f"{TRAINED} 例，{options.minutes:g} 分钟，{cores()[1]}，{options.seeds} 个种子，{SCORED} 例评分"
    rows = [
        row(f"{name} ({shape})", f"{name_zh}（{shape_zh}）", f"{mean[arm].mean():.4f}")
        for arm, name, name_zh in (
            ("augmented", "mean Dice with augmentation", "有数据增强的平均 Dice"),
            ("plain", "mean Dice without augmentation", "无数据增强的平均 Dice"),
        )
    ]
    rows.append(
        row(
            f"gain by augmentation, paired ({shape})",
            f"数据增强的增益，配对（{shape_zh}）",
            f"{gain.mean():+.4f} ({low:+.4f} to {high:+.4f})",
        )
    )
    write_result(
        "few-cases", rows, dice={arm: [float(one.mean()) for one in found] for arm, found in dice.items()}, arms=ARMS
    )


if __name__ == "__main__":
    main()
