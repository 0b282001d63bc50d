"""Retinal vessels in colour photographs (CHASE_DB1): Dice beside a second observer's, and what transfer is worth.

    python benchmarks/accuracy/chase_db1.py --minutes 15 --transfer-minutes 3 --seeds 5

Five patient-level folds, or the first `--folds` of them, are trained and scored against the first observer, whose
agreement with the second one is the yardstick. Transfer: two arms learn from fold 0's training images for a short time,
one from nothing and one by `--init` from a model of another 2-D task (membranes in electron microscopy, one channel:
fold 0 of `isbi.py`). Writes `benchmarks/results/chase-db1.json`; runs in `runs/chase-db1`.
"""

from __future__ import annotations

import argparse

import isbi
import numpy as np
from harness import DATA, RUNS, cores, row, scored, trained, write_result

from segloop.io import files
from segloop.measure.agreement import bootstrap_interval, dice

FOLDS = 5
PUBLISHED = 0.8024
"""A U-Net's F1 on this data, as published; trained on 20 images and scored on 8 others."""


def main() -> None:
    """Folds, second observer, transfer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--folds", type=int, default=FOLDS, help=f"how many of the {FOLDS} folds are held out in turn")
    parser.add_argument("--transfer-minutes", type=float, default=3)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--source-minutes", type=float, default=15, help="of isbi.py, whose fold 0 is the source")
    options = parser.parse_args()
    data, folder = DATA / "chase-db1", RUNS / "chase-db1"
    cases: dict[str, float] = {}
    for fold in range(options.folds):
        run = folder / f"fold{fold}"
        trained(run, data, options.minutes, "--name", "chase-db1", fold=fold)
        scores = scored(run, data, "--fold", fold)
        cases |= {case.id: case.mean_dice for case in scores.cases if case.mean_dice is not None}
    human = {case: _observers(case) for case in cases}
    ours, theirs = np.array(list(cases.values())), np.array([human[case] for case in cases])
    alone, transferred = _transfer(options)
    gain = np.array(transferred) - np.array(alone)
    where, where_zh = (
        f"chase-db1, {options.folds} of {FOLDS} folds, {options.minutes:g} min each on {cores()[0]}",
        f"chase-db1，{FOLDS} 折中的 {options.folds} 折，各 {options.minutes:g} 分钟，{cores()[1]}",
    )
    short = f"{options.transfer_minutes:g} min, {options.seeds} seeds, fold 0, {cores()[0]}"
    short_zh = f"{options.transfer_minutes:g} 分钟，{options.seeds} 个种子，第 0 折，{cores()[1]}"
    write_result(
        "chase-db1",
        [
            row(f"{where}: mean Dice", f"{where_zh}：平均 Dice", f"{ours.mean():.4f}", f"published U-Net {PUBLISHED}"),
            row(
                "chase-db1: second observer's mean Dice with the first, same images",
                "chase-db1：第二位阅片者与第一位的平均 Dice，同一批图像",
                f"{theirs.mean():.4f}",
            ),
            row(
                f"chase-db1: gain by --init from isbi2012-em ({short})",
                f"chase-db1：从 isbi2012-em 以 --init 迁移的增益（{short_zh}）",
                f"{gain.mean():+.4f} (seeds {gain.min():+.4f} to {gain.max():+.4f})",
            ),
        ],
        per_case=cases,
        second_observer=human,
        ci95=bootstrap_interval(ours),
        from_nothing=alone,
        transferred=transferred,
    )


def _observers(case: str) -> float:
    first, second = (files.read(DATA / "chase-db1" / f"{case}_{who}.png").array > 0 for who in ("1stHO", "2ndHO"))
    return dice(first, second)


def _transfer(options: argparse.Namespace) -> tuple[list[float], list[float]]:
    """Mean Dice on fold 0 of each seed, from nothing and from another task's bundle."""
    folder, minutes = RUNS / "chase-db1", options.transfer_minutes
    source = isbi.trained_fold(0, options.source_minutes)
    arms: tuple[tuple[str, tuple[object, ...]], ...] = (("alone", ()), ("init", ("--init", source)))
    found: dict[str, list[float]] = {name: [] for name, _ in arms}
    for seed in range(options.seeds):
        for name, words in arms:
            run = folder / f"{name}{seed}"
            trained(run, DATA / "chase-db1", minutes, "--name", "chase-db1", *words, fold=0, seed=seed)
            mean = scored(run, DATA / "chase-db1", "--fold", 0).mean_dice
            assert mean is not None
            found[name].append(mean)
    return found["alone"], found["init"]


if __name__ == "__main__":
    main()
