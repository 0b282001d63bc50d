"""How much would more cases bring? A curve through the Dice of models trained on nested subsets.

Source: power laws of learning curves as in Hestness et al., arXiv 1712.00409, and Viering & Loog, IEEE TPAMI 45 (2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from segloop.train.findings import ExpectedDice, Interval, LearningCurve, LearningPoint

FEWEST_POINTS = 3

_EXPONENTS = np.geomspace(0.05, 3.0, 160)
# Three points fit many exponents: without them saying otherwise it is near this one, to so many Dice per e-fold.
_USUAL_EXPONENT, _PULL = 0.5, 0.0005
_DRAWS = 400
_BAND = 16
# Widths of a 95 % interval in standard errors.
_WIDTH = 2 * 1.959964

_NOTE = (
    "The interval holds how uncertain each point is. Another training on the same cases would end elsewhere as well; "
    "that is not in it."
)


@dataclass(frozen=True, slots=True)
class _Law:
    """dice = a - b * cases ** -c."""

    a: float
    b: float
    c: float

    def at(self, cases: float) -> float:
        """Dice expected of a model trained on so many cases."""
        return self.a - self.b * float(cases**-self.c)


def learning_curve(points: Sequence[LearningPoint], more: int = 10) -> LearningCurve:
    """The curve a - b * cases ** -c through the points, and what `more` further cases would bring.

    Its interval comes from the points' own (each is drawn anew within it, and the curve fitted again); where a point
    has none, from the scatter of the points about the curve, and with three such points there is no interval.

    Args:
        points: One for each subset.
        more: Further cases asked about.

    Raises:
        ValueError: There is no point.
    """
    if not points:
        raise ValueError("a learning curve needs at least one point. Received: none")
    ordered = tuple(sorted(points, key=lambda point: point.cases))
    if len({point.cases for point in ordered}) < FEWEST_POINTS:
        note = f"A curve needs at least {FEWEST_POINTS} subsets; there are {len(ordered)}."
        return LearningCurve(points=ordered, more=more, note=note)
    cases = np.array([point.cases for point in ordered], float)
    dice = np.array([point.dice for point in ordered])
    (law,), largest = _fit(cases, dice[None]), int(cases[-1])
    errors = _standard_errors(ordered, dice - np.array([law.at(n) for n in cases]))
    laws: list[_Law] = []
    if errors is not None:
        noise = np.random.default_rng(0).normal(size=(_DRAWS, len(dice))) * errors
        laws = _fit(cases, dice + noise)
    asked = np.unique(np.round(np.geomspace(cases[0], largest + 2 * more, _BAND)).astype(int)).tolist()
    return LearningCurve(
        points=ordered,
        a=law.a,
        b=law.b,
        c=law.c,
        band=tuple(
            ExpectedDice(cases=n, dice=law.at(n), interval=_middle([one.at(n) for one in laws], law.at(n)))
            for n in asked
        ),
        more=more,
        gain=_gain(law, largest, more),
        gain_interval=_middle([_gain(one, largest, more) for one in laws], _gain(law, largest, more)),
        note=_NOTE if laws else "Three points without intervals leave nothing to tell how uncertain the curve is.",
    )


def _gain(law: _Law, cases: int, more: int) -> float:
    return law.at(cases + more) - law.at(cases)


def _standard_errors(
    points: Sequence[LearningPoint], misfit: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"] | None:
    """Of each point: from its interval, else from the scatter about the curve, which takes three numbers to draw."""
    free = len(points) - FEWEST_POINTS
    scatter = float(np.sqrt(np.square(misfit).sum() / free)) if free > 0 else None
    found = [scatter if p.interval is None else (p.interval[1] - p.interval[0]) / _WIDTH for p in points]
    return None if None in found else np.array(found, float)


def _fit(cases: Float[np.ndarray, " n"], dice: Float[np.ndarray, "draws n"]) -> list[_Law]:
    """Of each draw: least squares over a and b at each exponent, with b not negative and a at most 1."""
    basis = cases ** -_EXPONENTS[:, None]
    spread = basis - basis.mean(axis=1, keepdims=True)
    mean = dice.mean(axis=1)
    b = np.maximum(0.0, -(spread @ (dice - mean[:, None]).T) / np.square(spread).sum(axis=1, keepdims=True))
    a = mean + b * basis.mean(axis=1, keepdims=True)
    below_one = np.maximum(0.0, (basis @ (1 - dice).T) / np.square(basis).sum(axis=1, keepdims=True))
    a, b = np.minimum(a, 1.0), np.where(a > 1, below_one, b)
    misfit = np.square(dice.T - a[:, None] + b[:, None] * basis[..., None]).sum(axis=1)
    misfit += np.square(_PULL * np.log(_EXPONENTS / _USUAL_EXPONENT))[:, None]
    best = misfit.argmin(axis=0)
    return [_Law(float(a[e, i]), float(b[e, i]), float(_EXPONENTS[e])) for i, e in enumerate(best)]


def _middle(values: Sequence[float], centre: float) -> Interval | None:
    """The middle 95 % of the values, widened to hold the curve's own; None without values."""
    if not values:
        return None
    low, high = np.quantile(values, [0.025, 0.975])
    return min(float(low), centre), max(float(high), centre)
