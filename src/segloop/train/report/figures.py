"""The charts of a report, each from the record that it shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from segloop.train.checkpoint import Point
from segloop.train.findings import CalibrationCurve, LearningCurve, VolumePair
from segloop.train.report.charts import Chart, Series


def loss_chart(points: Sequence[Point]) -> str:
    """Training loss, and the loss on held-out patches where there is one."""
    held = [(float(p.step), p.held_loss) for p in points if p.held_loss is not None]
    series = [Series("training", [(float(p.step), p.loss) for p in points])]
    if held:
        series.append(Series("held-out patches", held))
    return Chart("Loss", "steps", "loss", series).svg()


def dice_chart(points: Sequence[Point], labels: Sequence[str]) -> str:
    """Dice of each label on held-out patches."""
    series = [Series(name, [(float(p.step), p.dice[name]) for p in points if name in p.dice]) for name in labels]
    return Chart("Dice on held-out patches", "steps", "Dice", [s for s in series if s.points]).svg()


def rate_chart(points: Sequence[Point]) -> str:
    """The learning rate."""
    rates = [(float(p.step), p.learning_rate) for p in points if p.learning_rate is not None]
    return Chart("Learning rate", "steps", "learning rate", [Series("learning rate", rates)], size=(720, 200)).svg()


@dataclass(frozen=True, slots=True)
class Agreement:
    """How measured volumes differ from the expert's, over cases.

    Attributes:
        cases: Compared.
        bias_ml: Mean of measured less expert.
        bias_interval: 95 % interval of the bias.
        limits_ml: Bias and 1.96 standard deviations to either side: where 95 % of single differences lie if they are
            normally distributed. None with fewer than two cases.

    Source: Bland & Altman, Lancet 327 (1986) 307-310.
    """

    cases: int
    bias_ml: float
    bias_interval: tuple[float, float] | None
    limits_ml: tuple[float, float] | None


def agreement(pairs: Sequence[VolumePair]) -> Agreement:
    """Bias and limits of agreement of at least one pair."""
    from scipy.stats import t

    differences = np.array([pair.measured_ml - pair.reference_ml for pair in pairs])
    bias, n = float(differences.mean()), len(differences)
    if n < 2:
        return Agreement(n, bias, None, None)
    sd = float(differences.std(ddof=1))
    half = float(t.ppf(0.975, n - 1)) * sd / sqrt(n)
    return Agreement(n, bias, (bias - half, bias + half), (bias - 1.96 * sd, bias + 1.96 * sd))


def bland_altman_chart(label: str, pairs: Sequence[VolumePair]) -> str:
    """Difference of the two volumes over their mean, with bias and limits of agreement."""
    points = [((p.measured_ml + p.reference_ml) / 2, p.measured_ml - p.reference_ml) for p in pairs]
    found = agreement(pairs)
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    pad = 0.05 * (right - left or right or 1.0)
    ends = (left - pad, right + pad)
    levels = [("bias", found.bias_ml)]
    if found.limits_ml:
        levels += [("lower limit of agreement", found.limits_ml[0]), ("upper limit of agreement", found.limits_ml[1])]
    lines = [Series(name, [(x, level) for x in ends], "guide") for name, level in levels]
    chart = Chart(
        f"Bland-Altman plot of {label}",
        "mean of both volumes, ml",
        "model less expert, ml",
        [*lines, Series(label, points, "dots")],
        x_range=ends,
    )
    return chart.svg()


def reliability_chart(curve: CalibrationCurve) -> str:
    """Share of right voxels over the probability they were given, before and after temperature scaling."""
    series = [
        Series("perfect", [(0.0, 0.0), (1.0, 1.0)], "guide"),
        Series("before", [(b.confidence, b.accuracy) for b in curve.bins]),
    ]
    if curve.bins_after:
        series.append(Series("after temperature", [(b.confidence, b.accuracy) for b in curve.bins_after]))
    chart = Chart(
        "Reliability of probabilities",
        "probability given by the model",
        "share that is right",
        series,
        size=(480, 380),
        y_range=(0.0, 1.0),
        x_range=(0.0, 1.0),
    )
    return chart.svg()


def learning_chart(curve: LearningCurve) -> str:
    """Dice over the number of training cases, with the fitted curve and its band."""
    series = []
    bounds = [(float(e.cases), *e.interval) for e in curve.band if e.interval]
    if bounds:
        edge = [(x, high) for x, _, high in bounds] + [(x, low) for x, low, _ in reversed(bounds)]
        series.append(Series("", edge, "band"))
    if curve.band:
        series.append(Series("fitted curve", [(float(e.cases), e.dice) for e in curve.band]))
    measured = [(float(p.cases), p.dice) for p in curve.points]
    series.append(Series("measured", measured, "dots", [p.interval for p in curve.points]))
    return Chart("Dice over the number of training cases", "training cases", "mean Dice", series).svg()
