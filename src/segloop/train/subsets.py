"""Nested parts of a fold's training cases, for a learning curve."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from segloop.data.dataset import Dataset

FRACTIONS = (0.125, 0.25, 0.5, 1.0)

_FEWEST_CASES = 4


def nested_subsets(dataset: Dataset, training: Sequence[str], seed: int = 0) -> tuple[tuple[str, ...], ...]:
    """Ever larger parts of the training cases, each holding the one before; the last one is all of them.

    Patients are drawn, so a patient's cases join together. Parts of fewer than four cases are left out.
    """
    of = {case_id: dataset.case(case_id).patient for case_id in training}
    patients = sorted(set(of.values()))
    np.random.default_rng(seed).shuffle(patients)
    parts: list[tuple[str, ...]] = []
    for fraction in FRACTIONS:
        chosen = set(patients[: max(1, round(fraction * len(patients)))])
        part = tuple(sorted(case_id for case_id, patient in of.items() if patient in chosen))
        if len(part) >= min(_FEWEST_CASES, len(training)) and part not in parts:
            parts.append(part)
    return tuple(parts)
