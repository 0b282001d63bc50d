"""Each lesion's way through all dates, under one name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import pairwise
from typing import Literal

from segloop.measure.lesions import ALIGNED_MM, SAME_SPACE_MM, Fate, Lineage, match_lesions, organ_shift_mm
from segloop.measure.quantities import Measurement
from segloop.plan import LabelSpec
from segloop.report.dicom.common import derive_uid
from segloop.report.findings import ModelStamp
from segloop.report.follow_up import State, Track
from segloop.volume import Labels

Placed = Literal["frame", "organ", "not"]
_NAME = 56


@dataclass(frozen=True, slots=True, eq=False)
class Dated:
    """One result with the date of its images.

    Args:
        key: Its study key.
        study_date: When the images were taken.
        frame: Their frame of reference UID; empty where none is known.
        labels: The mask, its numbers those of the result that is compared.
        measurements: Likewise.
        model: What made the mask.
        tracks: Names that labels and parts have in its structured report.
        state: Who stands behind it.
    """

    key: str
    study_date: date | None
    frame: str
    labels: Labels
    measurements: tuple[Measurement, ...]
    model: ModelStamp
    tracks: tuple[Track, ...] = ()
    state: State = "draft"

    def track(self, label: int, component: int) -> Track | None:
        """The name of one label or part, or None."""
        return next((t for t in self.tracks if (t.label, t.component) == (label, component)), None)


@dataclass(slots=True, eq=False)
class Trace:
    """One lesion while its way is followed, date by date.

    Args:
        label: Its number in the label map.
        identifier: Its name.
        uid: Its tracking UID.
        seen: Number of its part at each date so far.
        fate: At the last step.
        appeared: Whether it was new when it was first seen.
        origin: The one that it split from.
        host: The one that it merged into, and the date's index.
        mixed: Index of the last date at which it merged or split; before it sizes mean something else.
    """

    label: int
    identifier: str
    uid: str
    seen: list[int | None]
    fate: Fate
    appeared: bool = False
    origin: Trace | None = None
    host: tuple[int, Trace] | None = None
    mixed: int = 0


@dataclass(slots=True, eq=False)
class _Names:
    """Names given so far in one label; none is given twice."""

    spec: LabelSpec
    identifiers: set[str] = field(default_factory=set)
    uids: set[str] = field(default_factory=set)

    def give(self, dated: Dated, component: int) -> tuple[str, str]:
        """Identifier and UID of a part that was not seen before: its own where it has them, else the next free ones."""
        own = dated.track(self.spec.value, component)
        name = own.identifier if own else f"{self.spec.name[:_NAME]} {component}"
        number = 1
        while name in self.identifiers:
            name, number = f"{self.spec.name[:_NAME]} {number}", number + 1
        uid = own.uid if own else part_uid(dated.key, self.spec.value, component)
        if uid in self.uids:
            uid = derive_uid(f"{dated.key}|{self.spec.value}|{component}|{name}", "tracking")
        self.identifiers.add(name)
        self.uids.add(uid)
        return name, uid


def part_uid(key: str, label: int, component: int) -> str:
    """Tracking UID of a part of which no earlier result knows."""
    return derive_uid(f"{key}|{label}|{component}", "tracking")


def trace_lesions(dates: Sequence[Dated], specs: Sequence[LabelSpec]) -> tuple[list[Trace], Placed | None]:
    """Every lesion of any date, and how the last two dates were brought together.

    Args:
        dates: From the oldest to the newest.
        specs: Labels; those counted in parts are lesions.

    Returns:
        No lesions, and `not`, when the places of two successive dates cannot be brought together.
    """
    lesions = [spec for spec in specs if spec.components]
    found: list[Trace] = []
    names = {spec.value: _Names(spec) for spec in lesions}
    for spec in lesions:
        for component in _components(dates[0], spec.value):
            identifier, uid = names[spec.value].give(dates[0], component)
            found.append(Trace(spec.value, identifier, uid, [component], Fate.FOLLOWED))
    placed: Placed | None = None
    for index, (before, after) in enumerate(pairwise(dates), start=1):
        one_frame = bool(before.frame) and before.frame == after.frame
        shift = (
            (0.0, 0.0, 0.0)
            if one_frame
            else organ_shift_mm(before.labels, after.labels, [spec.value for spec in lesions])
        )
        if shift is None:
            return [], "not"
        placed = "frame" if one_frame else "organ"
        for spec in lesions:
            reach = SAME_SPACE_MM if one_frame else ALIGNED_MM
            lineages = match_lesions(before.labels, after.labels, spec.value, shift_mm=shift, reach_mm=reach)
            own = [trace for trace in found if trace.label == spec.value]
            found += _step(own, lineages, index, after, names[spec.value])
    return found, placed


def _step(own: Sequence[Trace], lineages: Sequence[Lineage], index: int, after: Dated, names: _Names) -> list[Trace]:
    """One date further, in place; returns the lesions that were not there before."""
    here: Mapping[int | None, Trace] = {trace.seen[-1]: trace for trace in own if trace.seen[-1] is not None}
    for trace in own:
        trace.seen.append(None)
    born: list[Trace] = []
    # Names are given in the order of the parts, from large to small.
    for line in sorted(lineages, key=lambda one: one.after):
        heir = None if line.pair is None else here[line.pair[0]]
        if heir is not None and line.pair is not None:
            heir.seen[-1], heir.fate = line.pair[1], line.fate
            heir.mixed = heir.mixed if line.fate is Fate.FOLLOWED else index
        for number in line.before:
            gone = here[number]
            if gone is heir:
                continue
            gone.fate = line.fate if heir is None else Fate.MERGED
            gone.host = gone.host if heir is None else (index, heir)
        for number in line.after:
            if line.pair is not None and number == line.pair[1]:
                continue
            identifier, uid = names.give(after, number)
            seen: list[int | None] = [*[None] * index, number]
            fate = line.fate if heir is None else Fate.SPLIT
            born.append(Trace(names.spec.value, identifier, uid, seen, fate, fate is Fate.NEW, heir, mixed=index))
    return born


def _components(dated: Dated, label: int) -> list[int]:
    return sorted({m.component for m in dated.measurements if m.label == label and m.component})
