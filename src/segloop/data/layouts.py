"""The folder layouts a dataset may have, each turned into the same list of cases.

Four are understood: Medical Segmentation Decathlon and nnU-Net raw (`dataset.json`, `imagesTr`, `labelsTr`), an image
folder with a mask folder beside it, one flat folder where a suffix marks the mask, and DICOM series with SEG or
RTSTRUCT. Nothing is guessed beyond them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segloop.data.naming import Naming, naming
from segloop.errors import InputError
from segloop.io import files
from segloop.plan import Region

LAYOUTS = (
    "a Medical Segmentation Decathlon or nnU-Net folder (dataset.json, imagesTr, labelsTr), "
    "a folder with images/ (or image/) and masks/ (or mask/, labels/, label/) of the same file names, "
    "one folder of NAME.png with NAME_mask.png (or _label, _seg, _1stHO), "
    "or a folder of DICOM series, each with one SEG or RTSTRUCT that refers to it"
)
_IMAGE_FOLDERS = ("images", "image", "imgs", "img")
_MASK_FOLDERS = ("masks", "mask", "labels", "label", "annotations")
_MASK_SUFFIXES = ("_mask", "_label", "_seg", "_1stHO")
OTHER_SUFFIXES = ("_2ndHO",)
"""Ends of a second observer's masks, which are a yardstick and not training data."""

# Both eyes of one person: Image_01L and Image_01R.
_EYES = re.compile(r"^(.*\d)[LR]$")
_MODALITIES = {
    "CT": ("ct", "cta", "cect", "ncct"),
    "MR": ("mr", "mri", "t1", "t1w", "t1gd", "t1ce", "t1c", "t2", "t2w", "flair", "adc", "dwi", "pd", "dce", "cine"),
    "PT": ("pt", "pet", "suv", "fdg"),
    "US": ("us", "ultrasound"),
}


@dataclass(frozen=True, slots=True)
class Case:
    """One image with its expert label map.

    Args:
        id: File name without suffixes.
        images: One file, or one per channel in channel order.
        label: The label map's file.
        patient: Who it shows; cases of one patient never fall on two sides of a split. The case itself unless known.
        site: Where it was acquired; empty unless the dataset says so.
        slices: The files of the DICOM series that the image is, of which `images` holds the first; empty for others.
    """

    id: str
    images: tuple[Path, ...]
    label: Path
    patient: str
    site: str = ""
    slices: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """What a folder says about itself.

    Args:
        name: The dataset's name.
        labels: Number and name of each label but 0; empty when the folder does not say.
        cases: Sorted by id.
        licence: As stated; empty when it is not.
        modality: DICOM modality, empty when unstated or mixed.
        ignore: Number of voxels that count nowhere; None when there is none.
        regions: Overlapping labels as unions of numbers.
    """

    name: str
    labels: Mapping[int, str]
    cases: tuple[Case, ...]
    licence: str = ""
    modality: str = ""
    ignore: int | None = None
    regions: tuple[Region, ...] = ()


def find(root: Path) -> Found:
    """What `root` holds, in whichever of the layouts it is.

    Raises:
        InputError: `dataset.invalid`, saying what was found and which layouts are understood; `input.empty` when the
            folder does not exist or holds nothing.
    """
    if not root.is_dir() or not any(root.iterdir()):
        raise InputError(
            f"There is no dataset at {root}: the folder is {'empty' if root.is_dir() else 'absent'}.",
            code="input.empty",
            expected=LAYOUTS,
            hint="Give the folder that holds the images and their masks.",
        )
    if (root / "imagesTr").is_dir():
        return _decathlon(root)
    if pair := folder_pair(root):
        return _image_folder(root, *pair)
    if any(mask_stem(path) for path in image_files(root)):
        return _flat_folder(root)
    if is_series_folder(root):
        return _series_folder(root)
    listing = sorted(path.name + ("/" if path.is_dir() else "") for path in root.iterdir())[:8]
    raise InputError(
        f"The folder {root.name} is in no known layout; it holds {', '.join(listing)}. Expected {LAYOUTS}.",
        code="dataset.invalid",
        found=listing,
        expected=LAYOUTS,
        hint="Move the files into one of these layouts, or convert them with `segloop convert`.",
    )


def is_series_folder(root: Path) -> bool:
    """Whether DICOM series with SEG or RTSTRUCT lie below a folder that is in no other layout."""
    from segloop.data.series import has_segmentations

    return root.is_dir() and has_segmentations(root)


def _series_folder(root: Path) -> Found:
    from segloop.data.series import find_cases

    path = root / "dataset.json"
    document = _read_document(path) if path.is_file() else {}
    meant = naming(document, root) if "labels" in document else Naming({})
    if meant.ignore is not None or meant.regions:
        raise InputError(
            f"{root.name}/dataset.json names regions or a number to ignore; DICOM segmentations have neither.",
            code="dataset.invalid",
            found="ignore" if meant.ignore is not None else "regions",
            expected="one number for each segment or structure",
            hint="Convert the series and their segmentations with `segloop convert` first.",
        )
    found = find_cases(root, meant.labels)
    return Found(
        name=str(document.get("name") or root.name),
        labels=found.labels,
        cases=found.cases,
        licence=str(document.get("licence") or document.get("license") or ""),
        modality=found.modality,
    )


def folder_pair(root: Path) -> tuple[Path, Path] | None:
    """The folders of images and of masks in an image folder, where both are there."""
    pairs = ((root / images, root / masks) for images in _IMAGE_FOLDERS for masks in _MASK_FOLDERS)
    return next((pair for pair in pairs if all(folder.is_dir() for folder in pair)), None)


def _decathlon(root: Path) -> Found:
    document = _read_document(root / "dataset.json")
    listed = document.get("training")
    if isinstance(listed, list):
        entries = [_entry(root, item) for item in listed]
    else:
        entries = [(root / "imagesTr" / label.name, label) for label in image_files(root / "labelsTr")]
    channels: dict[str, list[Path]] = {}
    for path in image_files(root / "imagesTr"):
        match = re.fullmatch(r"(.+)_(\d{4})", files.stem(path))
        if match:
            channels.setdefault(match[1], []).append(path)
    cases, missing = [], []
    for image, label in entries:
        case = files.stem(label)
        images = (image,) if image.is_file() else tuple(channels.get(case, ()))
        if not images or not label.is_file():
            missing.append(f"{case} ({'image' if not images else 'label'})")
        cases.append(Case(case, images, label, case))
    if not isinstance(listed, list):
        ids = {case.id for case in cases}
        # An id may itself end in four digits; only what is no case by its own name can be a channel of one.
        lone = {files.stem(path) for path in image_files(root / "imagesTr")} - ids
        missing += [f"{stem} (label)" for stem in sorted({re.sub(r"_\d{4}$", "", stem) for stem in lone} - ids)]
    _require_complete(root, missing, cases)
    _require_equal_channels(root, cases)
    named = document.get("modality") or document.get("channel_names") or {}
    meant = naming(document, root)
    return Found(
        name=str(document.get("name") or root.name),
        labels=meant.labels,
        cases=tuple(sorted(cases, key=lambda case: case.id)),
        licence=str(document.get("licence") or document.get("license") or ""),
        modality=modality_of(named.values() if isinstance(named, dict) else [str(named)]),
        ignore=meant.ignore,
        regions=meant.regions,
    )


def _image_folder(root: Path, images: Path, masks: Path) -> Found:
    targets = {mask_stem(path) or files.stem(path): path for path in image_files(masks)}
    sources = {files.stem(path): path for path in image_files(images)}
    return _paired(root, sources, targets)


def _flat_folder(root: Path) -> Found:
    targets, sources = {}, {}
    for path in image_files(root):
        stem = files.stem(path)
        if case := mask_stem(path):
            targets[case] = path
        elif not stem.endswith(OTHER_SUFFIXES):
            sources[stem] = path
    return _paired(root, sources, targets)


def _paired(root: Path, sources: Mapping[str, Path], targets: Mapping[str, Path]) -> Found:
    missing = [f"{stem} (label)" for stem in sorted(set(sources) - set(targets))]
    missing += [f"{stem} (image)" for stem in sorted(set(targets) - set(sources))]
    cases = tuple(
        Case(stem, (sources[stem],), targets[stem], person(stem)) for stem in sorted(set(sources) & set(targets))
    )
    _require_complete(root, missing, cases)
    path = root / "dataset.json"
    document = _read_document(path) if path.is_file() else {}
    meant = naming(document, root) if "labels" in document else Naming({})
    return Found(
        name=str(document.get("name") or root.name),
        labels=meant.labels,
        cases=cases,
        licence=str(document.get("licence") or document.get("license") or ""),
        ignore=meant.ignore,
        regions=meant.regions,
    )


def person(case_id: str) -> str:
    """Whom a picture shows, as far as its name says: both eyes belong to one person."""
    match = _EYES.match(case_id)
    return match[1] if match else case_id


def image_files(folder: Path) -> list[Path]:
    """Images in a folder, sorted; the `._` and `.DS_Store` files that macOS leaves are none."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith(".") and files.is_image_file(p))


def mask_stem(path: Path) -> str:
    """The case of a mask that is named by a suffix; empty when it is not."""
    stem = files.stem(path)
    return next((stem.removesuffix(suffix) for suffix in _MASK_SUFFIXES if stem.endswith(suffix)), "")


def _read_document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as fault:
        raise InputError(
            f"{path.parent.name}/dataset.json cannot be read: {fault}.",
            code="dataset.invalid",
            found=str(fault),
            expected="a JSON object with `labels`",
            hint="Write one as `docs/reference/dataset.md` shows.",
        ) from fault
    if not isinstance(document, dict):
        raise InputError(
            f"{path.parent.name}/dataset.json is no JSON object.", code="dataset.invalid", expected="object"
        )
    return document


def _entry(root: Path, item: Any) -> tuple[Path, Path]:
    if not isinstance(item, dict) or not {"image", "label"} <= item.keys():
        raise InputError(
            f"An entry of `training` in {root.name}/dataset.json has no image and label: {item!r}.",
            code="dataset.invalid",
            found=item,
            expected={"image": "./imagesTr/NAME.nii.gz", "label": "./labelsTr/NAME.nii.gz"},
        )
    return root / str(item["image"]), root / str(item["label"])


def modality_of(channels: Iterable[Any]) -> str:
    """The DICOM modality that all channel names share; empty when they are unknown or mixed."""
    stated = [str(channel).lower() for channel in channels]
    codes = {
        next((code for code, names in _MODALITIES.items() if set(re.split(r"[^a-z0-9]+", text)) & set(names)), "")
        for text in stated
    }
    return codes.pop() if len(codes) == 1 else ""


def _require_complete(root: Path, missing: list[str], cases: Iterable[Case]) -> None:
    ids = [case.id for case in cases]
    if missing:
        shown = ", ".join(missing[:5]) + (" …" if len(missing) > 5 else "")
        raise InputError(
            f"The dataset {root.name} has {len(missing)} cases without their image or label: {shown}.",
            code="dataset.invalid",
            found=missing[:20],
            expected="an image and a label map for every case",
            hint="Add the missing files, or move the lone ones out of the folder.",
        )
    if not ids or len(set(ids)) != len(ids):
        twice = sorted({case for case in ids if ids.count(case) > 1})[:5]
        raise InputError(
            f"The dataset {root.name} names cases twice: {', '.join(twice)}."
            if ids
            else f"{root.name} holds no cases.",
            code="dataset.invalid",
            found=twice,
            expected="at least one case, each with its own name",
        )


def _require_equal_channels(root: Path, cases: Iterable[Case]) -> None:
    counts = {len(case.images): case.id for case in cases}
    if len(counts) > 1:
        raise InputError(
            f"The cases of {root.name} differ in channels: "
            f"{', '.join(f'{case} has {count}' for count, case in sorted(counts.items()))}.",
            code="dataset.invalid",
            found=sorted(counts),
            expected="the same number of channel files for every case",
        )
