"""A volume at two dates: by how much it changed, whether that is more than the measurement's own noise, how fast."""

from __future__ import annotations

from enum import StrEnum
from math import exp, hypot, inf, log

from pydantic import Field

from segloop.plan import Frozen

NOISE = 0.25
"""Growth by less than this share is not called growth where no interval of the measurement is known.

Source: Callister et al., BTS guidelines for pulmonary nodules, Thorax 70 Suppl 2 (2015): a change of volume below 25 %
lies within what the measurement itself varies by. Other organs are measured no better.
"""


class Verdict(StrEnum):
    """What a change of volume may be called."""

    GROWN = "grown"
    SHRUNK = "shrunk"
    WITHIN_NOISE = "within_noise"


class VolumeChange(Frozen):
    """A volume at two dates.

    Attributes:
        before_ml: At the earlier date.
        after_ml: At the later one.
        days: Between them.
        ratio: Later over earlier.
        ratio_bounds: Lowest and highest plausible ratio; None where it has no upper one.
        assumed: Whether these come from `NOISE`, because the model states no interval of the volumes.
        verdict: Grown or shrunk only where both bounds say so.
        doubling_days: Days in which the volume doubles at this pace; negative where it halves; None where it did not
            change.
    """

    before_ml: float = Field(gt=0)
    after_ml: float = Field(gt=0)
    days: int = Field(gt=0)
    ratio: float
    ratio_bounds: tuple[float, float | None]
    assumed: bool
    verdict: Verdict
    doubling_days: float | None


def volume_change(
    before_ml: float,
    after_ml: float,
    days: int,
    before_interval: tuple[float, float] | None = None,
    after_interval: tuple[float, float] | None = None,
) -> VolumeChange | None:
    """How a volume changed, and whether that is more than the two measurements' own errors.

    With both intervals the bounds of the ratio are theirs, squared and added in the logarithm, as for independent
    errors; errors that one model repeats at both dates would only make the true bounds narrower. Without, the ratio is
    taken to be known to the factor 1 + `NOISE`.

    Args:
        before_ml: At the earlier date.
        after_ml: At the later one.
        days: Between them, at least 1.
        before_interval: Lowest and highest plausible earlier volume.
        after_interval: Lowest and highest plausible later volume.

    Returns:
        None where one of the volumes is 0: a ratio to nothing says nothing.

    Source: Zou & Donner, Construction of confidence limits about effect measures: a general approach, Stat Med 27:1693
    (2008).

    >>> volume_change(1.0, 1.2, 90).verdict
    <Verdict.WITHIN_NOISE: 'within_noise'>
    >>> volume_change(1.0, 2.0, 90).doubling_days
    90.0
    """
    if before_ml <= 0 or after_ml <= 0:
        return None
    ratio = after_ml / before_ml
    if before_interval is None or after_interval is None:
        low, high = ratio / (1 + NOISE), ratio * (1 + NOISE)
    else:
        down_before, up_before = _margins(before_ml, before_interval)
        down_after, up_after = _margins(after_ml, after_interval)
        low = ratio * exp(-hypot(down_after, up_before))
        high = inf if inf in (up_after, down_before) else ratio * exp(hypot(up_after, down_before))
    fallen = Verdict.SHRUNK if high < 1 else Verdict.WITHIN_NOISE
    return VolumeChange(
        before_ml=before_ml,
        after_ml=after_ml,
        days=days,
        ratio=ratio,
        ratio_bounds=(low, None if high == inf else high),
        assumed=before_interval is None or after_interval is None,
        verdict=Verdict.GROWN if low > 1 else fallen,
        doubling_days=doubling_days(before_ml, after_ml, days),
    )


def doubling_days(before_ml: float, after_ml: float, days: int) -> float | None:
    """Days in which a volume doubles when it grows by the same factor every day; negative where it halves.

    Returns:
        None where the volumes are equal.

    Source: Schwartz, A biomathematical approach to clinical tumor growth, Cancer 14:1272 (1961).
    """
    growth = log(after_ml / before_ml)
    return days * log(2) / growth if growth else None


def _margins(volume_ml: float, interval: tuple[float, float]) -> tuple[float, float]:
    """How far the bounds lie below and above the measured volume, as logarithms of a ratio."""
    low, high = interval
    return (log(volume_ml / low) if low > 0 else inf), log(high / volume_ml)
