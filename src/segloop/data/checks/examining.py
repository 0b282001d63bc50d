"""One case, read once: what is wrong with it alone, and the facts by which it is compared with the others."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Integer, Shaped

from segloop.data.checks.entries import Entry
from segloop.data.checks.facts import CaseFacts, label_facts, levels, thumbnail
from segloop.data.checks.faults import Fault, Finding
from segloop.data.checks.grids import TOLERANCE_MM, compare, regridded
from segloop.data.checks.reading import (
    Image,
    LabelMap,
    read_image,
    read_label_map,
    read_series_image,
    read_series_labels,
)
from segloop.data.checks.survey import Survey
from segloop.data.checks.symmetry import mirror_margins
from segloop.data.digests import array_digest
from segloop.volume import CANONICAL, Geometry, Reorientation

_Note = Callable[[Finding, str], None]


def examine(entry: Entry, survey: Survey) -> CaseFacts:
    """The facts of a case and its own faults; whatever its files hold, this returns.

    Args:
        entry: The case.
        survey: The dataset, for how files are named in faults.
    """
    faults: list[Fault] = []

    def note(finding: Finding, file: str = "") -> None:
        faults.append(replace(finding, file=finding.file or file).of(entry.id))

    images = list(_images(entry, survey, note))
    whole = images if len(images) == len(entry.images) else []
    label, file = None, survey.relative(entry.label) if entry.label else ""
    if entry.label is not None:
        read = _label_map(entry, entry.label, survey)
        label = read if isinstance(read, LabelMap) else None
        for finding in (read,) if isinstance(read, Finding) else read.findings:
            note(finding, file)
    on_image = None
    if label and whole:
        on_image = regridded(label.array, label.geometry, whole[0].geometry)
        for finding in compare(whole[0].geometry, label.geometry, mendable=on_image is not None):
            note(finding, file)
    grey = _finite(whole[0].array, on_image, survey.relative(entry.images[0]), note) if whole else None
    facts, sample = CaseFacts(entry, ()), np.zeros(1)
    if grey is not None:
        found, sample = levels(grey)
        facts = replace(_image_facts(entry, whole, grey, note), levels=found)
    for image, path in zip(whole[1:], entry.images[1:], strict=bool(whole)):
        _finite(image.array, on_image, survey.relative(path), note)
    if label:
        if on_image is None or grey is None:
            facts = _with_label(facts, label.array, label.geometry, None, sample)
        else:
            facts = _with_label(facts, on_image, whole[0].geometry, grey, sample)
        # As stored: a copy stays one when it is put on another grid.
        stored = Reorientation.between(label.geometry, CANONICAL).array(label.array)
        facts = replace(facts, label_digest=array_digest(stored) if stored.any() else "")
        for finding in _label_findings(facts):
            note(finding, file)
    return replace(facts, faults=tuple(faults))


def _label_map(entry: Entry, path: Path, survey: Survey) -> LabelMap | Finding:
    return read_series_labels(path, entry.slices, survey.labels) if entry.slices else read_label_map(path)


def _images(entry: Entry, survey: Survey, note: _Note) -> Iterator[Image]:
    for path in entry.images:
        image = read_series_image(entry.slices) if entry.slices else read_image(path)
        if isinstance(image, Finding):
            note(image, survey.relative(path))
        else:
            yield image


def _finite(
    array: Shaped[np.ndarray, "z y x ..."], label: Integer[np.ndarray, "z y x"] | None, file: str, note: _Note
) -> Shaped[np.ndarray, "z y x"]:
    """The image as one grey channel without NaN and infinity; these and constant channels are noted."""
    planes = array if array.ndim == 4 else array[..., None]
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = ~np.isfinite(planes).all(axis=-1)
        inside = label is not None and bool((bad & (label != 0)).any())
        some = bool(np.isfinite(planes).any())
        mendable = some and label is not None and not inside
        cause = "Some of them lie inside a label. " if inside else ""
        finding = Finding("not_finite", f"{int(bad.sum())} voxels", "finite numbers", cause=cause, mendable=mendable)
        note(finding, file)
        lowest = float(planes[np.isfinite(planes)].min()) if some else 0.0
        planes = np.nan_to_num(planes, nan=lowest, posinf=lowest, neginf=lowest)
    for channel in range(planes.shape[-1]):
        low, high = planes[..., channel].min(), planes[..., channel].max()
        if low == high:
            where = f" in channel {channel}" if planes.shape[-1] > 1 else ""
            note(Finding("constant_image", f"{float(low):g} everywhere{where}", "different values"), file)
    picture = array.ndim == 4 and array.shape[3] == 3
    grey: Shaped[np.ndarray, "z y x"] = planes.mean(axis=-1, dtype=np.float32) if picture else planes[..., 0]
    return grey


def _image_facts(entry: Entry, images: Sequence[Image], grey: Shaped[np.ndarray, "z y x"], note: _Note) -> CaseFacts:
    first = images[0].geometry
    for image, path in zip(images[1:], entry.images[1:], strict=True):
        if not first.same_grid(image.geometry, TOLERANCE_MM):
            note(Finding("channel_grid", image.geometry.describe(), first.describe()), path.name)
    turn = Reorientation.between(first, CANONICAL)
    digests = [array_digest(Reorientation.between(i.geometry, CANONICAL).array(i.array)) for i in images]
    return CaseFacts(
        entry,
        (),
        geometry=turn.geometry(first),
        grey_in_colour=_grey_in_colour(images[0].array),
        channels=sum(1 if image.array.ndim == 3 else image.array.shape[3] for image in images),
        image_digest=digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest(),
        thumbnail=thumbnail(turn.array(grey)),
    )


def _with_label(
    facts: CaseFacts,
    array: Integer[np.ndarray, "z y x"],
    geometry: Geometry,
    grey: Shaped[np.ndarray, "z y x"] | None,
    sample: Float[np.ndarray, " n"],
) -> CaseFacts:
    turn = Reorientation.between(geometry, CANONICAL)
    array, seen = turn.array(array), None if grey is None else turn.array(grey)
    values, labels, crop = label_facts(array, turn.geometry(geometry), seen, sample)
    return replace(
        facts,
        values=values,
        labels=labels,
        margins=None if seen is None or not labels else mirror_margins(array, seen, sample),
        shape_digest=array_digest(crop) if crop.size else "",
    )


def _label_findings(facts: CaseFacts) -> Iterator[Finding]:
    assert facts.values is not None
    if facts.label_digest and facts.label_digest == facts.image_digest:
        yield Finding("image_is_label", "the same voxels in both", "an image and its label map")
    elif len(facts.values) == 1 and facts.values[0]:
        yield Finding("full_label", f"{facts.values[0]} everywhere", "label and background")
    elif 0 not in facts.values:
        yield Finding("no_background", list(facts.values[:10]), "0 where there is no label")


def _grey_in_colour(array: Shaped[np.ndarray, "z y x ..."]) -> bool:
    return array.ndim == 4 and array.shape[3] == 3 and bool((array == array[..., :1]).all())
