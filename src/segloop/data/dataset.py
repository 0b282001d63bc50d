"""A folder of images and expert label maps as cases that can be read, hashed and split.

Labels keep their numbers and names. The one exception is stated: in image folders a mask of 0 and 255 means label 1.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from segloop.data import series
from segloop.data.digests import voxels_digest
from segloop.data.groups import with_groups
from segloop.data.layouts import LAYOUTS, Case, find
from segloop.data.terms import label_spec
from segloop.errors import InputError
from segloop.io import files
from segloop.plan import LabelSpec, Region
from segloop.volume import Labels, Volume

__all__ = ["LAYOUTS", "PHOTOGRAPHS", "Case", "Dataset", "split"]

PHOTOGRAPHS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
"""Suffixes of 2-D images without patient geometry: one pixel counts as 1 mm."""

LOSSY = (".jpg", ".jpeg")
"""Those of them whose values compression changes."""

# By the files as they were when they were read, so that one process decodes an image once for this.
_DIGESTS: dict[tuple[tuple[str, int, int], ...], str] = {}

_WHITE = 255
_FOREGROUND = "foreground"


@dataclass(frozen=True, slots=True)
class Dataset:
    """Images with expert label maps, of which each case is one.

    Args:
        name: Letters, digits, dots, dashes and underscores only.
        root: The folder.
        labels: Every label but background and the one to ignore, by rising number.
        channels: Channels of each image.
        cases: Sorted by id.
        licence: As the dataset states it; empty when it does not.
        modality: DICOM modality of all images, empty when unstated.
        white_is_one: Masks hold 0 and 255, and 255 stands for label 1.
        ignore_label: Number of voxels that nobody could tell, and that count nowhere; None when there is none.
        regions: Overlapping labels, each the union of some numbers; empty when labels exclude each other.
    """

    name: str
    root: Path
    labels: tuple[LabelSpec, ...]
    channels: int
    cases: tuple[Case, ...]
    licence: str = ""
    modality: str = ""
    white_is_one: bool = False
    ignore_label: int | None = None
    regions: tuple[Region, ...] = ()

    @classmethod
    def load(cls, folder: Path) -> Dataset:
        """The dataset in `folder`; reads its description, one image, and the masks where nothing else names the labels.

        Raises:
            InputError: `dataset.invalid` or `input.empty` with what was found and the layouts understood.
        """
        root = Path(folder)
        found = find(root)
        names, white = (dict(found.labels), False) if found.labels else _names_in_masks(found.cases)
        if found.labels and found.cases[0].label.suffix.lower() in PHOTOGRAPHS:
            white = set(names) == {1} and found.ignore != _WHITE and _WHITE in _values(found.cases[0].label)
        first = found.cases[0]
        name = re.sub(r"[^\w.-]+", "-", found.name).strip("-") or "dataset"
        image = (series.read_image(first.slices) if first.slices else files.read(first.images[0])).array
        channels = len(first.images) * (image.shape[3] if image.ndim == 4 else 1)
        labels = tuple(label_spec(value, text, found.name) for value, text in names.items())
        cases = with_groups(root, found.cases)
        described = found.licence, found.modality, white, found.ignore, found.regions
        return cls(name, root, labels, channels, cases, *described)

    @property
    def label_names(self) -> dict[int, str]:
        """Label number to name, background left out."""
        return {label.value: label.name for label in self.labels}

    @property
    def photographs(self) -> bool:
        """True when the images are 2-D files that carry no patient geometry."""
        return all(path.suffix.lower() in PHOTOGRAPHS for case in self.cases for path in case.images)

    def case(self, case_id: str) -> Case:
        """The case of that id.

        Raises:
            InputError: `dataset.invalid` when there is none.
        """
        for case in self.cases:
            if case.id == case_id:
                return case
        raise InputError(
            f"The dataset {self.name} has no case {case_id!r}.",
            code="dataset.invalid",
            found=case_id,
            expected=f"one of {len(self.cases)} cases such as {self.cases[0].id}",
        )

    def subset(self, case_ids: Sequence[str]) -> Dataset:
        """The same dataset with only these cases, sorted by id."""
        return replace(self, cases=tuple(self.case(case_id) for case_id in sorted(case_ids)))

    def read(self, case: Case) -> tuple[Volume, Labels]:
        """Image and label map of a case on one grid, in the geometry of the (first) image file.

        Several channel files become the last axis of the array.

        Raises:
            InputError: `labels.mismatch` when the shapes differ or the map holds a number the dataset does not name.
            GeometryMismatch: The grids lie apart by more than 0.01 mm (rounding in a header is no fault).
        """
        volume = self._read_image(case)
        labels = self._read_labels(case)
        if labels.geometry.shape != volume.geometry.shape:
            raise InputError(
                f"Case {case.id}: the label map has {_by(labels.geometry.shape)} voxels (z, y, x), "
                f"the image {_by(volume.geometry.shape)}.",
                code="labels.mismatch",
                found=list(labels.geometry.shape),
                expected=list(volume.geometry.shape),
                hint="Mend the label map, or leave the case out.",
            )
        volume.geometry.require_same_grid(
            labels.geometry, f"Case {case.id}: image and label map lie on different grids"
        )
        return volume, replace(labels, geometry=volume.geometry)

    def digest(self, case: Case) -> str:
        """SHA-256 (hex) of the image file's bytes; of several (channels, slices) that of their digests."""
        if case.slices:
            return series.digest(case.slices)
        digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in case.images]
        return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()

    def voxels_digest(self, case: Case) -> str:
        """SHA-256 (hex) of the image's voxels, the same in any file; empty for an image without contrast.

        Raises:
            InputError: As `read`, about the image.
        """
        paths = case.slices or case.images
        state = tuple((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths)
        if state not in _DIGESTS:
            _DIGESTS[state] = voxels_digest(self._read_image(case))
        return _DIGESTS[state]

    def label_digest(self, case: Case) -> str:
        """SHA-256 (hex) of the label file's bytes."""
        return hashlib.sha256(case.label.read_bytes()).hexdigest()

    def split(self, folds: int = 5, seed: int = 12345) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
        """Training and validation ids per fold, patients kept together; see `split`."""
        return split([case.id for case in self.cases], folds, seed, {case.id: case.patient for case in self.cases})

    def _read_image(self, case: Case) -> Volume:
        parts = [series.read_image(case.slices)] if case.slices else [files.read(path) for path in case.images]
        first = parts[0]
        for path, part in zip(case.images[1:], parts[1:], strict=True):
            first.geometry.require_same_grid(
                part.geometry, f"Case {case.id}: channel file {path.name} lies on another grid"
            )
        arrays = [part.array if part.array.ndim == 4 else part.array[..., None] for part in parts]
        array = first.array if len(parts) == 1 else np.concatenate(arrays, axis=-1)
        channels = array.shape[3] if array.ndim == 4 else 1
        if channels != self.channels:
            raise InputError(
                f"Case {case.id}: the image has {channels} channels, the dataset's first case {self.channels}.",
                code="dataset.invalid",
                found=channels,
                expected=self.channels,
                hint="Convert all images to the same number of channels.",
            )
        return Volume(array, first.geometry, modality=self.modality)

    def _read_labels(self, case: Case) -> Labels:
        names = self.label_names
        if case.slices:
            return series.read_labels(case.label, case.slices, names)
        allowed = names if self.ignore_label is None else {**names, self.ignore_label: "ignore"}
        labels = files.read_labels(case.label, {**allowed, _WHITE: _FOREGROUND} if self.white_is_one else allowed)
        array = labels.array
        if self.white_is_one:
            array = np.where(array == _WHITE, 1, array).astype(np.uint8)
        unknown = set(np.unique(array).tolist()) - {0} - set(allowed)
        if unknown:
            raise InputError(
                f"Case {case.id}: the label map holds {sorted(unknown)[:10]}; the dataset names {sorted(allowed)}.",
                code="labels.mismatch",
                found=sorted(unknown)[:10],
                expected=sorted(allowed),
                hint="Name the label in dataset.json, or mend the label map.",
            )
        return Labels(array, labels.geometry, names)


def split(
    case_ids: Sequence[str], folds: int = 5, seed: int = 12345, patients: Mapping[str, str] | None = None
) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
    """Training and validation ids of each fold, the same on every machine and the same as nnU-Net's.

    Ids are sorted, shuffled with NumPy's legacy generator and cut into parts of which the first are one longer where
    the number does not divide; within a part the ids stand sorted again.

    Args:
        case_ids: The cases, in any order.
        folds: How many parts.
        seed: nnU-Net's 12345 unless there is a reason.
        patients: Patient of each case. Where some patient has several, patients are what is shuffled and cut.

    Raises:
        InputError: `usage` when there are fewer patients than folds, or fewer than two folds.

    Source: sklearn.model_selection.KFold(shuffle=True), as nnU-Net's `generate_crossval_split` calls it.
    """
    patient_of = {case: (patients or {}).get(case, case) for case in case_ids}
    groups = sorted(set(patient_of.values()))
    if folds < 2 or len(groups) < folds:
        raise InputError(
            f"{len(groups)} cases or patients cannot be cut into {folds} folds.",
            code="usage",
            found=len(groups),
            expected=f"at least 2 folds and at least {max(folds, 2)} patients",
            hint="Ask for fewer folds, or add cases." if folds > 1 else "Ask for at least two folds.",
        )
    order = np.arange(len(groups))
    np.random.RandomState(seed).shuffle(order)
    parts = []
    for part in np.array_split(order, folds):
        held = {groups[i] for i in part}
        validation = tuple(sorted(case for case, patient in patient_of.items() if patient in held))
        training = tuple(sorted(case for case, patient in patient_of.items() if patient not in held))
        parts.append((training, validation))
    return tuple(parts)


def _values(path: Path) -> set[int]:
    names = {value: str(value) for value in range(1, 256)}
    return set(np.unique(files.read_labels(path, names).array).tolist())


def _names_in_masks(cases: Sequence[Case]) -> tuple[dict[int, str], bool]:
    """Label names where nobody gave any: `foreground` for one label, else `label N`; and whether 255 means 1.

    Raises:
        InputError: `labels.mismatch` for a mask in JPEG with more than black and white, which would make a label of
            every grey that compression left.
    """
    values: set[int] = set()
    for case in cases:
        found = _values(case.label) - {0}
        if case.label.suffix.lower() in LOSSY and not found <= {_WHITE}:
            raise InputError(
                f"Case {case.id}: the mask {case.label.name} is a JPEG whose values compression has changed; it holds "
                f"{len(found)} numbers besides 0.",
                code="labels.mismatch",
                found=sorted(found)[:10],
                expected="0 and 255, or another format",
                hint="Export the masks again as PNG or TIFF.",
            )
        values |= found
    if values <= {_WHITE} or values <= {1}:
        return {1: _FOREGROUND}, _WHITE in values
    return {value: f"label {value}" for value in sorted(values)}, False


def _by(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))
