"""Tumours in PET with a spacing that varies by scanner: five folds here and with nnU-Net, given the same minutes.

    python benchmarks/accuracy/sarcoma_pet.py --minutes 10 --rival-python PATH/TO/python

The interpreter named needs nnunetv2 2.8 (with torch 2.13 for CPU; an environment of its own). Both are scored on the
same held-out cases by the same code. Writes `benchmarks/results/sarcoma-pet.json`; runs in `runs/sarcoma-pet` and goes
on where it was cut off.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
from harness import DATA, RUNS, cores, row, scored, trained, write_result

from segloop.data import Dataset
from segloop.io import files
from segloop.measure.agreement import bootstrap_interval, dice
from segloop.train.precision import threads

NUMBER, NAME = 701, "Dataset701_SarcomaPET"
FOLDS = 5


def main() -> None:
    """Every fold twice, then the paired difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument(
        "--rival-python", default=os.environ.get("NNUNET_PYTHON"), required=not os.environ.get("NNUNET_PYTHON")
    )
    options = parser.parse_args()
    data, folder = DATA / "sarcoma-pet", RUNS / "sarcoma-pet"
    dataset = Dataset.load(data)
    raw = _raw(dataset, folder / "nnunet" / "raw" / NAME)
    ours: dict[str, float] = {}
    theirs: dict[str, float] = {}
    steps = []
    for fold, (_, held) in enumerate(dataset.split(FOLDS)):
        run = folder / f"fold{fold}"
        trained(run, data, options.minutes, "--name", "sarcoma-pet", fold=fold)
        scores = scored(run, data, "--fold", fold)
        ours |= {case.id: case.mean_dice for case in scores.cases if case.mean_dice is not None}
        out = _rival(options, dataset, raw.parent.parent, fold, held)
        steps.append(json.loads((out / "done.json").read_text("utf-8")))
        for case in held:
            reference = dataset.read(dataset.case(case))[1]
            found = files.read_labels(out / f"{case}.nii.gz", dataset.label_names)
            theirs[case] = dice(reference.array > 0, found.array > 0)
    cases = sorted(ours)
    a, b = (np.array([found[case] for case in cases]) for found in (ours, theirs))
    low, high = bootstrap_interval(a - b)
    where, where_zh = (
        f"sarcoma-pet, {FOLDS} folds of {options.minutes:g} min on {cores()[0]}",
        f"sarcoma-pet，{FOLDS} 折各 {options.minutes:g} 分钟，{cores()[1]}",
    )
    write_result(
        "sarcoma-pet",
        [
            row(f"{where}: mean Dice", f"{where_zh}：平均 Dice", f"{a.mean():.4f}"),
            row(f"{where}: mean Dice of nnU-Net", f"{where_zh}：nnU-Net 的平均 Dice", f"{b.mean():.4f}"),
            row(
                f"{where}: paired difference to nnU-Net",
                f"{where_zh}：与 nnU-Net 的配对差值",
                f"{(a - b).mean():+.4f} ({low:+.4f} to {high:+.4f})",
            ),
        ],
        per_case={case: {"segloop": ours[case], "nnunet": theirs[case]} for case in cases},
        nnunet=steps,
    )


def _raw(dataset: Dataset, out: Path) -> Path:
    """The dataset in nnU-Net's raw layout."""
    if (out / "dataset.json").exists():
        return out
    for kind in ("imagesTr", "labelsTr"):
        (out / kind).mkdir(parents=True, exist_ok=True)
    for case in dataset.cases:
        shutil.copyfile(case.images[0], out / "imagesTr" / f"{case.id}_0000.nii.gz")
        shutil.copyfile(case.label, out / "labelsTr" / f"{case.id}.nii.gz")
    labels = {"background": 0} | {name: value for value, name in dataset.label_names.items()}
    document = {
        "channel_names": {"0": "PET"},
        "labels": labels,
        "numTraining": len(dataset.cases),
        "file_ending": ".nii.gz",
    }
    (out / "dataset.json").write_text(json.dumps(document, indent=1), "utf-8")
    return out


def _rival(options: argparse.Namespace, dataset: Dataset, work: Path, fold: int, held: tuple[str, ...]) -> Path:
    out = work / "predicted" / f"fold{fold}"
    if (out / "done.json").exists():
        return out
    spec = {
        "work": str(work),
        "out": str(out),
        "number": NUMBER,
        "name": NAME,
        "fold": fold,
        "splits": [{"train": list(a), "val": list(b)} for a, b in dataset.split(FOLDS)],
        "cases": list(held),
        "seconds": options.minutes * 60,
        "threads": threads(),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    path = work / "spec.json"
    path.write_text(json.dumps(spec), "utf-8")
    script = Path(__file__).with_name("_nnunet.py")
    subprocess.run([options.rival_python, str(script), str(path)], check=True)
    return out


if __name__ == "__main__":
    main()
