"""The data check: one pass over every case, then comparisons between them."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from segloop.data.checks.copies import around, copies, test_images
from segloop.data.checks.entries import Entry
from segloop.data.checks.examining import examine
from segloop.data.checks.facts import CaseFacts
from segloop.data.checks.faults import Fault, Finding, ordered
from segloop.data.checks.images import image_faults
from segloop.data.checks.labels import label_faults
from segloop.data.checks.patients import apart, folds_of, patient_faults
from segloop.data.checks.planned import plan_faults
from segloop.data.checks.sides import side_faults
from segloop.data.checks.survey import Survey, survey
from segloop.plan import Plan

# Each worker holds one case; reading and unpacking are what they do side by side.
_MOST_WORKERS = 2


def check(
    folder: Path, plan: Plan | None = None, progress: Callable[[int, int], None] | None = None
) -> tuple[Fault, ...]:
    """Every fault of a dataset, before a training meets it; nothing is written.

    Each case is read once and forgotten but for its facts, so memory is that of two cases.

    Args:
        folder: The dataset.
        plan: A Plan that it is to be trained with.
        progress: Called with cases looked at and their total.

    Returns:
        Errors first; empty for a dataset without fault.

    Raises:
        InputError: `input.empty` or `dataset.invalid` when there is no dataset at all in the folder.
    """
    found = survey(folder)
    cases: list[CaseFacts] = []
    series = any(entry.slices for entry in found.entries)
    # A DICOM series is decoded by several threads of its own, and what silences pydicom is not made for two at a time.
    workers = 1 if series else min(_MOST_WORKERS, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        for facts in pool.map(lambda entry: _examined(entry, found), found.entries):
            cases.append(facts)
            if progress is not None:
                progress(len(cases), len(found.entries))
    folds = folds_of(found)
    stated = (found.ignore, plan.training.ignore_label if plan else None)
    ignored = frozenset(number for number in stated if number is not None)
    faults = [*found.faults, *(fault for case in cases for fault in case.faults)]
    of_images, of_sides = list(image_faults(found, cases)), list(side_faults(found.labels, cases))
    faults += [*of_images, *of_sides]
    explained = {fault.case for fault in [*of_images, *(f for f in of_sides if f.severity == "error")]}
    faults += copies(cases, apart(folds))
    faults += [*test_images(found), *around(found), *patient_faults(found, folds)]
    if plan is not None:
        faults += plan_faults(plan, found, cases)
    faults += label_faults(
        found,
        cases,
        explained=explained,
        ignored=ignored,
    )
    if series:
        # What stands in DICOM files is not rewritten: `mend` refuses.
        faults = [fault.model_copy(update={"mendable": False}) for fault in faults]
    return ordered(faults)


def _examined(entry: Entry, found: Survey) -> CaseFacts:
    try:
        return examine(entry, found)
    # Whatever one case holds, the check goes on to the others; what stopped it is the case's fault, and is said.
    except Exception as fault:
        reason = f"{type(fault).__name__}: {fault}"
        cause = "The case cannot be looked at; if its files open elsewhere, please report this."
        return CaseFacts(
            entry, (Finding("unreadable_file", reason, "a case that can be read", cause=cause).of(entry.id),)
        )
