"""Who is whom: cases of one patient that a split would tear apart, and splits that do."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from segloop.data.checks.faults import Fault, Finding
from segloop.data.checks.survey import Survey
from segloop.data.dataset import split
from segloop.errors import InputError

FOLDS = 5
"""Parts that nnU-Net's split and ours cut by default."""

_SPLITS = "splits_final.json"
# What tells the images of one patient apart: eyes and sides, times, repeats. A name that goes on after a digit and one
# such mark is a patient's; whoever numbers cases has no mark.
_MARKS = re.compile(
    r"(?P<who>.*\d)(?:[-_. ]?(?:[a-h]|l|r|os|od)|[-_. ](?:left|right|pre|post|baseline|bl|follow-?up|fu)\d*"
    r"|[-_. ](?:t|v|tp|visit|day|week|scan|ses|session|run|rep|copy)[-_]?\d{1,4}|[-_. ](?:19|20)\d{6}"
    r"|[-_. ]?copy|\(\d\))",
    re.IGNORECASE,
)
_NUMBERED = re.compile(r"(?P<who>.*\d.*)[-_. ]\d{1,2}")
_MOST_OF_ONE = 8


def folds_of(survey: Survey) -> dict[str, int]:
    """Fold of each complete case in the split that training makes; empty when there are too few patients for one."""
    patients = {entry.id: entry.patient for entry in survey.entries if entry.images and entry.label}
    try:
        parts = split(list(patients), FOLDS, patients=patients)
    except InputError:
        return {}
    return {case: number for number, (_, held) in enumerate(parts) for case in held}


def apart(folds: Mapping[str, int]) -> Callable[[str, str], bool]:
    """Whether two cases are torn apart; where there is no split, any could be."""
    return lambda first, second: not folds or folds.get(first) != folds.get(second)


def patient_faults(survey: Survey, folds: Mapping[str, int]) -> Iterator[Fault]:
    """Patients in two folds, faults of a split that lies in the folder, and too few patients for a split.

    Where the dataset states its patients, names are not interpreted.
    """
    patients = {entry.patient for entry in survey.entries if entry.images and entry.label}
    if patients and len(patients) < FOLDS:
        yield Finding("few_cases", len(patients), f"at least {FOLDS} patients").of()
    for certain, groups in suspects(survey):
        for who, cases in groups.items():
            if len({folds.get(case, case) for case in cases}) > 1:
                first, *others = cases
                where = {case: folds[case] for case in cases if case in folds}
                yield Finding(
                    "patient_in_two_folds",
                    f"{who} in folds {sorted(set(where.values()))}" if where else f"{who} in {len(cases)} cases",
                    "one fold",
                    severity="error" if certain else "warning",
                    mendable=certain,
                    others=tuple(others),
                ).of(first)
    yield from _split_faults(survey)


def suspects(survey: Survey) -> tuple[tuple[bool, dict[str, list[str]]], ...]:
    """Cases that are of one patient though the dataset does not say so: certainty, and patient to cases."""
    entries = [entry for entry in survey.entries if entry.images and entry.label]
    if any(entry.patient != entry.id for entry in entries):
        return ()
    ids = [entry.id for entry in entries]
    listed = _listed(survey)
    if listed:
        return ((True, _grouped({case: listed.get(case, "") for case in ids})),)
    sure = named_alike(ids)
    numbered = _grouped({case: match["who"] if (match := _NUMBERED.fullmatch(case)) else "" for case in ids})
    small = {who: cases for who, cases in numbered.items() if len(cases) <= _MOST_OF_ONE}
    # One large number behind one name is how cases are numbered, not how patients are.
    unsure = small if len(small) == len(numbered) and len(small) > 1 else {}
    told = {case for cases in sure.values() for case in cases}
    unsure = {who: cases for who, cases in unsure.items() if not told.issuperset(cases)}
    return ((True, sure), (False, unsure))


def named_alike(ids: Iterable[str]) -> dict[str, list[str]]:
    """Cases whose names certainly tell one patient, such as `sub-03_ses-1` and `sub-03_ses-2`: patient to cases."""
    marked = _grouped({case: match["who"] if (match := _MARKS.fullmatch(case)) else "" for case in ids})
    return {who: cases for who, cases in marked.items() if len(cases) <= _MOST_OF_ONE}


def _grouped(who: Mapping[str, str]) -> dict[str, list[str]]:
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for case, patient in sorted(who.items()):
        if patient:
            groups[patient].append(case)
    return {patient: cases for patient, cases in groups.items() if len(cases) > 1}


def _listed(survey: Survey) -> dict[str, str]:
    """Case to patient in `patients.csv` or in `patients` of `dataset.json`, which other tools write."""
    stated = survey.document.get("patients")
    if isinstance(stated, dict):
        return {str(case): str(patient) for case, patient in stated.items()}
    path = survey.root / "patients.csv"
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, ValueError):
        return {}
    rows = [[part.strip() for part in re.split(r"[,;\t]", line)] for line in lines]
    return {row[0]: row[1] for row in rows if len(row) > 1}


def _split_faults(survey: Survey) -> Iterator[Fault]:
    path = survey.root / _SPLITS
    if not path.is_file():
        return
    try:
        parts: Any = json.loads(path.read_text("utf-8"))
        folds = [(list(map(str, part["train"])), list(map(str, part["val"]))) for part in parts]
    except (OSError, ValueError, TypeError, KeyError) as fault:
        expected = 'a list of {"train": [...], "val": [...]}'
        yield Finding("split_file", f"{type(fault).__name__}: {fault}", expected, file=_SPLITS).of()
        return
    patients = {entry.id: entry.patient for entry in survey.entries}
    for _, groups in suspects(survey)[:1]:
        patients |= {case: who for who, cases in groups.items() for case in cases}
    for number, (training, held) in enumerate(folds):
        if unknown := sorted({*training, *held} - set(patients)):
            finding = Finding("split_file", unknown[:10], "cases of the dataset", file=_SPLITS)
            yield finding.of()
        trained = {patients.get(case, case) for case in training}
        for case in sorted(held):
            if patients.get(case, case) in trained:
                found = f"fold {number} trains on {patients.get(case, case)} and validates on it"
                yield Finding("split_file", found, "one side", file=_SPLITS).of(case)
