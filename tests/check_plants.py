"""Faults of files, descriptions and geometry, each planted in a dataset of `check_kit`."""

from __future__ import annotations

import json
import shutil
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel
import numpy as np

import check_kit as kit
from segloop.data.checks import KINDS
from segloop.io import files
from segloop.plan import Plan
from segloop.volume import Geometry, Volume

BASES = {"mr": kit.write_mr, "ct": kit.write_ct, "channels": kit.write_channels, "pictures": kit.write_pictures}
VICTIM, OTHER = "c03", "c05"
Planter = Callable[[Path], None]


@dataclass(frozen=True)
class Plant:
    """One planted fault: the dataset, what is done to it, and what must be found."""

    kind: str
    base: str
    do: Planter
    cases: tuple[str, ...] = (VICTIM,)
    severity: str = "error"
    mendable: bool = False
    plan: Plan | None = None


PLANTS: dict[str, Plant] = {}


def plant(kind: str, base: str = "mr", name: str = "", **rest: object) -> Callable[[Planter], Planter]:
    def register(do: Planter) -> Planter:
        entry = Plant(kind, base, do, severity=str(rest.pop("severity", KINDS[kind].severity)))
        PLANTS[name or kind] = replace(entry, **rest)
        return do

    return register


def image_of(root: Path, case: str = VICTIM) -> Path:
    return root / "imagesTr" / f"{case}.nii.gz"


def label_of(root: Path, case: str = VICTIM) -> Path:
    return root / "labelsTr" / f"{case}.nii.gz"


def relabel(root: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    kit.put(root, VICTIM, None, change(kit.get(root, VICTIM)[1]))


def regrid(root: Path, **changes: object) -> None:
    """The victim's label map with another header."""
    kit.put(root, VICTIM, None, kit.get(root, VICTIM)[1], replace(kit.GRID, **changes))


# Files and description


@plant("description", cases=("",))
def _(root: Path) -> None:
    (root / "dataset.json").write_text("{", "utf-8")


@plant("missing_image", mendable=True)
def _(root: Path) -> None:
    image_of(root).unlink()


@plant("missing_label", mendable=True)
def _(root: Path) -> None:
    label_of(root).unlink()


@plant("missing_label", "channels", "missing_label of two channels", mendable=True)
def _(root: Path) -> None:
    label_of(root).unlink()


@plant("missing_channel", "channels")
def _(root: Path) -> None:
    (root / "imagesTr" / f"{VICTIM}_0001.nii.gz").unlink()


@plant("extra_channel", "channels", mendable=True)
def _(root: Path) -> None:
    first = root / "imagesTr" / f"{VICTIM}_0000.nii.gz"
    shutil.copy(first, first.with_name(f"{VICTIM}_0002.nii.gz"))


@plant("channel_count", "pictures", mendable=True)
def _(root: Path) -> None:
    path = root / "images" / f"{VICTIM}.png"
    grey = files.read(path)
    files.write(Volume(np.stack([grey.array] * 3, axis=-1), grey.geometry), path)


@plant("channel_names", cases=("",))
def _(root: Path) -> None:
    kit.describe(root, modality={"0": "T1", "1": "T2"})


@plant("unlisted_case", cases=("c99",))
def _(root: Path) -> None:
    image, label = kit.anatomy(99)
    kit.put(root, "c99", kit.as_mr(image, 99), label)


@plant("case_count", cases=("",), mendable=True)
def _(root: Path) -> None:
    kit.describe(root, numTraining=15)


@plant("label_numbers", cases=("",))
def _(root: Path) -> None:
    kit.describe(root, labels={"0": "background", **{str(n): s for n, s in kit.NAMES.items() if n < 4}, "7": "bladder"})
    for case in kit.CASES:
        label = kit.get(root, case)[1]
        kit.put(root, case, None, np.where(label == 4, 7, label).astype(np.uint8))


@plant("label_names", cases=("",))
def _(root: Path) -> None:
    kit.describe(root, labels={"0": "background", **{str(n): s for n, s in kit.NAMES.items() if n < 4}, "4": "aorta"})


@plant("duplicate_id", mendable=True)
def _(root: Path) -> None:
    kit.describe(root, training=kit.listing([*kit.CASES, VICTIM]))


@plant("duplicate_id", "channels", "duplicate_id in two formats")
def _(root: Path) -> None:
    files.write(files.read(label_of(root)), root / "labelsTr" / f"{VICTIM}.nrrd")


@plant("case_collision", cases=("c03",))
def _(root: Path) -> None:
    image, label = kit.anatomy(99)
    kit.put(root, "C03", kit.as_mr(image, 99), label)
    kit.describe(root, training=kit.listing([*kit.CASES, "C03"]), numTraining=13)


def rename(root: Path, name: str, old: str = VICTIM) -> None:
    for path in (image_of(root, old), label_of(root, old)):
        path.rename(path.with_name(f"{name}.nii.gz"))
    document = json.loads((root / "dataset.json").read_text("utf-8"))
    names = [Path(item["label"]).name.removesuffix(".nii.gz") for item in document["training"]]
    kit.describe(root, training=kit.listing([name if case == old else case for case in names]))


@plant("file_name", cases=("c03?",))
def _(root: Path) -> None:
    rename(root, "c03?")


@plant("unicode_form", cases=("Müller3",), mendable=True)
def _(root: Path) -> None:
    rename(root, unicodedata.normalize("NFD", "Müller3"))
    kit.describe(root, training=kit.listing([c if c != VICTIM else "Müller3" for c in kit.CASES]))


@plant("empty_file")
def _(root: Path) -> None:
    image_of(root).write_bytes(b"")


@plant("truncated_file")
def _(root: Path) -> None:
    content = image_of(root).read_bytes()
    image_of(root).write_bytes(content[: len(content) // 2])


@plant("truncated_file", name="truncated_file without compression")
def _(root: Path) -> None:
    volume = files.read(label_of(root))
    label_of(root).unlink()
    path = root / "labelsTr" / f"{VICTIM}.nii"
    files.write(volume, path)
    path.write_bytes(path.read_bytes()[:-100])
    entries = kit.listing(kit.CASES)
    entries[kit.CASES.index(VICTIM)]["label"] = f"./labelsTr/{VICTIM}.nii"
    kit.describe(root, training=entries)


@plant("damaged_file")
def _(root: Path) -> None:
    content = bytearray(label_of(root).read_bytes())
    # The checksum stands in the eighth to fifth byte from the end.
    content[-6] ^= 0xFF
    label_of(root).write_bytes(bytes(content))


@plant("unreadable_file")
def _(root: Path) -> None:
    image_of(root).write_text("see the other folder", "utf-8")


@plant("zero_size")
def _(root: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros((0, 20, 12), np.int16), np.eye(4)), image_of(root))


@plant("four_dimensional", mendable=True)
def _(root: Path) -> None:
    label = kit.get(root, VICTIM)[1]
    files.write(Volume(np.stack([label] * 3, axis=-1), kit.GRID), label_of(root))


@plant("four_dimensional", name="four_dimensional image")
def _(root: Path) -> None:
    image = kit.get(root, VICTIM)[0]
    files.write(Volume(np.stack([image * (1 + 0.1 * t) for t in range(5)], axis=-1), kit.GRID), image_of(root))


# Geometry


def header(root: Path, path: Path, sform: np.ndarray | None, qform: np.ndarray | None) -> None:
    image = nibabel.load(path)
    array = np.asarray(image.dataobj)
    changed = nibabel.Nifti1Image(array, None, dtype=array.dtype)
    changed.header.set_xyzt_units("mm")
    if qform is not None:
        changed.set_qform(qform, code=1)
    changed.set_sform(sform, code=0 if sform is None else 1)
    path.unlink()
    nibabel.save(changed, path)


@plant("geometry_unstated")
def _(root: Path) -> None:
    header(root, label_of(root), None, None)


@plant("geometry_contradictory")
def _(root: Path) -> None:
    affine = nibabel.load(image_of(root)).affine
    header(root, image_of(root), affine, affine @ np.diag([1, 1, 2, 1]))


@plant("sheared_axes")
def _(root: Path) -> None:
    affine = nibabel.load(image_of(root)).affine.copy()
    affine[1, 2] = 1.0
    header(root, image_of(root), affine, None)


def respaced(root: Path, spacing_mm: tuple[float, float, float]) -> None:
    kit.put(root, VICTIM, *kit.get(root, VICTIM), replace(kit.GRID, spacing_mm=spacing_mm))


@plant("absurd_spacing")
def _(root: Path) -> None:
    respaced(root, (0.003, 0.0015, 0.0015))


@plant("absurd_spacing", name="absurd_spacing of a metre")
def _(root: Path) -> None:
    respaced(root, (1000.0, 1.5, 1.5))


@plant("absurd_spacing", name="absurd_spacing of 0")
def _(root: Path) -> None:
    affine = nibabel.load(image_of(root)).affine @ np.diag([1, 1, 0, 1])
    header(root, image_of(root), affine, None)


@plant("absurd_spacing", name="absurd_spacing of ten centimetres")
def _(root: Path) -> None:
    respaced(root, (100.0, 100.0, 100.0))


@plant("spacing_outlier")
def _(root: Path) -> None:
    respaced(root, (13.0, 1.5, 1.5))


@plant("single_slice")
def _(root: Path) -> None:
    image, label = kit.get(root, VICTIM)
    label[:, :, :] = label.max(axis=0)
    kit.put(root, VICTIM, image[7:8], label[7:8], Geometry((1, *kit.SHAPE[1:]), (9.0, 1.5, 1.5), kit.GRID.origin_mm))


@plant("shape_differs", mendable=True)
def _(root: Path) -> None:
    label = kit.get(root, VICTIM)[1]
    origin = tuple(kit.GRID.to_lps(np.array([0.0, 1.0, -2.0])).tolist())
    cut = np.pad(label, ((0, 0), (0, 0), (2, 3)))[:, 1:]
    kit.put(root, VICTIM, None, cut, Geometry(cut.shape, kit.GRID.spacing_mm, origin))


@plant("shape_differs", name="shape_differs off the grid")
def _(root: Path) -> None:
    label = kit.get(root, VICTIM)[1][:, ::2]
    kit.put(root, VICTIM, None, label, Geometry(label.shape, (3.0, 3.0, 1.5), kit.GRID.origin_mm))


@plant("spacing_differs", mendable=True)
def _(root: Path) -> None:
    regrid(root, spacing_mm=(2.0, 1.5, 1.5))


@plant("origin_differs", mendable=True)
def _(root: Path) -> None:
    regrid(root, origin_mm=(-20.5, -35.0, 12.0))


@plant("origin_differs", name="origin_differs by voxels")
def _(root: Path) -> None:
    regrid(root, origin_mm=(-15.5, -35.0, 12.0))


@plant("direction_differs", mendable=True)
def _(root: Path) -> None:
    tilt = 0.01
    regrid(root, direction=((0.0, 0.0, 1.0), (tilt, 1.0, 0.0), (1.0, -tilt, 0.0)))


@plant("direction_differs", name="direction_differs much")
def _(root: Path) -> None:
    c, s = np.cos(0.3), np.sin(0.3)
    regrid(root, direction=((0.0, 0.0, 1.0), (float(-s), float(c), 0.0), (float(c), float(s), 0.0)))


@plant("mirrored_label", mendable=True)
def _(root: Path) -> None:
    files.write(files.read_labels(label_of(root), {}).reoriented("ARS"), label_of(root))


@plant("mirrored_label", name="mirrored_label elsewhere")
def _(root: Path) -> None:
    regrid(root, direction=((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (-1.0, 0.0, 0.0)))


@plant("channel_grid", "channels")
def _(root: Path) -> None:
    path = root / "imagesTr" / f"{VICTIM}_0001.nii.gz"
    files.write(Volume(files.read(path).array, replace(kit.GRID, origin_mm=(0.0, 0.0, 0.0))), path)
