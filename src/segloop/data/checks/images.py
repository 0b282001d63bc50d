"""Images compared with each other: channels, distances between voxels, modality and unit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import median

import numpy as np

from segloop.data.checks.facts import CaseFacts, Levels
from segloop.data.checks.faults import Fault, Finding
from segloop.data.checks.kinds import Severity
from segloop.data.checks.survey import Survey
from segloop.data.dataset import PHOTOGRAPHS

# No scanner for people has finer or coarser voxels; microscopes have, and say no modality that people are scanned with.
_FINEST_MM, _COARSEST_MM = 0.01, 50.0
_SCANNED = ("CT", "MR", "PT", "US")
_OFF_SPACING = 4.0
_ENOUGH = 3
_RARE, _MINORITY = 0.2, 0.34

# Values that only Hounsfield units have: air far below zero, bone or contrast above, and not the range of a z-score.
_AIR_HU, _BONE_HU, _RANGE_HU = -100.0, 50.0, 400.0
_INTERCEPTS = (1024.0, 1000.0)
_SHIFTED_HU = (800.0, 1200.0)
_NEAR_ZERO = 0.3
_SCALED = {"CT": 8.0, "PT": 50.0}


def image_faults(survey: Survey, cases: Sequence[CaseFacts]) -> Iterator[Fault]:
    """What is wrong with images as compared with the others.

    Args:
        survey: The dataset.
        cases: All cases.
    """
    read = [case for case in cases if case.geometry is not None]
    if not read:
        return
    yield from _channels(survey, read)
    volumes = [case for case in read if not is_photograph(case)]
    yield from _spacings(survey, volumes)
    slices = [case for case in volumes if _is_flat(case)]
    if slices and len(slices) <= _RARE * len(volumes):
        for case in slices:
            yield Finding("single_slice", 1, "several slices").of(case.id)
    sound = [case for case in read if not any(fault.kind == "constant_image" for fault in case.faults)]
    yield from _units(survey, sound)


def is_photograph(case: CaseFacts) -> bool:
    """Whether the image is a 2-D file without patient geometry."""
    return all(path.suffix.lower() in PHOTOGRAPHS for path in case.entry.images)


def _is_flat(case: CaseFacts) -> bool:
    return case.geometry is not None and min(case.geometry.shape) == 1


def _channels(survey: Survey, cases: Sequence[CaseFacts]) -> Iterator[Fault]:
    counts = Counter(case.channels for case in cases if len(case.entry.images) == _usual_files(cases))
    usual = counts.most_common(1)[0][0]
    for case in cases:
        if case.channels != usual and len(case.entry.images) == _usual_files(cases):
            series = usual == 1 and not is_photograph(case) and case.channels != 3
            kind = "four_dimensional" if series else "channel_count"
            grey = case.grey_in_colour and usual == 1
            mendable = grey and kind == "channel_count"
            file = survey.relative(case.entry.images[0])
            yield Finding(kind, case.channels, usual, mendable=mendable, file=file).of(case.id)
    named = len(survey.channels)
    if named and named != usual and not (named == 1 and usual == 3):
        yield Finding("channel_names", list(survey.channels), f"{usual} channels", file="dataset.json").of()


def _usual_files(cases: Sequence[CaseFacts]) -> int:
    return Counter(len(case.entry.images) for case in cases).most_common(1)[0][0]


def _spacings(survey: Survey, cases: Sequence[CaseFacts]) -> Iterator[Fault]:
    spacings = {case.id: np.asarray(case.geometry.spacing_mm) for case in cases if case.geometry}
    if not spacings:
        return
    usual = np.median(list(spacings.values()), axis=0)
    shown = [round(float(v), 5) for v in usual]
    off: list[str] = []
    for case, spacing in spacings.items():
        found = [round(float(v), 6) for v in spacing]
        ratio = np.maximum(spacing / usual, usual / spacing).max()
        if spacing.min() < _FINEST_MM or spacing.max() > _COARSEST_MM:
            alone = survey.modality in _SCANNED or ratio > _OFF_SPACING
            expected = shown if ratio > _OFF_SPACING else f"{_FINEST_MM} to {_COARSEST_MM:g} mm"
            yield Finding("absurd_spacing", found, expected, severity="error" if alone else "warning").of(case)
        elif ratio > _OFF_SPACING:
            off.append(case)
    if len(spacings) > _ENOUGH and len(off) <= _RARE * len(spacings):
        for case in off:
            found = [round(float(v), 5) for v in spacings[case]]
            yield Finding("spacing_outlier", found, shown).of(case)


def _is_hounsfield(levels: Levels) -> bool:
    return levels.low <= _AIR_HU and levels.high >= _BONE_HU and levels.high - levels.low >= _RANGE_HU


def _units(survey: Survey, cases: Sequence[CaseFacts]) -> Iterator[Fault]:
    values = {case.id: case.levels for case in cases if case.levels is not None}
    hounsfield = {case for case, levels in values.items() if _is_hounsfield(levels)}
    share = len(hounsfield) / max(len(values), 1)
    yield from _stated(survey, values, share)
    if len(values) < _ENOUGH:
        return
    if survey.modality != "CT" and hounsfield and share <= _MINORITY:
        others = [levels for case, levels in values.items() if case not in hounsfield]
        for case in sorted(hounsfield):
            yield Finding("mixed_modalities", _span(values[case]), _usual_span(others)).of(case)
        return
    told = set[str]()
    if share >= 0.5:
        typical = [other for other in cases if other.id in hounsfield]
        for other in cases:
            if other.id not in hounsfield and other.levels and other.levels.lowest >= -0.5 * _INTERCEPTS[0]:
                for fault in _unlike_hounsfield(survey, other, typical):
                    told.add(other.id)
                    yield fault
    else:
        for fault in _shifted(survey, values):
            told.add(fault.case)
            yield fault
    if survey.modality in _SCALED:
        rest = {case: levels for case, levels in values.items() if case not in told}
        yield from _scaled(rest, _SCALED[survey.modality])


def _unlike_hounsfield(survey: Survey, case: CaseFacts, typical: Sequence[CaseFacts]) -> Iterator[Fault]:
    """An image without air among Hounsfield units: shifted by the intercept, or of another modality; or a mere crop."""
    levels = [other.levels for other in typical if other.levels]
    assert case.levels is not None
    shift = _inside(case, typical)
    if shift is None:
        shift = case.levels.median - median(level.median for level in levels)
    usual = median(level.lowest for level in levels)
    if _SHIFTED_HU[0] <= shift <= _SHIFTED_HU[1]:
        exact = case.levels.lowest - usual in _INTERCEPTS
        file = survey.relative(case.entry.images[0])
        found, expected = case.levels.lowest, usual if exact else round(case.levels.lowest - shift)
        cause = f"All values lie about {shift:.0f} above those of the other cases: stored without rescale intercept."
        yield Finding("wrong_rescale", found, expected, cause=cause, mendable=exact, file=file).of(case.id)
    elif case.levels.lowest >= 0:
        yield Finding("mixed_modalities", _span(case.levels), _usual_span(levels)).of(case.id)


def _inside(case: CaseFacts, typical: Sequence[CaseFacts]) -> float | None:
    """How much brighter the labels are than those of the same number in the other cases."""
    shifts = []
    for value, own in case.labels.items():
        others = [c.labels[value].median for c in typical if value in c.labels]
        known = [m for m in others if m is not None]
        if own.median is not None and known:
            shifts.append(own.median - median(known))
    return median(shifts) if shifts else None


def _scaled(values: dict[str, Levels], factor: float) -> Iterator[Fault]:
    spans = {case: max(levels.high - levels.low, 1e-12) for case, levels in values.items()}
    usual = median(spans.values())
    for case, span in spans.items():
        if max(span / usual, usual / span) > factor:
            times = f"The values span {span / usual:.3g} times what is usual"
            cause = f"{times}: stored without rescale slope, or in another unit."
            yield Finding("wrong_rescale", round(span, 6), round(usual, 6), cause=cause).of(case)


def _shifted(survey: Survey, values: dict[str, Levels]) -> Iterator[Fault]:
    """Images whose lowest value lies a whole range above the 0 that the others begin at."""
    starts = {case: levels.lowest / max(levels.high - levels.low, 1e-12) for case, levels in values.items()}
    near = [case for case, start in starts.items() if abs(start) < _NEAR_ZERO]
    if len(near) < max(_ENOUGH, (1 - _RARE) * len(starts)):
        return
    usual = median(values[case].lowest for case in near)
    for case, start in starts.items():
        if start > 1:
            cause = "All values are shifted upwards: stored without rescale intercept, or with a wrong one."
            severity: Severity = "error" if survey.modality == "PT" else "warning"
            found = values[case].lowest
            yield Finding("wrong_rescale", found, usual, severity=severity, cause=cause).of(case)


def _stated(survey: Survey, values: dict[str, Levels], share: float) -> Iterator[Fault]:
    others = list(values.values())
    if survey.modality == "CT" and others and all(levels.lowest >= 0 for levels in others):
        expected = "Hounsfield units, with air near -1000"
        yield Finding("modality_disagrees", f"CT, {_usual_span(others)}", expected, file="dataset.json").of()
    if survey.modality in ("MR", "PT", "US") and share > 0.5:
        found = f"{survey.modality}, {_usual_span(others)}"
        yield Finding("modality_disagrees", found, "values that are no Hounsfield units", file="dataset.json").of()


def _span(levels: Levels) -> str:
    return f"values from {levels.low:.5g} to {levels.high:.5g}"


def _usual_span(levels: Sequence[Levels]) -> str:
    return f"values from {median(v.low for v in levels):.5g} to {median(v.high for v in levels):.5g}"
