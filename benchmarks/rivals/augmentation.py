"""Augmented patches per second of one core, ours beside batchgeneratorsv2's, for each transform and for usual mixes.

    python benchmarks/rivals/augmentation.py --rival-python PATH/TO/python

The interpreter named needs batchgeneratorsv2 and PyTorch, in an environment of its own (0.3.6 and 2.13.0 were used).
Both sides cut patches of equal size from equal images, with the same transforms at the same probabilities and ranges,
on one core and in one thread each, and take turns in one run. Processor time is what counts, so that other work on the
machine disturbs little. Ours is the feed that training reads from, choice of the case and the place included. Masks are
read at the nearest voxel by both; the row "labels interpolated" is what nnU-Net does by default.
Writes `benchmarks/results/rivals-augmentation.json`; the bound is that of issue 3.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from segloop.data.feed import Example, training_feed
from segloop.infer.machine import cpu_model
from segloop.plan import AugmentationSpec, LabelSpec, Plan

HERE = Path(__file__).resolve().parent
CLASSES, IMAGES, BATCH = 3, 4, 4
PATCHES = {"3d": ((40, 56, 40), (60, 80, 60)), "2d": ((1, 256, 256), (1, 512, 512))}
VALUES = ("gamma", "contrast", "brightness", "noise", "blur", "low_resolution")
AFFINE = {"rotation": 1.0, "scale": 1.0}
# The chances of nnU-Net's trainer (2.8), where it has the transform and we too; it does not bend by default.
USUAL = {
    "rotation": 0.2, "scale": 0.2, "noise": 0.1, "blur": 0.2, "brightness": 0.15, "contrast": 0.15,
    "low_resolution": 0.25, "gamma": 0.3,
}  # fmt: skip


def rows() -> dict[str, dict]:
    """What is compared: the chance of each transform, whether axes are mirrored, how the rival reads masks."""
    alone: dict[str, dict[str, float]] = {"crop": {}, "rotation": {"rotation": 1.0}, "scale": {"scale": 1.0}}
    alone |= {"elastic": {"elastic": 1.0}, "rotation, scale": AFFINE}
    alone |= {"rotation, scale, elastic": {**AFFINE, "elastic": 1.0}}
    alone |= {name: {name: 1.0} for name in VALUES}
    alone |= {f"rotation, scale, {name}": {**AFFINE, name: 1.0} for name in VALUES}
    alone |= {"all": {**AFFINE, "elastic": 1.0, **dict.fromkeys(VALUES, 1.0)}}
    found = {name: {"chances": chances, "mirror": name == "all", "mask": "nearest"} for name, chances in alone.items()}
    found["mirror"] = {"chances": {}, "mirror": True, "mask": "nearest"}
    found["usual mix"] = {"chances": USUAL, "mirror": True, "mask": "nearest"}
    found["usual mix, elastic"] = {"chances": {**USUAL, "elastic": 0.2}, "mirror": True, "mask": "nearest"}
    found["usual mix, labels interpolated"] = {"chances": USUAL, "mirror": True, "mask": "bilinear"}
    return found


def plan_of(kind: str, row: dict) -> Plan:
    """A Plan that augments as the row says."""
    patch, _ = PATCHES[kind]
    dims = 2 if patch[0] == 1 else 3
    first, other = (1, 1, 1), (1 if dims == 2 else 2, 2, 2)
    names = [name for name in AugmentationSpec.model_fields if name.endswith("_probability")]
    chances = {name: row["chances"].get(name.removesuffix("_probability"), 0.0) for name in names}
    axes = list(range(3 - dims, 3)) if row["mirror"] else []
    labels = [LabelSpec(value=v, name=f"label {v}").model_dump() for v in range(1, CLASSES)]
    kernel = (1 if dims == 2 else 3, 3, 3)
    network = {"dims": dims, "classes": CLASSES, "features": (4, 4), "kernels": (kernel, kernel)}
    return Plan.parse(
        {
            "name": "rival",
            "labels": labels,
            "network": {**network, "strides": (first, other), "deep_supervision": 1},
            "training": {"patch": patch, "batch": BATCH, "augmentation": {**chances, "mirror_axes": axes}},
            "inference": {"patch": patch},
        }
    )


def batches(kind: str, row: dict) -> Iterator[tuple]:
    """Our endless batches."""
    draw, (_, shape) = np.random.default_rng(0), PATCHES[kind]
    examples = [
        Example(
            str(i),
            draw.normal(size=(*shape, 1)).astype(np.float32),
            draw.integers(0, CLASSES, shape).astype(np.uint8),
        )
        for i in range(IMAGES)
    ]
    return iter(training_feed(examples, plan_of(kind, row), 0))


def settled() -> float:
    """Processor seconds so far, once the feed has made all batches that it keeps ready and waits."""
    before = -1.0
    while time.process_time() - before > 2e-3:
        before = time.process_time()
        time.sleep(0.2)
    return time.process_time()


def timed(feed: Iterator[tuple], count: int) -> float:
    """Processor seconds of one patch: as many batches are made between two rests as are taken."""
    started = settled()
    for _ in range(count // BATCH):
        next(feed)
    return (settled() - started) / (count // BATCH * BATCH)


def compared(kind: str, options: argparse.Namespace) -> dict[str, dict]:
    """Each row's patches per second on both sides, and their ratio."""
    patch, shape = PATCHES[kind]
    ranges = AugmentationSpec().model_dump(mode="json")
    spec = {"patch": patch, "shape": shape, "images": IMAGES, "classes": CLASSES, "ranges": ranges, "rows": rows()}
    if kind == "2d":
        spec["patch"], spec["shape"] = patch[1:], shape[1:]
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "spec.json")
        path.write_text(json.dumps(spec), "utf-8")
        command = [options.rival_python, str(HERE / "_batchgenerators.py"), str(path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as peer:
            for name, row in rows().items():
                found[name] = one_row(row, kind, asking(peer, name), options)
                print(kind, name, found[name], flush=True)
            assert peer.stdin is not None
            peer.stdin.close()
    return found


def asking(peer: subprocess.Popen[str], name: str) -> Callable[[int], float]:
    """What gives the rival's processor seconds of one patch of a row."""

    def theirs(count: int) -> float:
        assert peer.stdin is not None
        assert peer.stdout is not None
        peer.stdin.write(f"{name} {count}\n")
        peer.stdin.flush()
        return float(json.loads(peer.stdout.readline())) / count

    return theirs


def one_row(row: dict, kind: str, theirs: Callable[[int], float], options: argparse.Namespace) -> dict:
    """Both sides in turns."""
    feed, count = batches(kind, row), options.patches
    timed(feed, 4 * BATCH)
    theirs(BATCH)
    seconds: dict[str, list[float]] = {"segloop": [], "batchgeneratorsv2": []}
    for _ in range(options.rounds):
        seconds["segloop"].append(timed(feed, count))
        seconds["batchgeneratorsv2"].append(theirs(count))
    median = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        **{name: round(1 / value, 1) for name, value in median.items()},
        "ratio": round(median["batchgeneratorsv2"] / median["segloop"], 3),
    }


def versions(python: str) -> dict[str, str]:
    """Of the rival and of what it stands on."""
    code = "import importlib.metadata as m; print(m.version('batchgeneratorsv2'), m.version('torch'))"
    found = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    return {"batchgeneratorsv2": found[0], "torch": found[1], "tensorflow": tf.__version__}


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rival-python", default=os.environ.get("RIVAL_PYTHON"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--patches", type=int, default=40, help="of each side in each round; a multiple of 4")
    parser.add_argument("--core", type=int, default=0, help="the core that both sides share")
    options = parser.parse_args()
    if not options.rival_python:
        print("skipped: name an interpreter that has batchgeneratorsv2 with --rival-python or RIVAL_PYTHON")
        return
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {options.core})
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    found = {kind: compared(kind, options) for kind in PATCHES}
    document = {
        "name": "rivals-augmentation",
        "command": "python benchmarks/rivals/augmentation.py --rival-python PATH",
        "machine": cpu_model(),
        "versions": versions(options.rival_python),
        "patches_per_second_per_core": found,
        "rows": [
            {
                "what": f"augmented patches per second and core, {words}, over batchgeneratorsv2's",
                "what_zh": f"每核每秒增强图块数（{chinese}），相对于 batchgeneratorsv2",
                "value": f"{found[kind][row]['ratio']:.2f}",
                "bound": "≥ 1.2",
            }
            for kind, row, words, chinese in (
                ("3d", "usual mix", "nnU-Net's mix in 3-D", "nnU-Net 的三维组合"),
                (
                    "3d",
                    "rotation, scale, elastic",
                    "rotation, scaling and elastic deformation in 3-D",
                    "三维旋转、缩放与弹性形变",
                ),
                ("2d", "usual mix", "nnU-Net's mix in 2-D", "nnU-Net 的二维组合"),
            )
        ],
    }
    result = HERE.parent / "results" / "rivals-augmentation.json"
    result.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
