"""Masks that do not belong: labels that are unlike those of all other cases in size, place, brightness or parts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from segloop.data.checks.facts import CaseFacts, LabelFacts
from segloop.data.checks.faults import Fault, Finding
from segloop.data.checks.kinds import Severity

_ENOUGH = 6
# Robust standard deviations beyond which a case is unlike the others in one respect. Real sets reach 4.8 in one and 2.8
# in a second.
_UNLIKE, _UTTERLY_UNLIKE = 6.0, 10.0
# The standard deviation counts as no smaller than this, or chance would look like a fault in very uniform data.
_RESPECTS = ("size", "place", "place", "place", "brightness", "parts")
_FLOORS = (0.25, 0.05, 0.05, 0.05, 0.08, 0.5)
# An image that shows this much more or less than usual has its labels elsewhere, and among other grey values.
_OTHER_VIEW = 1.5


class _Strange(NamedTuple):
    """How one label of one case is unlike the others: its respects, those that are utterly so, and both in words."""

    name: str
    unlike: tuple[str, ...]
    utterly: tuple[str, ...]
    found: str
    expected: str


def foreign_masks(names: Mapping[int, str], cases: Sequence[CaseFacts]) -> Iterator[Fault]:
    """Cases with a label that is unlike all others in two respects, or utterly so in one.

    It is a warning where size, brightness or parts alone are unlike, which disease may make so, or where the image
    shows so much more or less than the others that its labels must lie elsewhere.

    Args:
        names: Label numbers and names.
        cases: Cases with labels and without another fault that explains what is strange.
    """
    strange: defaultdict[str, list[_Strange]] = defaultdict(list)
    for value, name in names.items():
        for case, found in _strange(value, name, [case for case in cases if value in case.labels]):
            strange[case].append(found)
    view = _other_view(cases)
    for case_id, labels in strange.items():
        respects = {respect for label in labels for respect in label.unlike}
        sure = any(len(label.unlike) > 1 or "place" in label.utterly for label in labels)
        if case_id in view and not respects & {"size", "parts"}:
            sure = False
        severity: Severity = "error" if sure else "warning"
        worst = max(labels, key=lambda label: len(label.unlike))
        others = f", and so are {len(labels) - 1} more labels" if len(labels) > 1 else ""
        cause = f"{worst.name} is unlike that of the other cases in {' and '.join(worst.unlike)}{others}."
        yield Finding("foreign_mask", worst.found, worst.expected, severity=severity, cause=cause).of(case_id)


def _strange(value: int, name: str, holders: Sequence[CaseFacts]) -> Iterator[tuple[str, _Strange]]:
    if len(holders) < _ENOUGH:
        return
    table = np.array([_respects(case.labels[value]) for case in holders])
    middle = np.median(table, axis=0)
    spread = np.maximum(1.4826 * np.median(np.abs(table - middle), axis=0), _FLOORS)
    for case, own, distances in zip(holders, table, np.abs(table - middle) / spread, strict=True):
        unlike, utterly = (
            tuple(dict.fromkeys(r for r, d in zip(_RESPECTS, distances, strict=True) if d > limit))
            for limit in (_UNLIKE, _UTTERLY_UNLIKE)
        )
        if len(unlike) > 1 or utterly:
            yield case.id, _Strange(name, unlike, utterly, _words(own), _words(middle))


def _respects(label: LabelFacts) -> list[float]:
    """What a label is compared in, in the order of `_RESPECTS`; logarithms where ratios count."""
    rank = 0.5 if label.rank is None else label.rank
    return [float(np.log(label.volume_ml)), *label.place, rank, float(np.log(label.components))]


def _other_view(cases: Sequence[CaseFacts]) -> set[str]:
    """Cases whose image shows much more or less of the body than is usual."""
    extents = {case.id: np.array(case.geometry.extent_mm) for case in cases if case.geometry}
    if not extents:
        return set()
    usual = np.median(list(extents.values()), axis=0)
    return {case for case, own in extents.items() if np.maximum(own / usual, usual / own).max() > _OTHER_VIEW}


def _words(values: np.ndarray) -> str:
    size, z, y, x, rank, parts = values.tolist()
    place = f"at {z:.0%}, {y:.0%}, {x:.0%} of z, y, x"
    return f"{np.exp(size):.4g} ml {place}, brighter than {rank:.0%} of the image, {np.exp(parts):.0f} parts"
