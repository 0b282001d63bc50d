"""Files to cases: images, channels and label maps put together, and what has no partner noted."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from segloop.data import layouts
from segloop.data.checks.faults import Fault, Finding
from segloop.io import files

_CHANNEL = re.compile(r"(.+)_(\d{4})")


@dataclass(frozen=True, slots=True)
class Entry:
    """A case as far as its files are there.

    Args:
        id: Its name.
        images: The image files that exist, in channel order.
        label: The label map's file, where it exists.
        patient: Who it shows, as the dataset or the name says; the case itself otherwise.
        site: Where it was acquired, as the dataset says.
        slices: The files of its DICOM series, as in `layouts.Case`.
    """

    id: str
    images: tuple[Path, ...]
    label: Path | None
    patient: str = ""
    site: str = ""
    slices: tuple[Path, ...] = ()


def decathlon(root: Path, document: Mapping[str, Any], faults: list[Fault]) -> tuple[list[Entry], bool]:
    """The cases of a Decathlon or nnU-Net folder, and whether `dataset.json` lists them.

    Args:
        root: The folder.
        document: `dataset.json`.
        faults: What is wrong is added.
    """
    on_disk = _channel_files(root)
    labels = [(files.stem(path), path) for path in layouts.image_files(root / "labelsTr")]
    listing = document.get("training")
    if listed := isinstance(listing, list):
        entries = _listed(root, listing, on_disk, faults)
    else:
        _twice(root, labels, faults)
        entries = [Entry(case, _images(root / "imagesTr", path, on_disk), path) for case, path in labels]
    known = {entry.id for entry in entries}
    for case, path in labels if listed else []:
        if case in known:
            continue
        images = _images(root / "imagesTr", path, on_disk)
        if images:
            faults.append(Finding("unlisted_case", "in no entry of `training`", "an entry").of(case))
        else:
            entries.append(Entry(case, (), path))
    used = {path for entry in entries for path in entry.images} | {
        path for case, label in labels for path in _images(root / "imagesTr", label, on_disk)
    }
    lone = [path for path in layouts.image_files(root / "imagesTr") if path not in used]
    for case, group in _grouped(lone, known).items():
        if case not in known:
            entries.append(Entry(case, tuple(path for _, path in sorted(group.items())), None))
    entries = list({entry.id: entry for entry in reversed(entries)}.values())
    _incomplete(root, entries, faults)
    return _channels(root, entries, faults), listed


def _listed(
    root: Path, listing: Sequence[Any], on_disk: Mapping[str, Mapping[int, Path]], faults: list[Fault]
) -> list[Entry]:
    entries: list[Entry] = []
    seen: dict[str, tuple[Path, Path]] = {}
    for item in listing:
        if not isinstance(item, dict) or not {"image", "label"} <= item.keys():
            expected = {"image": "./imagesTr/NAME.nii.gz", "label": "./labelsTr/NAME.nii.gz"}
            faults.append(Finding("description", item, expected, file="dataset.json").of())
            continue
        image, label = (_spelled(root, str(item[part]), faults) for part in ("image", "label"))
        case = files.stem(label)
        if case in seen:
            same = seen[case] == (image, label)
            finding = Finding("duplicate_id", "two entries", "one entry", mendable=same, file="dataset.json")
            faults.append(finding.of(case))
            continue
        seen[case] = image, label
        images = (image,) if image.is_file() else tuple(path for _, path in sorted(on_disk.get(case, {}).items()))
        entries.append(Entry(case, images, label if label.is_file() else None))
    return entries


def _spelled(root: Path, text: str, faults: list[Fault]) -> Path:
    """The path of an entry, as the disk spells it."""
    path = root / text
    if path.is_file() or not path.parent.is_dir():
        return path
    wanted = unicodedata.normalize("NFC", path.name)
    for other in path.parent.iterdir():
        if unicodedata.normalize("NFC", other.name) == wanted:
            finding = Finding("unicode_form", _points(path.name), _points(other.name), mendable=True)
            faults.append(replace(finding, file="dataset.json").of(files.stem(other)))
            return other
    return path


def _points(name: str) -> str:
    """The letters of a name that are not plain, by their code points."""
    return " ".join(f"U+{ord(c):04X}" for c in name if ord(c) > 127)


def _channel_files(root: Path) -> dict[str, dict[int, Path]]:
    return _grouped(layouts.image_files(root / "imagesTr"), frozenset())


def _grouped(paths: Iterable[Path], known: frozenset[str] | set[str]) -> dict[str, dict[int, Path]]:
    """Files by case and channel number; a file without one is channel 0 of the case of its own name."""
    groups: defaultdict[str, dict[int, Path]] = defaultdict(dict)
    for path in paths:
        stem = files.stem(path)
        match = None if stem in known else _CHANNEL.fullmatch(stem)
        case, channel = (match[1], int(match[2])) if match else (stem, 0)
        groups[case][channel] = path
    return dict(groups)


def _images(folder: Path, label: Path, on_disk: Mapping[str, Mapping[int, Path]]) -> tuple[Path, ...]:
    if (folder / label.name).is_file():
        return (folder / label.name,)
    return tuple(path for _, path in sorted(on_disk.get(files.stem(label), {}).items()))


def paired(
    root: Path, sources: list[tuple[str, Path]], targets: list[tuple[str, Path]], faults: list[Fault]
) -> list[Entry]:
    """The cases of a folder whose images and masks share their names.

    Args:
        root: The folder.
        sources: Case and file of each image.
        targets: Case and file of each mask.
        faults: What is wrong is added.
    """
    _twice(root, sources, faults)
    _twice(root, targets, faults)
    images, labels = dict(sources), dict(targets)
    entries = [
        Entry(case, (images[case],) if case in images else (), labels.get(case), layouts.person(case))
        for case in {**images, **labels}
    ]
    _incomplete(root, entries, faults)
    return entries


def _twice(root: Path, named: Sequence[tuple[str, Path]], faults: list[Fault]) -> None:
    counts = Counter(case for case, _ in named)
    for case in (case for case, count in counts.items() if count > 1):
        found = [path.relative_to(root).as_posix() for other, path in named if other == case]
        faults.append(Finding("duplicate_id", found, "one file").of(case))


def _incomplete(root: Path, entries: Iterable[Entry], faults: list[Fault]) -> None:
    for entry in entries:
        if not entry.images:
            file = entry.label.relative_to(root).as_posix() if entry.label else ""
            finding = Finding("missing_image", "no image", f"an image {entry.id}", mendable=True, file=file)
            faults.append(finding.of(entry.id))
        if entry.label is None:
            file = entry.images[0].relative_to(root).as_posix() if entry.images else ""
            finding = Finding("missing_label", "no label map", f"a label map {entry.id}", mendable=True, file=file)
            faults.append(finding.of(entry.id))


def _channels(root: Path, entries: Sequence[Entry], faults: list[Fault]) -> list[Entry]:
    """The entries with the channels that most have; a further one is a fault and left out."""
    own = {entry.id: _numbers(entry) for entry in entries if entry.images}
    if not own:
        return list(entries)
    usual = Counter(own.values()).most_common(1)[0][0]
    if usual != tuple(range(len(usual))):
        faults.append(Finding("missing_channel", list(usual), list(range(len(usual)))).of())
    kept = []
    for entry in entries:
        numbers = own.get(entry.id, usual)
        if missing := sorted(set(usual) - set(numbers)):
            finding = Finding("missing_channel", list(numbers), list(usual), cause=f"Channel {missing[0]} is absent.")
            faults.append(finding.of(entry.id))
        extra = [path for number, path in zip(numbers, entry.images, strict=False) if number not in usual]
        for path in extra:
            file = path.relative_to(root).as_posix()
            finding = Finding("extra_channel", list(numbers), list(usual), mendable=True, file=file)
            faults.append(finding.of(entry.id))
        kept.append(replace(entry, images=tuple(path for path in entry.images if path not in extra)))
    return kept


def _numbers(entry: Entry) -> tuple[int, ...]:
    stems = [files.stem(path) for path in entry.images]
    if stems == [entry.id]:
        return (0,)
    return tuple(int(match[2]) if (match := _CHANNEL.fullmatch(stem)) else 0 for stem in stems)
