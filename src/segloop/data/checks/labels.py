"""Label maps compared with the description and with each other: numbers, absence, scraps, masks that do not belong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from segloop.data.checks.facts import SPECK_VOXELS, CaseFacts
from segloop.data.checks.faults import Fault, Finding
from segloop.data.checks.foreign import foreign_masks
from segloop.data.checks.images import is_photograph
from segloop.data.checks.kinds import Severity
from segloop.data.checks.survey import Survey
from segloop.data.dataset import LOSSY
from segloop.data.terms import label_spec

_WHITE = 255
_RARE = 0.1
_FEW, _MANY = 5, 10

_ON_AIR, _OTHERS_ON_AIR = 0.5, 0.1


def label_faults(
    survey: Survey, cases: Sequence[CaseFacts], explained: Collection[str], ignored: frozenset[int]
) -> Iterator[Fault]:
    """What is wrong with label maps as compared with the description and with the others.

    Args:
        survey: The dataset.
        cases: All cases.
        explained: Ids of cases whose labels look strange because of another fault, in the image or its orientation.
        ignored: Numbers that count nowhere, as the dataset or a Plan says.
    """
    read = [_without(ignored, case) for case in cases if case.values is not None]
    names, unknown = _names(survey, read, ignored)
    for case, finding in unknown:
        yield finding.of(case)
    odd = {case for case, _ in unknown}
    sound = [case for case in read if case.id not in odd and not case.broken]
    comparable = [case for case in sound if case.id not in explained]
    yield from _empty(survey, sound)
    yield from _absent(names, sound)
    # Where 0 does not occur, numbers are shifted, and a label is what the others call background.
    full = [case for case in comparable if case.labels and 0 in (case.values or ())]
    belonging = full
    for strange in (_on_air, partial(foreign_masks, names)):
        faults = list(strange(belonging))
        yield from faults
        told = {fault.case for fault in faults}
        belonging = [case for case in belonging if case.id not in told]
    for value, name in names.items():
        yield from _specks(value, name, belonging)


def _without(ignored: frozenset[int], case: CaseFacts) -> CaseFacts:
    return replace(case, labels={value: facts for value, facts in case.labels.items() if value not in ignored})


def _names(
    survey: Survey, cases: Sequence[CaseFacts], ignored: frozenset[int]
) -> tuple[dict[int, str], list[tuple[str, Finding]]]:
    """Names of the labels, and the cases that hold other numbers; masks name them where nothing else does."""
    holders = Counter(value for case in cases for value in case.values or ())
    pictures = bool(cases) and all(is_photograph(case) for case in cases if case.entry.images)
    if survey.labels:
        white = pictures and set(survey.labels) == {1} and holders[_WHITE] > holders[1]
        known = {_WHITE} if white else set(survey.labels)
    elif any(map(_is_lossy, cases)):
        # Every grey that compression left would be a label.
        known = {_WHITE}
    else:
        rare = max(1, len(cases) // 20)
        known = {v for v, count in holders.items() if v and (count > rare or len(cases) < _FEW)}
    names = {value: survey.labels.get(value, f"label {value}") for value in sorted(known)}
    severity: Severity | None = None if survey.labels or len(known) == 1 else "warning"
    findings = []
    for case in cases:
        strange = sorted(set(case.values or ()) - {0} - known - ignored)
        if strange and case.entry.label:
            lossy = _is_lossy(case)
            cause = "JPEG changes values, so it cannot hold a label map." if lossy else ""
            file, expected = survey.relative(case.entry.label), [0, *sorted(known)]
            mend = "Export the masks again as PNG or TIFF." if lossy else ""
            finding = Finding(
                "unknown_label", strange[:10], expected, severity=severity, cause=cause, mend=mend, file=file
            )
            findings.append((case.id, finding))
    return names, findings


def _is_lossy(case: CaseFacts) -> bool:
    return case.entry.label is not None and case.entry.label.suffix.lower() in LOSSY


def _empty(survey: Survey, cases: Sequence[CaseFacts]) -> Iterator[Fault]:
    """Label maps without foreground: faults among organs, possibly meant among lesions, or where they are many."""
    empty = [case for case in cases if not case.labels]
    lesions = any(label_spec(value, name).components for value, name in survey.labels.items())
    rare = len(empty) <= max(1, _RARE * len(cases))
    for case in empty:
        file = survey.relative(case.entry.label) if case.entry.label else ""
        severity: Severity = "warning" if lesions or not rare else "error"
        yield Finding("empty_label", "no voxel", "at least one voxel", severity=severity, file=file).of(case.id)


def _absent(names: Mapping[int, str], cases: Sequence[CaseFacts]) -> Iterator[Fault]:
    for value, name in names.items():
        with_it = [case for case in cases if value in case.labels]
        without = [case for case in cases if case.labels and value not in case.labels]
        if cases and not with_it:
            yield Finding("unused_label", f"{name} ({value}) in no case", "at least one case").of()
        # Lesions are truly absent in some.
        elif label_spec(value, name).components:
            continue
        elif len(with_it) >= _MANY and len(without) <= _RARE * len(with_it):
            for case in without:
                found = f"no {name} ({value}), which {len(with_it)} cases have"
                yield Finding("absent_label", found, f"{name} ({value})").of(case.id)


def _specks(value: int, name: str, cases: Sequence[CaseFacts]) -> Iterator[Fault]:
    holders = [case for case in cases if value in case.labels]
    speckled = [case for case in holders if case.labels[value].specks]
    if len(holders) >= _FEW and len(speckled) <= 2 * _RARE * len(holders):
        for case in speckled:
            found = f"{case.labels[value].specks} parts of {name} with at most {SPECK_VOXELS} voxels"
            yield Finding("specks", found, "none, as in most cases").of(case.id)


def _on_air(cases: Sequence[CaseFacts]) -> Iterator[Fault]:
    shares = {}
    for case in cases:
        seen = [(label.air, label.voxels) for label in case.labels.values()]
        if all(air is not None for air, _ in seen):
            shares[case.id] = float(np.average([air or 0.0 for air, _ in seen], weights=[n for _, n in seen]))
    for case_id, share in shares.items():
        others = [other for case, other in shares.items() if case != case_id]
        if len(others) >= _FEW - 1 and share > _ON_AIR and np.quantile(others, 0.9) < _OTHERS_ON_AIR:
            found, expected = f"{share:.0%} of the label on background", f"{np.median(others):.0%}"
            yield Finding("label_on_air", found, expected).of(case_id)
