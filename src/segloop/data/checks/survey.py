"""What a dataset folder holds, complete or not: every file finds its place in a case, or becomes a fault.

`Dataset.load` stops at the first thing that is wrong; here everything that is wrong is noted, and what is left is
looked at all the same. Both read the folder by the same rules, those of `data.layouts`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from segloop.data import layouts
from segloop.data.checks.entries import Entry, decathlon, paired
from segloop.data.checks.faults import Fault, Finding
from segloop.data.groups import with_groups
from segloop.data.naming import Naming, naming
from segloop.errors import InputError
from segloop.io import files

# Forbidden on Windows, taken for an option, or not to be seen; letters of any script are welcome.
_AWKWARD = re.compile(r'[\x00-\x1f\x7f<>:"|?*\\\ud800-\udfff]|^[-\s]|[.\s]$')


@dataclass(frozen=True, slots=True)
class Survey:
    """A dataset folder, as far as it can be understood without opening an image.

    Args:
        root: The folder.
        document: `dataset.json`, empty where it cannot be read.
        labels: Number and name of each label but 0; empty when the folder does not say.
        ignore: Number of voxels that count nowhere; None when there is none.
        modality: DICOM modality, empty when unstated or mixed.
        channels: Names of the channels, where they are stated.
        listed: Whether `training` in `dataset.json` says which cases there are.
        entries: Sorted by id.
        faults: What is wrong so far.
    """

    root: Path
    document: Mapping[str, Any]
    labels: Mapping[int, str]
    ignore: int | None
    modality: str
    channels: tuple[str, ...]
    listed: bool
    entries: tuple[Entry, ...]
    faults: tuple[Fault, ...]

    def relative(self, path: Path) -> str:
        """The path as faults name it: relative to the folder, with `/`."""
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else path.name


def survey(folder: Path) -> Survey:
    """Everything in `folder` that belongs to a case, and what is wrong with names, description and completeness.

    Raises:
        InputError: As `layouts.find` where the folder is absent, empty or in no known layout.
    """
    root = Path(folder)
    faults: list[Fault] = []
    if (root / "imagesTr").is_dir():
        document = _document(root, faults, needed=True)
        entries, listed = decathlon(root, document, faults)
        _count(document, len(entries), faults)
    elif pair := layouts.folder_pair(root):
        document, listed = _document(root, faults, needed=False), False
        targets = [(layouts.mask_stem(path) or files.stem(path), path) for path in layouts.image_files(pair[1])]
        sources = [(files.stem(path), path) for path in layouts.image_files(pair[0])]
        entries = paired(root, sources, targets, faults)
    elif root.is_dir() and any(layouts.mask_stem(path) for path in layouts.image_files(root)):
        document, listed = _document(root, faults, needed=False), False
        found = layouts.image_files(root)
        targets = [(layouts.mask_stem(path), path) for path in found if layouts.mask_stem(path)]
        sources = [(files.stem(path), path) for path in found if not layouts.mask_stem(path)]
        sources = [(stem, path) for stem, path in sources if not stem.endswith(layouts.OTHER_SUFFIXES)]
        entries = paired(root, sources, targets, faults)
    elif layouts.is_series_folder(root):
        return _series(root, faults)
    else:
        layouts.find(root)
        raise AssertionError("layouts.find knows a layout that the data check does not")
    meant = _naming(root, document, faults)
    named = document.get("modality") or document.get("channel_names") or {}
    channels = tuple(map(str, named.values() if isinstance(named, dict) else [named] if named else []))
    faults += [finding.of(case) for case, finding in _names(entries)]
    _agree(root, faults)
    return Survey(
        root=root,
        document=document,
        labels=meant.labels,
        ignore=meant.ignore,
        modality=layouts.modality_of(channels) if (root / "imagesTr").is_dir() else "",
        channels=channels if isinstance(named, dict) else (),
        listed=listed,
        entries=_with_patients(root, entries, faults),
        faults=tuple(faults),
    )


def _series(root: Path, faults: list[Fault]) -> Survey:
    """A folder of DICOM series; refused as a whole where segmentations and series do not pair off."""
    found = layouts.find(root)
    entries = [Entry(c.id, c.images, c.label, c.patient, c.site, c.slices) for c in found.cases]
    return Survey(
        root=root,
        document=_document(root, faults, needed=False),
        labels=found.labels,
        ignore=None,
        modality=found.modality,
        channels=(),
        listed=False,
        entries=_with_patients(root, entries, faults),
        faults=tuple(faults),
    )


def _document(root: Path, faults: list[Fault], *, needed: bool) -> Mapping[str, Any]:
    path = root / "dataset.json"
    if not path.exists() and not needed:
        return {}
    try:
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as fault:
        found = "no file" if isinstance(fault, FileNotFoundError) else str(fault)
        faults.append(Finding("description", found, "a JSON object with `labels`", file="dataset.json").of())
        return {}
    if not isinstance(document, dict):
        faults.append(Finding("description", type(document).__name__, "a JSON object", file="dataset.json").of())
        return {}
    return document


def _naming(root: Path, document: Mapping[str, Any], faults: list[Fault]) -> Naming:
    if not document or ("labels" not in document and not (root / "imagesTr").is_dir()):
        return Naming({})
    try:
        meant = naming(document, root)
    except InputError as fault:
        finding = Finding("description", fault.found, fault.expected, cause=fault.message, file="dataset.json")
        faults.append(finding.of())
        return Naming({})
    labels = meant.labels
    numbers = sorted([*labels, *([] if meant.ignore is None else [meant.ignore])])
    if numbers != list(range(1, len(numbers) + 1)):
        finding = Finding("label_numbers", numbers, list(range(1, len(numbers) + 1)), file="dataset.json")
        faults.append(finding.of())
    names = Counter(labels.values())
    for name in (name for name, count in names.items() if count > 1):
        shared = [number for number, other in labels.items() if other == name]
        faults.append(Finding("label_names", {name: shared}, "one number per name", file="dataset.json").of())
    return meant


def _agree(root: Path, faults: list[Fault]) -> None:
    """What training would refuse is a fault, whether or not anything above has seen why."""
    if any(fault.severity == "error" for fault in faults):
        return
    try:
        layouts.find(root)
    except InputError as fault:
        faults.append(Finding("description", fault.found, fault.expected, cause=fault.message).of())


def _count(document: Mapping[str, Any], cases: int, faults: list[Fault]) -> None:
    stated = document.get("numTraining")
    if isinstance(stated, int) and stated != cases:
        faults.append(Finding("case_count", stated, cases, mendable=True, file="dataset.json").of())


def _names(entries: Iterable[Entry]) -> list[tuple[str, Finding]]:
    found: list[tuple[str, Finding]] = []
    folded: dict[str, str] = {}
    for entry in sorted(entries, key=lambda entry: entry.id):
        if awkward := _AWKWARD.findall(entry.id):
            shown = ", ".join(f"U+{ord(character):04X}" for character in awkward)
            found.append((entry.id, Finding("file_name", shown, "letters, digits, dots, dashes, underscores")))
        other = folded.setdefault(entry.id.casefold(), entry.id)
        if other != entry.id:
            found.append((entry.id, Finding("case_collision", [other, entry.id], "different names", others=(other,))))
    return found


def _with_patients(root: Path, entries: Iterable[Entry], faults: list[Fault]) -> tuple[Entry, ...]:
    found = sorted(entries, key=lambda entry: entry.id)
    cases = [
        layouts.Case(entry.id, entry.images, entry.label, entry.patient or entry.id)
        for entry in found
        if entry.label and entry.images
    ]
    try:
        known = {case.id: case for case in with_groups(root, cases)}
    except (InputError, ValueError) as fault:
        cause = fault.message if isinstance(fault, InputError) else ""
        if not any(other.file == "dataset.json" and other.kind == "description" for other in faults):
            expected = "a patient or site for every case"
            faults.append(Finding("description", getattr(fault, "found", None), expected, cause=cause).of())
        known = {case.id: case for case in cases}
    return tuple(
        replace(entry, patient=known[entry.id].patient, site=known[entry.id].site)
        if entry.id in known
        else replace(entry, patient=entry.patient or entry.id)
        for entry in found
    )
