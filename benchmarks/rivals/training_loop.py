"""Patches per wall second of the whole training loop, here and in nnU-Net, on the same data in the same time.

    python benchmarks/rivals/training_loop.py --minutes 4 --rival-python PATH/TO/python

Each side trains hippocampus, fold 0, by its own plan: loading, augmentation, step, everything after planning and
preparation counts. The two take turns, halves of the time each, so that other work on the machine slows both. The
interpreter named needs nnunetv2 2.8 with torch 2.13 for CPU. Writes `benchmarks/results/rivals-training-loop.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from segloop.data import Dataset
from segloop.infer import Bundle
from segloop.infer.machine import cpu_model
from segloop.train.precision import threads

ROOT = Path(__file__).resolve().parent.parent.parent
DATA = ROOT.parent / "shared" / "data" / "hippocampus"
NUMBER, NAME = 704, "Dataset704_Hippocampus"
TURNS = 2


def main() -> None:
    """Take turns, write the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=4)
    parser.add_argument("--rival-python", default=os.environ.get("NNUNET_PYTHON"))
    options = parser.parse_args()
    if not options.rival_python:
        print("skipped: name an interpreter that has nnunetv2 with --rival-python or NNUNET_PYTHON")
        return
    seconds = options.minutes * 60 / TURNS
    dataset = Dataset.load(DATA)
    rates: dict[str, list[float]] = {"segloop": [], "nnunet": []}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        _raw(dataset, work / "raw" / NAME)
        _theirs(options.rival_python, dataset, work, 1.0, "warm")  # plans and preprocesses
        for turn in range(TURNS):
            rates["segloop"].append(_ours(work / f"ours{turn}", seconds))
            rates["nnunet"].append(_theirs(options.rival_python, dataset, work, seconds, f"turn{turn}"))
    ratio = sum(rates["segloop"]) / sum(rates["nnunet"])
    document = {
        "name": "rivals-training-loop",
        "command": f"python benchmarks/rivals/training_loop.py --minutes {options.minutes:g} --rival-python PATH",
        "machine": cpu_model(),
        "patches_per_second": rates,
        "rows": [
            {
                "what": "patches per wall second of the whole training loop, times nnU-Net's (hippocampus)",
                "what_zh": "整个训练循环每秒处理的图像块数，为 nnU-Net 的倍数（海马体）",
                "value": f"{ratio:.1f}",
                "bound": "≥ 2.5",
            }
        ],
    }
    path = ROOT / "benchmarks" / "results" / "rivals-training-loop.json"
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")
    print(f"ratio {ratio:.2f}, {rates}")


def _ours(run: Path, seconds: float) -> float:
    budget = ("--time-budget", f"{seconds:g}s", "--fold", "0")
    subprocess.run([sys.executable, "-m", "segloop", "train", str(DATA), "-o", str(run), *budget], check=True, cwd=ROOT)
    bundle = Bundle(run / "bundle")
    return bundle.manifest.provenance.steps * bundle.plan.training.batch / bundle.manifest.provenance.seconds


def _theirs(python: str, dataset: Dataset, work: Path, seconds: float, turn: str) -> float:
    spec = {
        "work": str(work),
        "out": str(work / turn),
        "number": NUMBER,
        "name": NAME,
        "fold": 0,
        "splits": [{"train": list(a), "val": list(b)} for a, b in dataset.split(5)],
        "cases": [],
        "seconds": seconds,
        "threads": threads(),
    }
    path = work / "spec.json"
    path.write_text(json.dumps(spec), "utf-8")
    script = ROOT / "benchmarks" / "accuracy" / "_nnunet.py"
    subprocess.run([python, str(script), str(path)], check=True)
    done = json.loads((work / turn / "done.json").read_text("utf-8"))
    return done["steps"] * done["batch"] / done["seconds"]


def _raw(dataset: Dataset, out: Path) -> None:
    for kind in ("imagesTr", "labelsTr"):
        (out / kind).mkdir(parents=True)
    for case in dataset.cases:
        shutil.copyfile(case.images[0], out / "imagesTr" / f"{case.id}_0000.nii.gz")
        shutil.copyfile(case.label, out / "labelsTr" / f"{case.id}.nii.gz")
    labels = {"background": 0} | {name: value for value, name in dataset.label_names.items()}
    document = {
        "channel_names": {"0": "MRI"},
        "labels": labels,
        "numTraining": len(dataset.cases),
        "file_ending": ".nii.gz",
    }
    (out / "dataset.json").write_text(json.dumps(document, indent=1), "utf-8")


if __name__ == "__main__":
    main()
