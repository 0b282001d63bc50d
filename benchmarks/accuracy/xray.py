"""The X-ray path: 16-bit grey projections with masks, from images to measured Dice.

    python benchmarks/accuracy/xray.py --minutes 5

Projections of a CT (as a digital radiograph adds up attenuation) from many directions become 16-bit PNG files; the mask
is the shadow of the spine. Trained on some directions, scored on others of the same CT: this proves that the
path works, not how well a model generalises. Writes `benchmarks/results/xray.json`; runs in `runs/xray`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from harness import DATA, RUNS, cores, row, scored, trained, write_result
from PIL import Image
from scipy import ndimage

from segloop.io import files

VIEWS = 40
SPINE = range(25, 51)
"""Vertebrae and sacrum in the numbering of the label map, TotalSegmentator's version 2."""
SIZE = (256, 256)


def main() -> None:
    """Make the images, train, score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5)
    options = parser.parse_args()
    folder = RUNS / "xray"
    dataset = _projections(folder / "dataset")
    trained(folder / "fold0", dataset, options.minutes, "--name", "xray", fold=0)
    scores = scored(folder / "fold0", dataset, "--fold", 0)
    trained_on, trained_on_zh = f"{options.minutes:g} min on {cores()[0]}", f"{options.minutes:g} 分钟，{cores()[1]}"
    views = len(scores.cases)
    what = f"16-bit projections, fold 0, {trained_on}: Dice of the spine's shadow ({views} views)"
    what_zh = f"16 位投影图，第 0 折，{trained_on_zh}：脊柱投影的 Dice（{views} 个角度）"
    write_result("xray", [row(what, what_zh, f"{scores.mean_dice:.4f}")], cases=views)


def _projections(out: Path) -> Path:
    if (out / "labels" / f"view{VIEWS - 1:02d}.png").exists():
        return out
    ct = files.read(DATA / "abdomen-ct" / "example_ct_sm.nii.gz").reoriented("SPL").array.astype(np.float32)
    organs = files.read(DATA / "abdomen-ct" / "example_seg.nii.gz").reoriented("SPL").array
    spine = np.isin(organs, SPINE).astype(np.float32)
    attenuation = 0.02 * np.clip(1 + ct / 1000, 0, 3)  # per mm
    draw = np.random.default_rng(0)
    for folder in ("images", "labels"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for view in range(VIEWS):
        angle, shift = draw.uniform(-35, 35), draw.uniform(-4, 4)

        def seen(array: np.ndarray, angle: float = angle, shift: float = shift) -> np.ndarray:
            turned = ndimage.rotate(array, angle, axes=(1, 2), reshape=False, order=1)
            return ndimage.shift(turned, (shift, 0, 0), order=1)

        through = seen(attenuation).sum(axis=1) * 3.0
        noisy = through + draw.normal(0, 0.01 * through.max(), through.shape)
        grey = np.clip(noisy / through.max() * 60_000, 0, 65_535).astype(np.uint16)
        shadow = (seen(spine).max(axis=1) > 0.5).astype(np.uint8)
        Image.fromarray(grey).resize(SIZE, Image.Resampling.BILINEAR).save(out / "images" / f"view{view:02d}.png")
        Image.fromarray(shadow).resize(SIZE, Image.Resampling.NEAREST).save(out / "labels" / f"view{view:02d}.png")
    return out


if __name__ == "__main__":
    main()
