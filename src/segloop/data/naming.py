"""What `dataset.json` says the numbers in label maps mean: labels, one number to ignore, overlapping regions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from segloop.errors import InputError
from segloop.plan import Region

_IGNORE = "ignore"
_BACKGROUND = ("background", "bg", "clear label", "unlabelled", "unlabeled", "unknown", "none", "void", "other", "背景")
_EXPECTED = {"background": 0, "liver": 1, "tumour": 2, "ignore": 3}
_EXPECTED_REGIONS = {
    "labels": {"background": 0, "whole tumour": [1, 2, 3], "tumour core": [2, 3], "enhancing tumour": 3},
    "regions_class_order": [1, 2, 3],
}


@dataclass(frozen=True, slots=True)
class Naming:
    """The meaning of label numbers.

    Args:
        labels: Number and name of each label, by rising number, without background and without the number to ignore.
        ignore: Number of voxels that count nowhere; None when there is none.
        regions: Overlapping labels as unions of numbers; empty when labels exclude each other.
    """

    labels: Mapping[int, str]
    ignore: int | None = None
    regions: tuple[Region, ...] = ()


def naming(document: Mapping[str, Any], root: Path) -> Naming:
    """The naming in a `dataset.json`.

    `labels` is `{"1": "liver"}` (Decathlon), `{"liver": 1}` (nnU-Net), or nnU-Net's form for regions,
    `{"whole": [1, 2], "core": 2}` with `regions_class_order`: the number that each region paints, a later one over an
    earlier one. A label named `ignore` is the number to ignore. Where only regions are named, a label is named by those
    it lies in.

    Args:
        document: The parsed file.
        root: The dataset's folder, for messages.

    Raises:
        InputError: `dataset.invalid` when an entry has another form, or there is no label.
    """
    labels = document.get("labels")
    entries = [_entry(key, value, root) for key, value in labels.items()] if isinstance(labels, dict) else []
    ignored = [numbers for name, numbers in entries if name.casefold() == _IGNORE]
    structures = [n for n, numbers in entries if numbers == (0,) and n.casefold() not in (_IGNORE, *_BACKGROUND)]
    if structures:
        _refuse(root, "0 is what no label covers, and its name is none for that (background)", structures, _EXPECTED)
    entries = [(n, numbers) for n, numbers in entries if n.casefold() != _IGNORE and numbers != (0,)]
    if ignored and (len(ignored) > 1 or len(ignored[0]) > 1 or ignored[0] == (0,)):
        _refuse(root, "`ignore` needs one number above 0", ignored, _EXPECTED)
    ignore = ignored[0][0] if ignored else None
    if not entries:
        raise InputError(
            f"{root.name}/dataset.json names no labels.",
            code="dataset.invalid",
            found=labels,
            expected={"0": "background", "1": "name"},
            hint="Add `labels` with every number that occurs in the label maps.",
        )
    if any(ignore in numbers for _, numbers in entries):
        _refuse(root, f"{ignore} is to be ignored and is a label as well", ignore, _EXPECTED)
    if all(len(numbers) == 1 for _, numbers in entries):
        shared = [name for name, numbers in entries if sum(numbers == other for _, other in entries) > 1]
        if shared:
            _refuse(root, "several names have one number", shared, _EXPECTED)
        return Naming(dict(sorted((numbers[0], name) for name, numbers in entries)), ignore)
    regions = _regions(entries, document.get("regions_class_order"), root)
    return Naming(_named_by(regions), ignore, regions)


def _entry(key: Any, value: Any, root: Path) -> tuple[str, tuple[int, ...]]:
    """Name and numbers of one entry of `labels`."""
    name, numbers = (value, key) if str(key).isdigit() else (key, value)
    many = numbers if isinstance(numbers, list) else [numbers]
    if not many or any(isinstance(n, bool) or not str(n).isdigit() for n in many) or not str(name).strip():
        _refuse(root, "a name and its number are needed, or a region's numbers", {str(key): value}, _EXPECTED)
    found = tuple(sorted({int(n) for n in many}))
    if len(found) > 1 and 0 in found:
        _refuse(root, f"the region {name} holds background (0)", {str(key): value}, _EXPECTED_REGIONS)
    return str(name), found


def _regions(entries: Sequence[tuple[str, tuple[int, ...]]], order: Any, root: Path) -> tuple[Region, ...]:
    names = [name for name, _ in entries]
    fits = isinstance(order, list) and len(order) == len(entries)
    if not fits or any(isinstance(n, bool) or not isinstance(n, int) for n in order):
        what = f"`regions_class_order` needs one number for each of the regions {', '.join(names)}"
        _refuse(root, what, order, _EXPECTED_REGIONS)
    wrong = [f"{name} paints {n}" for (name, numbers), n in zip(entries, order, strict=True) if n not in numbers]
    if wrong:
        what = f"a region paints one of its own numbers ({', '.join(wrong)})"
        _refuse(root, what, order, _EXPECTED_REGIONS)
    return tuple(Region(name=name, labels=numbers, paints=n) for (name, numbers), n in zip(entries, order, strict=True))


def _named_by(regions: Sequence[Region]) -> dict[int, str]:
    """A name for each number: the smallest region it lies in, without the smaller ones inside that it lies outside."""
    names: dict[int, str] = {}
    for number in sorted({n for region in regions for n in region.labels}):
        smallest = min((r for r in regions if number in r.labels), key=lambda r: len(r.labels))
        inside = [r for r in regions if set(r.labels) < set(smallest.labels)]
        largest = [r.name for r in inside if not any(set(r.labels) < set(other.labels) for other in inside)]
        name = f"{smallest.name} without {' and '.join(largest)}" if largest else smallest.name
        names[number] = f"{name} ({number})" if name in names.values() else name
    return names


def _refuse(root: Path, what: str, found: Any, expected: Any) -> NoReturn:
    raise InputError(
        f"`labels` in {root.name}/dataset.json: {what}; found {found!r}.",
        code="dataset.invalid",
        found=found,
        expected=expected,
        hint="Write them as `docs/reference/dataset.md` shows.",
    )
