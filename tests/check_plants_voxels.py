"""Faults of label maps, images, splits and Plans, each planted in a dataset of `check_kit`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np

import check_kit as kit
from check_plants import OTHER, VICTIM, image_of, label_of, plant, relabel, rename
from segloop.io import files
from segloop.volume import Volume

# Label maps


@plant("unknown_label")
def _(root: Path) -> None:
    relabel(root, lambda label: np.where(label == 4, 9, label).astype(np.uint8))


@plant("unknown_label", "pictures", "unknown_label in a picture")
def _(root: Path) -> None:
    path = root / "masks" / f"{VICTIM}.png"
    mask = files.read(path)
    files.write(Volume(np.where(mask.array == 255, 128, mask.array), mask.geometry), path)


@plant("fractional_label", mendable=True)
def _(root: Path) -> None:
    label = kit.get(root, VICTIM)[1]
    files.write(Volume(label.astype(np.float32) * np.float32(0.9999), kit.GRID), label_of(root))


@plant("fractional_label", name="fractional_label interpolated")
def _(root: Path) -> None:
    label = kit.get(root, VICTIM)[1].astype(np.float32)
    files.write(Volume((label + np.roll(label, 1, axis=2)) / 2, kit.GRID), label_of(root))


@plant("float_label", mendable=True)
def _(root: Path) -> None:
    files.write(Volume(kit.get(root, VICTIM)[1].astype(np.float32), kit.GRID), label_of(root))


@plant("empty_label")
def _(root: Path) -> None:
    relabel(root, np.zeros_like)


@plant("full_label")
def _(root: Path) -> None:
    relabel(root, np.ones_like)


@plant("no_background")
def _(root: Path) -> None:
    relabel(root, lambda label: np.where(label == 0, 1, label).astype(np.uint8))


@plant("unused_label", cases=("",))
def _(root: Path) -> None:
    names = {**kit.NAMES, 5: "spleen"}
    kit.describe(root, labels={"0": "background", **{str(n): s for n, s in names.items()}})


@plant("absent_label")
def _(root: Path) -> None:
    relabel(root, lambda label: np.where(label == 4, 0, label).astype(np.uint8))


@plant("label_copied", cases=(OTHER,))
def _(root: Path) -> None:
    shutil.copy(label_of(root), label_of(root, OTHER))


@plant("label_copied", name="label_copied elsewhere", cases=(OTHER,), severity="warning")
def _(root: Path) -> None:
    kit.put(root, OTHER, None, np.roll(kit.get(root, VICTIM)[1], 1, axis=2))


@plant("image_is_label")
def _(root: Path) -> None:
    shutil.copy(label_of(root), image_of(root))


@plant("foreign_mask")
def _(root: Path) -> None:
    image, label = kit.get(root, VICTIM)
    z, y, x = np.indices(kit.SHAPE)
    blocks = (z > 4) & (z % 4 < 2) & (y % 4 < 2) & (x % 4 < 2)
    large = np.where((image > 40) & blocks, 3, 0)
    relabel(root, lambda _: np.where((label > 0) & (label != 3), label, large).astype(np.uint8))


@plant("label_on_air")
def _(root: Path) -> None:
    def moved(label: np.ndarray) -> np.ndarray:
        corner = np.zeros_like(label)
        corner[:, :3, -4:] = 1
        corner[:, :3, :4] = 2
        corner[-3:, -2:, :4] = 3
        corner[:3, -2:, :4] = 4
        return corner

    relabel(root, moved)


@plant("sides_swapped")
def _(root: Path) -> None:
    relabel(root, lambda label: np.array([0, 2, 1, 3, 4], np.uint8)[label])


@plant("sides_swapped", name="sides_swapped everywhere", cases=("",))
def _(root: Path) -> None:
    names = {**kit.NAMES, 1: kit.NAMES[2], 2: kit.NAMES[1]}
    kit.describe(root, labels={"0": "background", **{str(n): s for n, s in names.items()}})


@plant("exchanged_labels")
def _(root: Path) -> None:
    relabel(root, lambda label: np.array([0, 1, 2, 4, 3], np.uint8)[label])


@plant("mirrored_case")
def _(root: Path) -> None:
    image, label = kit.get(root, VICTIM)
    kit.put(root, VICTIM, image[::-1], label[::-1])


@plant("flipped_label")
def _(root: Path) -> None:
    relabel(root, lambda label: label[::-1].copy())


@plant("specks")
def _(root: Path) -> None:
    image, label = kit.get(root, VICTIM)
    large = np.zeros_like(label)
    for z, y, x in ((1, 12, 5), (1, 12, 18)):
        large[z, y, x] = 4
    kit.put(root, VICTIM, image, np.maximum(label, large))


# Images


@plant("not_finite", mendable=True)
def _(root: Path) -> None:
    image = kit.get(root, VICTIM)[0]
    image[0, :2] = np.nan
    image[0, 2, 0] = -np.inf
    kit.put(root, VICTIM, image, None)


@plant("not_finite", name="not_finite in a label")
def _(root: Path) -> None:
    image, label = kit.get(root, VICTIM)
    image[label == 3] = np.nan
    kit.put(root, VICTIM, image, None)


@plant("constant_image")
def _(root: Path) -> None:
    kit.put(root, VICTIM, np.full(kit.SHAPE, 7, np.int16), None)


@plant("duplicate_image", cases=(OTHER,), mendable=True)
def _(root: Path) -> None:
    kit.put(root, OTHER, *kit.get(root, VICTIM))


@plant("duplicate_image", name="duplicate_image with two label maps", cases=(OTHER,))
def _(root: Path) -> None:
    image, label = kit.get(root, VICTIM)
    label[label == 3] = 0
    label[9, 12:14, 11:13] = 3
    kit.put(root, OTHER, image, label)


@plant("near_duplicate", cases=(OTHER,))
def _(root: Path) -> None:
    image, label = kit.get(root, VICTIM)
    label[label == 3] = 0
    label[9, 12:14, 11:13] = 3
    noise = np.random.default_rng(3).normal(0, 1, image.shape)
    kit.put(root, OTHER, (image * 1.3 + noise).astype(np.float32), label)


@plant("mixed_modalities")
def _(root: Path) -> None:
    kit.put(root, VICTIM, kit.as_ct(kit.anatomy(3)[0], 3), None)


@plant("mixed_modalities", "ct", "mixed_modalities in CT")
def _(root: Path) -> None:
    kit.put(root, VICTIM, (kit.as_mr(kit.anatomy(3)[0], 3) * 4).astype(np.int16), None)


@plant("modality_disagrees", cases=("",))
def _(root: Path) -> None:
    kit.describe(root, modality={"0": "CT"})


@plant("wrong_rescale", "ct", mendable=True)
def _(root: Path) -> None:
    kit.put(root, VICTIM, kit.get(root, VICTIM)[0] + np.int16(1024), None)


@plant("wrong_rescale", name="wrong_rescale of MR", severity="warning")
def _(root: Path) -> None:
    kit.put(root, VICTIM, kit.get(root, VICTIM)[0] + np.float32(1024), None)


@plant("wrong_rescale", "ct", "wrong_rescale scaled")
def _(root: Path) -> None:
    kit.put(root, VICTIM, kit.get(root, VICTIM)[0].astype(np.float32) / 100, None)


# Patients and folds


@plant("patient_in_two_folds", cases=("P001_a",), mendable=True)
def _(root: Path) -> None:
    rename(root, "P001_a", "c00")
    rename(root, "P001_b", "c07")


@plant("patient_in_two_folds", name="patient_in_two_folds of a table", cases=("c00",), mendable=True)
def _(root: Path) -> None:
    rows = [f"{case},{'p1' if case in ('c00', 'c01', 'c02') else case}" for case in kit.CASES]
    (root / "patients.csv").write_text("\n".join(["case,patient", *rows]), "utf-8")


@plant("split_file")
def _(root: Path) -> None:
    rows = [f"{case},{'p1' if case in (VICTIM, OTHER) else case}" for case in kit.CASES]
    (root / "groups.csv").write_text("\n".join(["case,patient", *rows]), "utf-8")
    training = [case for case in kit.CASES if case not in ("c00", VICTIM)]
    (root / "splits_final.json").write_text(json.dumps([{"train": training, "val": ["c00", VICTIM]}]), "utf-8")


@plant("test_leak")
def _(root: Path) -> None:
    (root / "imagesTs").mkdir()
    shutil.copy(image_of(root), root / "imagesTs" / "t01.nii.gz")


@plant("few_cases", cases=("",))
def _(root: Path) -> None:
    for case in kit.CASES[4:]:
        image_of(root, case).unlink()
        label_of(root, case).unlink()
    kit.describe(root, training=kit.listing(kit.CASES[:4]), numTraining=4)


# With a Plan


@plant("mirroring", cases=("",), mendable=True, plan=kit.plan(**{"training.augmentation.mirror_axes": [1, 2]}))
def _(root: Path) -> None:
    pass


@plant("plan_labels", cases=("",), plan=kit.plan())
def _(root: Path) -> None:
    kit.describe(root, labels={"0": "background", **{str(n): s for n, s in kit.NAMES.items()}, "5": "spleen"})
    label = kit.get(root, VICTIM)[1]
    label[label == 4] = 5
    label[2:4, 6:10, 10:14] = 4
    kit.put(root, VICTIM, None, label)


@plant("plan_channels", "channels", cases=("",), plan=kit.plan())
def _(root: Path) -> None:
    pass
