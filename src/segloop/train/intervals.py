"""Out-of-fold errors of volumes to the intervals that a bundle carries.

Source: split conformal prediction, Lei et al., JASA 113 (2018); see `measure.intervals`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log

import numpy as np
from jaxtyping import Bool, Float, Integer

from segloop.measure.intervals import VolumeInterval
from segloop.plan import LabelSpec
from segloop.train.scores import CaseScore

LEVEL = 0.95
LOWEST_COVERAGE = 0.90

_FEWEST = 5
# From here on order statistics reach the level on both sides, or on the two sides together.
_FEWEST_TWO_SIDED, _FEWEST_SYMMETRIC = 39, 19
_FEWEST_FOR_SIZE = 30
_SIZE_P = 0.01
_WIDENINGS = (1.0, 1.1, 1.25, 1.5, 2.0, 3.0)


@dataclass(frozen=True, slots=True, eq=False)
class _Pairs:
    """Volumes of one label, of cases where the model found some."""

    measured_ml: Float[np.ndarray, " n"]
    expert_ml: Float[np.ndarray, " n"]
    fold: Integer[np.ndarray, " n"]

    def __getitem__(self, chosen: Bool[np.ndarray, " n"]) -> _Pairs:
        return _Pairs(self.measured_ml[chosen], self.expert_ml[chosen], self.fold[chosen])

    def __len__(self) -> int:
        return len(self.measured_ml)


def volume_intervals(folds: Sequence[Sequence[CaseScore]], specs: Sequence[LabelSpec]) -> tuple[VolumeInterval, ...]:
    """The interval of each label's volume, and how often it held on cases it is not made from.

    Coverage is nested: each fold is covered with the errors of the other folds alone. Where it stays below 0.90 the
    interval is widened until it does not, and says so. A label found in fewer than five cases gets none.

    Args:
        folds: Out-of-fold scores, fold by fold.
        specs: The labels.
    """
    found = []
    for spec in specs:
        pairs = _pairs(folds, str(spec.value))
        if len(pairs) < _FEWEST or not (pairs.expert_ml > 0).sum() * 2 > len(pairs):
            continue
        coverage, factor = None, 1.0
        if len(set(pairs.fold.tolist())) > 1:
            coverage, factor = _nested(pairs, spec.value)
        found.append(_fit(pairs, spec.value, factor).model_copy(update={"coverage": coverage}))
    return tuple(found)


def covered(rule: VolumeInterval, measured_ml: float, expert_ml: float) -> bool | None:
    """Whether the expert's volume lies in the interval of the measured one; None where there is no interval."""
    bounds = rule.bounds(measured_ml)
    return None if bounds is None else bounds[0] <= expert_ml <= bounds[1]


def _pairs(folds: Sequence[Sequence[CaseScore]], label: str) -> _Pairs:
    rows = [
        (score.labels[label].volume_ml, score.labels[label].reference_volume_ml, number)
        for number, cases in enumerate(folds)
        for score in cases
        if score.labels[label].volume_ml > 0
    ]
    measured, expert, fold = np.array(rows, float).reshape(-1, 3).T
    return _Pairs(measured, expert, fold.astype(int))


def _nested(pairs: _Pairs, label: int) -> tuple[float | None, float]:
    """Share of cases covered by the other folds' intervals, and the least widening that makes it enough."""
    share: float | None = None
    for factor in _WIDENINGS:
        held: list[bool] = []
        for fold in sorted(set(pairs.fold.tolist())):
            others, own = pairs[pairs.fold != fold], pairs[pairs.fold == fold]
            if len(others) < _FEWEST or not (others.expert_ml > 0).any():
                continue
            rule = _fit(others, label, factor)
            answers = (covered(rule, m, e) for m, e in zip(own.measured_ml, own.expert_ml, strict=True))
            held += [answer for answer in answers if answer is not None]
        share = float(np.mean(held)) if held else None
        if share is None or share >= LOWEST_COVERAGE:
            return share, factor
    return share, _WIDENINGS[-1]


def _fit(pairs: _Pairs, label: int, factor: float) -> VolumeInterval:
    measured = pairs.measured_ml
    with np.errstate(divide="ignore"):
        ratio = np.log(pairs.expert_ml / measured)  # -inf where the expert drew nothing
    finite = np.isfinite(ratio)
    centre = float(np.median(ratio[finite]))
    pivot = float(np.exp(np.median(np.log(measured))))
    exponent = _size_dependence(measured[finite], np.abs(ratio[finite] - centre))
    z = (ratio - centre) / (measured / pivot) ** -exponent
    lower, upper, method = _quantiles(z)
    return VolumeInterval(
        label=label,
        level=LEVEL,
        centre=centre,
        lower=None if np.isinf(lower) else min(0.0, lower) * factor,
        upper=max(0.0, upper) * factor,
        exponent=exponent,
        pivot_ml=pivot,
        seen_ml=(float(measured.min()), float(measured.max())),
        cases=len(pairs),
        method="conformal" if method else "student",
        widened=factor,
    )


def _size_dependence(measured_ml: Float[np.ndarray, " n"], error: Float[np.ndarray, " n"]) -> float:
    """How fast errors shrink with size, between 0 and 1; 0 unless rank correlation shows it at the 1 % level."""
    from scipy.stats import linregress, spearmanr

    if len(error) < _FEWEST_FOR_SIZE or np.ptp(measured_ml) == 0 or np.ptp(error) == 0:
        return 0.0
    test = spearmanr(measured_ml, error)
    if test.statistic >= 0 or test.pvalue >= _SIZE_P:
        return 0.0
    floor_of_error = max(float(np.quantile(error, 0.05)), 1e-4)
    slope = linregress(np.log(measured_ml), np.log(np.maximum(error, floor_of_error))).slope
    return round(float(np.clip(-slope, 0.0, 1.0)), 3)


def _quantiles(z: Float[np.ndarray, " n"]) -> tuple[float, float, bool]:
    """Lower and upper bound, and whether they are order statistics (True) or Student's (False)."""
    n, tail = len(z), (1 - LEVEL) / 2
    ordered = np.sort(z)
    if n >= _FEWEST_TWO_SIDED:
        return float(ordered[floor((n + 1) * tail) - 1]), float(ordered[ceil((n + 1) * (1 - tail)) - 1]), True
    finite = z[np.isfinite(z)]
    if n >= _FEWEST_SYMMETRIC:
        width = float(np.sort(np.abs(z))[ceil((n + 1) * LEVEL) - 1])
        return (-width, width, True) if np.isfinite(width) else (-np.inf, float(np.abs(finite).max()), True)
    from scipy.stats import t

    count = len(finite)
    spread = float(finite.std(ddof=1)) if count > 1 else log(2)
    width = float(t.ppf(1 - tail, max(1, count - 1))) * spread * (1 + 1 / count) ** 0.5
    return (-width if count == n else -np.inf), width, False
