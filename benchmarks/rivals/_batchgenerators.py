"""The batchgeneratorsv2 side of `augmentation.py`, run by an interpreter that has it.

    python _batchgenerators.py SPEC.json

SPEC.json holds images' size and number, the patch, labels, threads' ranges and, for each row, the chance of every
transform. Then, for each line on standard input holding a row and a number of patches, it makes them and prints the
processor seconds they took. Only the transform's chances and ranges are ours; how it is done is the library's.
"""

from __future__ import annotations

import json
import sys
import time
from math import radians
from pathlib import Path

import numpy as np
import torch
from batchgeneratorsv2.transforms.intensity.brightness import BrightnessAdditiveTransform
from batchgeneratorsv2.transforms.intensity.contrast import ContrastTransform
from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.random import RandomTransform


def pipeline(spec: dict, row: dict) -> ComposeTransforms:
    """The row's transforms, in the order in which nnU-Net composes them."""
    ranges, chance = spec["ranges"], row["chances"]
    angle = [radians(a) for a in ranges["rotation_degrees"]]
    turn = angle[0] if len(spec["patch"]) == 2 else max(angle)
    steps = [
        SpatialTransform(
            tuple(spec["patch"]),
            patch_center_dist_from_border=[n / 2 for n in spec["patch"]],
            random_crop=True,
            p_elastic_deform=chance.get("elastic", 0),
            elastic_deform_scale=(0.2, 0.2),
            elastic_deform_magnitude=(0, ranges["elastic_mm"]),
            p_rotation=chance.get("rotation", 0),
            rotation=(-turn, turn),
            p_scaling=chance.get("scale", 0),
            scaling=tuple(ranges["scale"]),
            p_synchronize_scaling_across_axes=1,
            mode_seg=row["mask"],
        )
    ]
    others = {
        "noise": GaussianNoiseTransform((0, ranges["noise_sd"]), 1, True),
        "blur": GaussianBlurTransform(tuple(ranges["blur_sigma"]), True, True),
        "brightness": BrightnessAdditiveTransform(0, ranges["brightness"]),
        "contrast": ContrastTransform(tuple(ranges["contrast"]), False, True),
        "low_resolution": SimulateLowResolutionTransform(tuple(ranges["low_resolution"]), True, False, None),
        "gamma": GammaTransform(tuple(ranges["gamma"]), 0, True, 1, 1),
    }
    steps += [RandomTransform(others[name], chance[name]) for name in others if chance.get(name, 0) > 0]
    if row["mirror"]:
        steps.append(MirrorTransform(tuple(range(len(spec["patch"])))))
    return ComposeTransforms(steps)


def main() -> None:
    """Answer requests until standard input ends."""
    spec = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    torch.set_num_threads(1)
    draw = np.random.default_rng(0)
    shape = (spec["images"], 1, *spec["shape"])
    images = torch.from_numpy(draw.normal(size=shape).astype(np.float32))
    masks = torch.from_numpy(draw.integers(0, spec["classes"], shape).astype(np.int16))
    pipelines = {name: pipeline(spec, row) for name, row in spec["rows"].items()}
    for line in sys.stdin:
        name, count = line.rsplit(maxsplit=1)
        made = pipelines[name]
        started = time.process_time()
        for _ in range(int(count)):
            case = int(draw.integers(spec["images"]))
            patch = made(image=images[case], segmentation=masks[case])
        seconds = time.process_time() - started
        if patch["image"].shape[1:] != torch.Size(spec["patch"]):
            raise RuntimeError(f"{name} made a patch of {patch['image'].shape}")
        sys.stdout.write(json.dumps(seconds) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
