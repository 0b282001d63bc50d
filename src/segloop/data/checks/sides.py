"""Left and right, front and back: cases whose labels lie the other way round than in all other cases."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from segloop.data.checks.facts import CaseFacts
from segloop.data.checks.faults import Fault, Finding
from segloop.data.checks.images import is_photograph
from segloop.data.checks.kinds import Severity
from segloop.data.checks.symmetry import mirrored_axes
from segloop.data.terms import words

_LEFT = frozenset({"left", "links", "lt", "l"})
_RIGHT = frozenset({"right", "rechts", "rt", "r"})
_CHINESE = {"左": "left", "右": "right"}

# Beside each other, and not nearly above or behind each other: this share of their distance along an axis.
_BESIDE = 0.3
_ENOUGH, _AGREED = 8, 0.9
_VOTES = 3
# How far from the middle of the image, as a share of it, a label lies when its side counts.
_OFF_CENTRE = 0.1
# Places that differ by more robust standard deviations, at least this share of the image each, are other places.
_USUAL, _PLACE = 5.0, 0.03
_AXES = ("left to right", "front to back", "bottom to top")


def lateral(name: str) -> tuple[str, str] | None:
    """The name without its side, and the side, `left` or `right`; None for a name that tells no side.

    >>> lateral("Kidney_Left")
    ('kidney', 'left')
    """
    for character, side in _CHINESE.items():
        if character in name:
            return name.replace(character, ""), side
    own = words(name)
    for side, tokens in (("left", _LEFT), ("right", _RIGHT)):
        if any(word in tokens for word in own):
            rest = " ".join([*(word for word in own if word not in tokens), *re.findall(r"\d+", name)])
            return rest, side
    return None


def lateral_pairs(names: Mapping[int, str]) -> dict[str, tuple[int, int]]:
    """What occurs on both sides, with the numbers of its left and of its right label."""
    found: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for number, name in names.items():
        if told := lateral(name):
            found[told[0]].setdefault(told[1], number)
    return {organ: (sides["left"], sides["right"]) for organ, sides in found.items() if len(sides) == 2}


def side_faults(names: Mapping[int, str], cases: Sequence[CaseFacts]) -> Iterator[Fault]:
    """Cases whose label map is mirrored, or in which left and right, or another relation, is the other way round.

    Args:
        names: Label numbers and names.
        cases: All cases.
    """
    fitting = {case.id: case.margins for case in cases if case.margins is not None and not case.broken}
    flipped = set[str]()
    known = {case.id: case for case in cases}
    for case_id, axis, agreed, total in mirrored_axes(fitting):
        if not _in_place(known[case_id], [known[other] for other in fitting], axis=axis):
            continue
        flipped.add(case_id)
        found, expected = f"fits better mirrored {_AXES[2 - axis]}", f"as it is, like {agreed} of {total} cases"
        yield Finding("flipped_label", found, expected).of(case_id)
    volumes = [case for case in cases if case.labels and not case.broken and not is_photograph(case)]
    read = [case for case in volumes if case.id not in flipped]
    pairs = lateral_pairs(names)
    told = set[str]()
    for organ, (left, right) in pairs.items():
        for fault in _swapped(organ, left, right, read):
            told.update([fault.case] if fault.case else (case.id for case in read))
            yield fault
    sided = {number for pair in pairs.values() for number in pair}
    for fault in _mirrored([number for number in names if number not in sided], names, read):
        if fault.case not in told:
            told.add(fault.case)
            yield fault


def _in_place(
    case: CaseFacts, cases: Sequence[CaseFacts], *, axis: int | None = None, numbers: Mapping[int, int] | None = None
) -> bool:
    """Whether the labels would lie where they lie in other cases, mirrored along an axis or with numbers exchanged."""
    for value, label in case.labels.items():
        meant = (numbers or {}).get(value, value)
        places = np.array([other.labels[meant].place for other in cases if meant in other.labels])
        middle = np.median(places, axis=0)
        spread = np.maximum(1.4826 * np.median(np.abs(places - middle), axis=0), _PLACE)
        place = np.asarray(label.place)
        if axis is not None:
            place[axis] = 1 - place[axis]
        if (np.abs(place - middle) > _USUAL * spread).any():
            return False
    return True


def _swapped(organ: str, left: int, right: int, cases: Sequence[CaseFacts]) -> Iterator[Fault]:
    """LPS: the patient's left has the larger x."""
    wrong, right_way = list[str](), list[str]()
    for case in cases:
        if left in case.labels and right in case.labels:
            apart = np.subtract(case.labels[left].centre_mm, case.labels[right].centre_mm)
            if abs(apart[0]) > _BESIDE * np.linalg.norm(apart):
                (wrong if apart[0] < 0 else right_way).append(case.id)
    if len(wrong) > len(right_way) and len(wrong) >= _VOTES:
        found = f"left {organ} on the patient's right in {len(wrong)} of {len(wrong) + len(right_way)} cases"
        cause = "Labels are named by the viewer's side, or all images state the wrong orientation."
        yield Finding("sides_swapped", found, "on the patient's left", cause=cause, others=tuple(wrong[:20])).of()
        return
    for case_id in wrong:
        expected = f"on the patient's left, as in {len(right_way)} cases"
        yield Finding("sides_swapped", f"left {organ} on the patient's right", expected).of(case_id)


def _mirrored(numbers: Sequence[int], names: Mapping[int, str], cases: Sequence[CaseFacts]) -> Iterator[Fault]:
    """Relations that nearly all cases agree on; a pair of labels tells more than one label's side of the image."""
    known = {case.id: case for case in cases}
    for i, first in enumerate(numbers):
        for second in numbers[i + 1 :]:
            both = [case for case in cases if first in case.labels and second in case.labels]
            for case_id, axis, expected in _against({c.id: _relation(c, first, second) for c in both}, _BESIDE):
                found = f"{names[first]} to {names[second]}: the other way round, {_AXES[axis]}"
                kind, severity = _reason(known[case_id], cases, axis, (first, second))
                yield Finding(kind, found, expected, severity=severity).of(case_id)
    for number in numbers:
        holders = [case for case in cases if number in case.labels]
        for case_id, axis, expected in _against({c.id: _offset(c, number) for c in holders}, _OFF_CENTRE):
            found = f"{names[number]} in the image: the other way round, {_AXES[axis]}"
            yield Finding("mirrored_case", found, expected, severity="warning").of(case_id)


def _reason(case: CaseFacts, cases: Sequence[CaseFacts], axis: int, pair: tuple[int, int]) -> tuple[str, Severity]:
    """What explains that two labels lie the other way round; where nothing does, they are of another kind."""
    if _in_place(case, cases, axis=2 - axis):
        return "mirrored_case", "error"
    if _in_place(case, cases, numbers={pair[0]: pair[1], pair[1]: pair[0]}):
        return "exchanged_labels", "error"
    return "mirrored_case", "warning"


def _relation(case: CaseFacts, first: int, second: int) -> np.ndarray:
    apart = np.subtract(case.labels[first].centre_mm, case.labels[second].centre_mm)
    return np.asarray(apart / max(float(np.linalg.norm(apart)), 1e-9))


def _offset(case: CaseFacts, number: int) -> np.ndarray:
    """From the middle of the image along x, y, z of LPS, as a share of it (the facts are canonical, z first)."""
    return np.asarray(case.labels[number].place)[::-1] - 0.5


def _against(relations: Mapping[str, np.ndarray], clear: float) -> Iterator[tuple[str, int, str]]:
    """Cases in which a relation along x, y or z of LPS is against nearly all others; the axis, and how many."""
    for axis in range(3):
        signs = {case: np.sign(r[axis]) for case, r in relations.items() if abs(r[axis]) > clear}
        for way in (1, -1):
            against = [case for case, sign in signs.items() if sign == -way]
            agreed = len(signs) - len(against)
            if agreed >= _ENOUGH and agreed >= _AGREED * len(signs) and agreed > len(relations) / 2:
                yield from ((case, axis, f"as in {agreed} of {len(signs)} cases") for case in against)
