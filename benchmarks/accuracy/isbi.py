"""Membranes in electron microscopy (ISBI 2012): V_rand and V_info after border thinning, three folds of one stack.

    python benchmarks/accuracy/isbi.py --minutes 15

The folds are three blocks of eight neighbouring sections, since neighbours are nearly alike. The data has no stated
licence: no model of it is shipped. Writes `benchmarks/results/isbi2012-em.json`; runs in `runs/isbi2012-em`.

Source: Arganda-Carreras et al., Front Neuroanat 9:142 (2015): both scores over the pixels that the expert did not call
membrane, best over thresholds, 1 is perfect.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
from harness import DATA, RUNS, cores, row, trained, write_result
from scipy import ndimage

from segloop.infer import Bundle, Segmenter
from segloop.io import files

SOURCE, FOLDER = DATA / "isbi2012-em", RUNS / "isbi2012-em"
FOLDS, SECTIONS = 3, 24
THRESHOLDS = np.round(np.arange(0.3, 0.96, 0.05), 2)


def main() -> None:
    """Three trainings, their scores on the held-out blocks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=15)
    options = parser.parse_args()
    scores: list[np.ndarray] = []
    for fold in range(FOLDS):
        scores += _scores(Bundle(trained_fold(fold, options.minutes)), SOURCE, _held(fold))
    pooled = np.mean(scores, axis=0)  # threshold, (rand, info)
    best = pooled.max(axis=0)
    where = f"isbi2012-em, {FOLDS} folds of neighbouring sections, {options.minutes:g} min each on {cores()[0]}"
    where_zh = f"isbi2012-em，{FOLDS} 折（相邻切片成块），每次 {options.minutes:g} 分钟，{cores()[1]}"
    write_result(
        "isbi2012-em",
        [
            row(f"{where}: V_rand (thinned)", f"{where_zh}：V_rand（细化后）", f"{best[0]:.4f}"),
            row(f"{where}: V_info (thinned)", f"{where_zh}：V_info（细化后）", f"{best[1]:.4f}"),
        ],
        minutes=options.minutes,
        thresholds=THRESHOLDS.tolist(),
        v_rand=pooled[:, 0].tolist(),
        v_info=pooled[:, 1].tolist(),
        sections=len(scores),
    )


def trained_fold(fold: int, minutes: float) -> Path:
    """The bundle of a training on all sections but one block of neighbours."""
    dataset = _without(SOURCE, FOLDER / f"dataset{fold}", _held(fold))
    return trained(FOLDER / f"fold{fold}", dataset, minutes, "--name", "isbi2012-em")


def _held(fold: int) -> range:
    return range(fold * SECTIONS // FOLDS, (fold + 1) * SECTIONS // FOLDS)


def _without(source: Path, out: Path, held: range) -> Path:
    names = [f"{n:02d}.png" for n in range(SECTIONS) if n not in held]
    for kind in ("image", "label"):
        (out / kind).mkdir(parents=True, exist_ok=True)
        for name in names:
            shutil.copyfile(source / kind / name, out / kind / name)
    return out


def _scores(bundle: Bundle, source: Path, held: range) -> list[np.ndarray]:
    """(threshold, (V_rand, V_info)) of each held-out section."""
    segmenter = Segmenter(bundle)
    found = []
    for n in held:
        prediction = segmenter(files.read(source / "image" / f"{n:02d}.png"), keep_probabilities=True)
        assert prediction.probabilities is not None
        interior = prediction.probabilities[0, ..., 1]
        truth = files.read(source / "label" / f"{n:02d}.png").array[0] > 0
        cells, _ = ndimage.label(truth)
        found.append(np.array([agreement(thinned(interior > t), cells) for t in THRESHOLDS]))
    return found


def thinned(interior: np.ndarray) -> np.ndarray:
    """Cells as numbers without any border between them: each border pixel goes to the nearest cell."""
    cells, count = ndimage.label(interior)
    if not count:
        return np.ones_like(cells)
    nearest = ndimage.distance_transform_edt(cells == 0, return_distances=False, return_indices=True)
    grown: np.ndarray = cells[tuple(nearest)]
    return grown


def agreement(cells: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """V_rand and V_info of two numberings over the pixels where `truth` is not 0."""
    inside = truth > 0
    joint = np.zeros((cells.max() + 1, truth.max() + 1))
    np.add.at(joint, (cells[inside], truth[inside]), 1)
    joint /= joint.sum()
    ours, theirs = joint.sum(axis=1), joint.sum(axis=0)
    rand = float((joint**2).sum() / (0.5 * (ours**2).sum() + 0.5 * (theirs**2).sum()))

    def entropy(p: np.ndarray) -> float:
        p = p[p > 0]
        return float(-(p * np.log(p)).sum())

    total = entropy(ours) + entropy(theirs)
    shared = total - entropy(joint.ravel())
    return rand, 2 * shared / total if total else 1.0


if __name__ == "__main__":
    main()
