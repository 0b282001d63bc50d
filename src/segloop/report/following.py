"""A result set beside the earlier ones of the same patient: names kept, changes counted, diameters summed up."""

from __future__ import annotations

import re
from collections.abc import Sequence

from segloop.measure.change import VolumeChange, volume_change
from segloop.measure.lesions import Fate
from segloop.measure.quantities import Measurement, Quantity
from segloop.measure.recist import NORMAL_NODE_MM, SizedLesion, choose_targets, respond
from segloop.plan import LabelSpec
from segloop.report.follow_up import FollowedLesion, FollowUp, LabelChange, Prior, TargetSums, Track, find
from segloop.report.tracing import Dated, Trace, trace_lesions

_NODE = re.compile(r"\b(lymph )?nodes?\b|\blymphadenopathy\b", re.IGNORECASE)


def follow(current: Dated, priors: Sequence[Dated], specs: Sequence[LabelSpec]) -> FollowUp:
    """What `priors` add to a result; without any, its own names and sum.

    Args:
        current: The result.
        priors: Earlier ones of the same patient, in any order, each with a date before the result's.
        specs: The result's labels.
    """
    dates = [*sorted(priors, key=lambda one: (one.study_date, one.key)), current]
    same = [one.model.digest == current.model.digest for one in dates]
    reference = max((i for i, alike in enumerate(same[:-1]) if alike), default=None)
    traces, placed = trace_lesions(dates, specs)
    told = tuple(_prior(one, alike) for one, alike in zip(dates[:-1], same, strict=False))
    return FollowUp(
        study_date=current.study_date,
        priors=told,
        reference=reference,
        placed=placed,
        tracks=_tracks(dates, traces, specs),
        lesions=tuple(_lesion(trace, dates, reference) for trace in traces) if len(dates) > 1 else (),
        volumes=tuple(
            LabelChange(label=spec.value, change=_change(dates, reference, spec.value, 0, 0)) for spec in specs
        )
        if reference is not None
        else (),
        sums=_sums(dates, same, traces, specs),
    )


def _prior(dated: Dated, comparable: bool) -> Prior:
    if dated.study_date is None:
        raise ValueError("an earlier result has a date. Received: none")
    return Prior(
        key=dated.key,
        study_date=dated.study_date,
        model=dated.model.name,
        version=dated.model.version,
        comparable=comparable,
        state=dated.state,
        measurements=dated.measurements,
    )


def _tracks(dates: Sequence[Dated], traces: Sequence[Trace], specs: Sequence[LabelSpec]) -> tuple[Track, ...]:
    """Names of the last date's labels, taken from the oldest result that knows them, and of its lesions."""
    current = dates[-1]
    whole = [
        Track(label=spec.value, component=0, identifier=spec.name[:64], uid=known.uid)
        for spec in specs
        if (known := next((t for one in dates if (t := one.track(spec.value, 0)) is not None), None)) is not None
    ]
    lesions = [
        Track(label=trace.label, component=number, identifier=trace.identifier, uid=trace.uid)
        for trace in traces
        if (number := trace.seen[-1]) is not None
    ]
    return (*whole, *(lesions if traces else _first_names(current, specs)))


def _first_names(current: Dated, specs: Sequence[LabelSpec]) -> list[Track]:
    """Names of lesions that could not be followed: as in a first result."""
    alone, _ = trace_lesions([current], specs)
    return [
        Track(label=trace.label, component=number, identifier=trace.identifier, uid=trace.uid)
        for trace in alone
        if (number := trace.seen[-1]) is not None
    ]


def _lesion(trace: Trace, dates: Sequence[Dated], reference: int | None) -> FollowedLesion:
    before, after = (None if reference is None else trace.seen[reference]), trace.seen[-1]
    single = reference is not None and before is not None and after is not None and trace.mixed <= reference
    return FollowedLesion(
        label=trace.label,
        identifier=trace.identifier,
        uid=trace.uid,
        fate=trace.fate,
        seen=tuple(trace.seen),
        appeared=trace.appeared,
        origin=trace.origin.identifier if trace.origin else "",
        joined=trace.host[1].identifier if trace.host else "",
        change=_change(dates, reference, trace.label, before or 0, after or 0) if single else None,
    )


def _change(dates: Sequence[Dated], reference: int | None, label: int, before: int, after: int) -> VolumeChange | None:
    if reference is None:
        return None
    old, new = dates[reference], dates[-1]
    first, second = (_volume(one.measurements, label, part) for one, part in ((old, before), (new, after)))
    if first is None or second is None or old.study_date is None or new.study_date is None:
        return None
    days = (new.study_date - old.study_date).days
    return volume_change(first.value, second.value, days, first.interval, second.interval)


def _volume(measurements: tuple[Measurement, ...], label: int, component: int) -> Measurement | None:
    """The volume of a label or part; that of a label's only part has the interval of the whole."""
    found = find(measurements, label, component, Quantity.VOLUME)
    if found is None or not component or find(measurements, label, 2, Quantity.VOLUME) is not None:
        return found
    whole = find(measurements, label, 0, Quantity.VOLUME)
    return found if whole is None else found.model_copy(update={"interval": whole.interval})


def _sums(
    dates: Sequence[Dated], same: Sequence[bool], traces: Sequence[Trace], specs: Sequence[LabelSpec]
) -> TargetSums | None:
    """The targets of the first comparable date and the sum of what became of them."""
    first = same.index(True)
    known = {spec.value: spec for spec in specs}
    at_first = {
        trace.identifier: (trace, lesion)
        for trace in traces
        if (lesion := _sized(trace, dates, first, known[trace.label])) is not None
    }
    slice_mm = dates[first].labels.geometry.spacing_mm[0]
    targets = choose_targets([lesion for _, lesion in at_first.values()], slice_mm)
    if not targets:
        return None
    members = {id(trace): trace for trace, _ in (at_first[one.name] for one in targets)}
    sums: list[float | None] = [None] * len(dates)
    normal = False
    for index in range(first, len(dates)):
        if index > first:
            _inherit(members, traces, index)
        sized = [one for t in members.values() if (one := _sized(t, dates, index, known[t.label])) is not None]
        sums[index] = round(sum(one.diameter_mm for one in sized), 6) if same[index] else None
        normal = all(one.node and one.short_mm < NORMAL_NODE_MM for one in sized)
    counted = [value for value in sums if value is not None]
    appeared = [t for t in traces if t.appeared and t.seen[-1] is not None and _born(t) > first]
    seen = all(t.fate is not Fate.OUT_OF_VIEW for t in members.values())
    response = (
        respond(counted, disappeared=normal, new_lesions=len(appeared), evaluable=seen) if len(counted) > 1 else None
    )
    return TargetSums(targets=tuple(one.name for one in targets), sums_mm=tuple(sums), response=response)


def _inherit(members: dict[int, Trace], traces: Sequence[Trace], index: int) -> None:
    """Let the parts of a target that split, and the one that it merged into, count from this date on, in place.

    Source: RECIST 1.1, section 4.3.2 (lesions that split or coalesce on treatment).
    """
    hosts = [t.host[1] for t in members.values() if t.host is not None and t.host[0] == index]
    pieces = [t for t in traces if t.origin is not None and id(t.origin) in members and _born(t) == index]
    members |= {id(one): one for one in (*hosts, *pieces)}


def _born(trace: Trace) -> int:
    return next(i for i, part in enumerate(trace.seen) if part is not None)


def _sized(trace: Trace, dates: Sequence[Dated], index: int, spec: LabelSpec) -> SizedLesion | None:
    """A lesion's diameters at one date; None where it was not there."""
    part = trace.seen[index]
    if part is None:
        return None
    both = (Quantity.LONGEST_DIAMETER, Quantity.PERPENDICULAR_DIAMETER)
    longest, short = (find(dates[index].measurements, trace.label, part, kind) for kind in both)
    site = spec.site or spec.code
    return SizedLesion(
        name=trace.identifier,
        organ=f"{site.scheme} {site.value}",
        longest_mm=longest.value if longest else 0.0,
        short_mm=short.value if short else 0.0,
        node=any(_NODE.search(text) for text in (spec.name, spec.code.meaning)),
    )
