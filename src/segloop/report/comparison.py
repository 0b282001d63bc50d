"""The printed comparison with earlier results: a column per date, what changed, each lesion's way, and the sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from segloop.measure.change import NOISE, Verdict, VolumeChange
from segloop.measure.quantities import Measurement, Quantity
from segloop.plan import LabelSpec
from segloop.report.findings import Findings
from segloop.report.follow_up import FollowedLesion, FollowUp, find
from segloop.report.words import Language, Words

MOST_DATES = 3
"""Earlier dates that a page has room for."""

NOTHING = "–"
"""Printed where there is nothing to say."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A field of a table: a line, and a smaller one below."""

    main: str
    below: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything that the page says about other dates; empty parts are left out.

    Args:
        heads: Columns of both tables between the first and the last one: the dates.
        structures: Rows of the whole labels, the name first and the change last.
        lesions: Rows of the lesions, likewise.
        sums: The sums of diameters and what follows from them, as sentences.
        notes: Footnotes of the tables.
    """

    heads: tuple[Cell, ...] = ()
    structures: tuple[tuple[Cell, ...], ...] = ()
    lesions: tuple[tuple[Cell, ...], ...] = ()
    sums: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def comparison(findings: Findings, language: Language, words: Words) -> Comparison:
    """What the page of `findings` says about other dates."""
    known = findings.follow_up
    if known is None:
        return Comparison()
    sums = tuple(_sums(known, findings, language, words))
    if not known.priors:
        return Comparison(sums=sums)
    shown = _shown(known)
    changes = [*(one.change for one in known.volumes), *(one.change for one in known.lesions)]
    notes = []
    if known.reference is not None:
        notes.append(words.change_note.format(date=known.priors[known.reference].study_date))
    if any(change is not None and change.assumed for change in changes):
        notes.append(words.assumed_noise.format(share=f"{NOISE:.0%}".replace("%", " %")))
    if len(shown) <= len(known.priors):
        notes.append(words.more_dates.format(count=len(known.priors) + 1 - len(shown)))
    return Comparison(
        heads=tuple(_head(known, index, words) for index in shown),
        structures=tuple(_structure(findings, known, spec, shown, language, words) for spec in findings.labels),
        lesions=tuple(_lesion(findings, known, lesion, shown, language, words) for lesion in _ordered(known)),
        sums=sums,
        notes=tuple(notes),
    )


def local_name(identifier: str, spec: LabelSpec, language: Language) -> str:
    """A tracking identifier with the label's name in the page's language: `lesion 2` is `病灶 2`."""
    rest = identifier.removeprefix(spec.name[:56])
    if language != "zh-CN" or not spec.name_zh or rest == identifier:
        return identifier
    return spec.name_zh + rest


def _shown(known: FollowUp) -> list[int]:
    """Indices of the dates that are printed: the first one, what changes are counted from, the newest, this result."""
    last = len(known.priors)
    chosen = {0, last, last if known.reference is None else known.reference}
    for index in range(last - 1, 0, -1):
        if len(chosen) <= MOST_DATES:
            chosen.add(index)
    return sorted(chosen)


def _head(known: FollowUp, index: int, words: Words) -> Cell:
    if index == len(known.priors):
        return Cell(words.unknown if known.study_date is None else str(known.study_date), words.this_result)
    prior = known.priors[index]
    told = [f"{prior.model} {prior.version}", dict(words.states)[prior.state]]
    return Cell(str(prior.study_date), words.comma.join(told if prior.comparable else [*told, words.not_comparable]))


def _structure(
    findings: Findings, known: FollowUp, spec: LabelSpec, shown: Sequence[int], language: Language, words: Words
) -> tuple[Cell, ...]:
    name = spec.name_zh if language == "zh-CN" and spec.name_zh else spec.name
    volumes = [find(_at(findings, known, index), spec.value, 0, Quantity.VOLUME) for index in shown]
    change = next((one.change for one in known.volumes if one.label == spec.value), None)
    return (Cell(name), *(_volume(one, words) for one in volumes), _change(change, words))


def _lesion(
    findings: Findings,
    known: FollowUp,
    lesion: FollowedLesion,
    shown: Sequence[int],
    language: Language,
    words: Words,
) -> tuple[Cell, ...]:
    spec = next(one for one in findings.labels if one.value == lesion.label)
    target = known.sums is not None and lesion.identifier in known.sums.targets
    cells = [_size(_at(findings, known, index), lesion.label, lesion.seen[index]) for index in shown]
    changed = _change(lesion.change, words)
    told = _fate(lesion, spec, language, words)
    return (
        Cell(local_name(lesion.identifier, spec, language), words.target if target else ""),
        *cells,
        Cell(told, "") if lesion.change is None else Cell(changed.main, f"{told} · {changed.below}"),
    )


def _at(findings: Findings, known: FollowUp, index: int) -> tuple[Measurement, ...]:
    return findings.measurements if index == len(known.priors) else known.priors[index].measurements


def _ordered(known: FollowUp) -> list[FollowedLesion]:
    """Those that are there now first, each kind in the order of their names' numbers."""
    return sorted(known.lesions, key=lambda one: (one.label, one.seen[-1] is None))


def _volume(found: Measurement | None, words: Words) -> Cell:
    if found is None:
        return Cell(NOTHING)
    if not found.value:
        return Cell(words.not_found)
    below = "" if found.interval is None else f"{found.interval[0]:.2f}–{found.interval[1]:.2f}"
    return Cell(f"{found.value:.2f} ml", below)


def _size(measurements: tuple[Measurement, ...], label: int, component: int | None) -> Cell:
    if component is None:
        return Cell(NOTHING)
    kinds = (Quantity.LONGEST_DIAMETER, Quantity.PERPENDICULAR_DIAMETER)
    lengths = [find(measurements, label, component, kind) for kind in kinds]
    volume = find(measurements, label, component, Quantity.VOLUME)
    across = " × ".join(NOTHING if one is None else f"{one.value:.1f}" for one in lengths)
    return Cell(across, "" if volume is None else f"{volume.value:.2f} ml")


def _change(change: VolumeChange | None, words: Words) -> Cell:
    if change is None:
        return Cell(NOTHING)
    low, high = change.ratio_bounds
    most = "∞" if high is None else percent(high - 1)
    bounds = words.range.format(low=percent(low - 1).removesuffix(" %"), high=most)
    verdict = {
        Verdict.GROWN: words.grown,
        Verdict.SHRUNK: words.shrunk,
        Verdict.WITHIN_NOISE: words.within_noise,
    }[change.verdict]
    pace = ""
    if change.doubling_days is not None and change.verdict is not Verdict.WITHIN_NOISE:
        phrase = words.doubling if change.doubling_days > 0 else words.halving
        pace = f" · {phrase.format(days=f'{abs(change.doubling_days):.0f}')}"
    mark = "*" if change.assumed else ""
    return Cell(f"{percent(change.ratio - 1)}{mark} ({bounds})", f"{verdict}{pace}")


def _fate(lesion: FollowedLesion, spec: LabelSpec, language: Language, words: Words) -> str:
    if lesion.joined:
        return words.merged_into.format(name=local_name(lesion.joined, spec, language))
    if lesion.origin and lesion.fate == "split":
        return words.split_from.format(name=local_name(lesion.origin, spec, language))
    return dict(words.fates)[lesion.fate.value]


def _sums(known: FollowUp, findings: Findings, language: Language, words: Words) -> list[str]:
    if known.sums is None:
        return []
    specs = [spec for spec in findings.labels if spec.components]
    names = []
    for name in known.sums.targets:
        spec = next((one for one in specs if name.startswith(one.name[:56])), specs[0])
        names.append(local_name(name, spec, language))
    dates = [*(prior.study_date for prior in known.priors), known.study_date]
    sums = [
        f"{words.unknown if day is None else day}: {value:.1f} mm"
        for day, value in zip(dates, known.sums.sums_mm, strict=True)
        if value is not None
    ]
    said = [words.targets.format(names=words.comma.join(names)), words.sums.format(sums=" → ".join(sums))]
    response = known.sums.response
    if response is not None:
        said.append(
            words.response.format(
                baseline=_share(response.from_baseline),
                nadir=_share(response.from_nadir),
                rise=f"{response.sum_mm - response.nadir_mm:+.1f}".replace("-", "−"),
                new=response.new_lesions,
                category=f"{response.category} ({dict(words.categories)[response.category.value]})",
            )
        )
    return [*said, words.arithmetic]


def _share(value: float | None) -> str:
    return NOTHING if value is None else percent(value)


def percent(share: float) -> str:
    """A change with its sign: `+12.3 %`.

    >>> percent(-0.25), percent(-0.0001)
    ('−25.0 %', '+0.0 %')
    """
    return f"{round(100 * share, 1) + 0.0:+.1f} %".replace("-", "−")
