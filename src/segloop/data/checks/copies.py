"""The same twice: label maps, images and near-images under two names, here or in the dataset around the folder."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from segloop.data import layouts
from segloop.data.checks.facts import CaseFacts
from segloop.data.checks.faults import Fault, Finding
from segloop.data.checks.survey import Survey, survey

# Two images correlate like this only when they are one; different eyes of one camera reach 0.981.
_ALIKE = 0.995
# And so does what is left when the mean of all images is taken away, which anatomy shares; where too few images make a
# mean, they must be still more alike (made-up bodies of one kind reach 0.996).
_ALIKE_BEYOND_MEAN, _ALIKE_AMONG_FEW = 0.95, 0.9995
_ENOUGH_FOR_A_MEAN = 6
_ROWS = 512
# Fewer voxels than this may agree by chance in two places.
_CHANCE = 150

Apart = Callable[[str, str], bool]
"""Whether two cases fall into different folds."""


def copies(cases: Sequence[CaseFacts], apart: Apart) -> Iterator[Fault]:
    """Label maps and images that occur under two names.

    Args:
        cases: All cases.
        apart: Whether two of them fall into different folds.
    """
    yield from _images(cases)
    yield from _label_maps(cases)
    yield from _near(cases, apart)


def _images(cases: Sequence[CaseFacts]) -> Iterator[Fault]:
    for group in _groups(cases, "image_digest"):
        first, *others = sorted(group, key=_doubtful)
        for case in others:
            same = bool(case.label_digest) and case.label_digest == first.label_digest
            yield Finding(
                "duplicate_image",
                f"the voxels of {first.id}",
                "an image of its own",
                cause="" if same else "Two cases show the same image, with different label maps: which one is right?",
                mendable=same,
                others=(first.id,),
            ).of(case.id)


def _label_maps(cases: Sequence[CaseFacts]) -> Iterator[Fault]:
    told = set[str]()
    for group in _groups(cases, "label_digest"):
        first, *others = sorted(group, key=_doubtful)
        for case in others:
            if case.image_digest and case.image_digest == first.image_digest:
                continue
            told.add(case.id)
            yield Finding("label_copied", f"the voxels of {first.id}", "a label map of its own", others=(first.id,)).of(
                case.id
            )
    for group in _groups(cases, "shape_digest"):
        first, *others = sorted(group, key=_doubtful)
        for case in others:
            large = sum(label.voxels for label in case.labels.values()) >= _CHANCE
            if case.label_digest != first.label_digest and case.id not in told and large:
                yield Finding(
                    "label_copied",
                    f"the outline of {first.id}, elsewhere in the image",
                    "a label map of its own",
                    severity="warning",
                    others=(first.id,),
                ).of(case.id)


def _doubtful(case: CaseFacts) -> tuple[bool, bool, str]:
    """Of two that are alike, the one that has something else wrong is the copy; else the first name counts."""
    return not case.image_digest, case.broken, case.id


def _groups(cases: Sequence[CaseFacts], digest: str) -> Iterator[list[CaseFacts]]:
    groups: defaultdict[str, list[CaseFacts]] = defaultdict(list)
    for case in cases:
        groups[getattr(case, digest)].append(case)
    return (group for value, group in groups.items() if value and len(group) > 1)


def _near(cases: Sequence[CaseFacts], apart: Apart) -> Iterator[Fault]:
    lengths: defaultdict[int, list[CaseFacts]] = defaultdict(list)
    for case in cases:
        if case.thumbnail is not None and case.thumbnail.any():
            lengths[len(case.thumbnail)].append(case)
    for group in lengths.values():
        for a, b, likeness in _pairs(np.stack([case.thumbnail for case in group if case.thumbnail is not None])):
            first, case = group[a], group[b]
            if first.image_digest == case.image_digest:
                continue
            severity = "error" if apart(first.id, case.id) else "warning"
            yield Finding(
                "near_duplicate",
                f"correlates {likeness:.4f} with {first.id}",
                f"below {_ALIKE}",
                severity="error" if severity == "error" else "warning",
                others=(first.id,),
            ).of(case.id)


def _pairs(thumbnails: Float[np.ndarray, "n d"]) -> Iterator[tuple[int, int, float]]:
    """Rows that are alike, the second with the larger number, and how much."""
    rest = thumbnails - thumbnails.mean(axis=0)
    norms = np.linalg.norm(rest, axis=1, keepdims=True)
    rest = rest / np.maximum(norms, 1e-9)
    for start in range(0, len(thumbnails), _ROWS):
        rows = slice(start, start + _ROWS)
        alike = thumbnails[rows] @ thumbnails.T
        near = alike > (_ALIKE if len(thumbnails) >= _ENOUGH_FOR_A_MEAN else _ALIKE_AMONG_FEW)
        if len(thumbnails) >= _ENOUGH_FOR_A_MEAN:
            near &= rest[rows] @ rest.T > _ALIKE_BEYOND_MEAN
        for a, b in np.argwhere(near).tolist():
            if a + start < b:
                yield a + start, b, float(alike[a, b])


def test_images(survey: Survey) -> Iterator[Fault]:
    """Training images that stand among the test images (`imagesTs`) as well, byte by byte."""
    tests = layouts.image_files(survey.root / "imagesTs")
    files = {path: entry.id for entry in survey.entries for path in entry.images}
    for path, other in _same_bytes(files, tests):
        finding = Finding("test_leak", f"the bytes of imagesTs/{other.name}", "an image that is not tested on")
        yield finding.of(files[path])


def around(inner: Survey) -> Iterator[Fault]:
    """Files that are copies of files in the dataset whose folder the given one lies in, where it does."""
    parent = inner.root.resolve().parent
    if not (parent / "imagesTr").is_dir():
        return
    outer = survey(parent)
    for what, kind in (("images", "duplicate_image"), ("label", "label_copied")):
        mine, theirs = _files(inner, what), _files(outer, what)
        for path, other in _same_bytes(mine, theirs):
            found = f"the bytes of {outer.relative(other)} in the dataset around this folder"
            yield Finding(
                kind,
                found,
                "a file of its own",
                file=inner.relative(path),
                others=(theirs[other],) if theirs[other] != mine[path] else (),
            ).of(mine[path])


def _files(survey: Survey, what: str) -> dict[Path, str]:
    if what == "images":
        return {path: entry.id for entry in survey.entries for path in entry.images}
    return {entry.label: entry.id for entry in survey.entries if entry.label}


def _same_bytes(mine: Mapping[Path, str], others: Iterable[Path]) -> Iterator[tuple[Path, Path]]:
    sizes: defaultdict[int, list[Path]] = defaultdict(list)
    for path in others:
        sizes[path.stat().st_size].append(path)
    for path in mine:
        candidates = sizes.get(path.stat().st_size, []) if path.stat().st_size else []
        own = _hash(path) if candidates else b""
        yield from ((path, other) for other in candidates if _hash(other) == own)


def _hash(path: Path) -> bytes:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()
