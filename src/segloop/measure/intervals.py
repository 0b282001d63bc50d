"""From a measured volume to the interval that the true one is expected in, as out-of-fold errors say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import exp
from typing import Literal

from pydantic import Field

from segloop.measure.quantities import Measurement, Quantity
from segloop.plan import Frozen

# Beyond this factor of the sizes that errors were seen at, nothing is known of them.
_REACH = 1.5


class VolumeInterval(Frozen):
    """How far the expert's volume of one label lies from the measured one.

    log(expert / measured) lies between `centre + spread * lower` and `centre + spread * upper` with probability
    `level`, where `spread` is (measured / pivot_ml) ** -exponent: 1 for every size unless the data show that small
    structures are measured worse.

    Attributes:
        label: Number in the label map.
        level: Probability that is aimed at.
        centre: Median of the log-ratio: what the model measures too little.
        lower: Of the log-ratio; None when experts left out too many of the structures that the model finds: the
            interval then begins at 0.
        upper: Of the log-ratio.
        exponent: How fast the spread shrinks with size; 0 when it does not depend on it.
        pivot_ml: Size at which the spread is 1.
        seen_ml: Smallest and largest measured volume that errors are known for.
        cases: Held-out cases behind it.
        method: `conformal` (order statistics of the errors) or `student` (too few cases for that: a normal law is
            assumed).
        coverage: Share of held-out cases inside intervals made from the other folds; None when there was one fold.
        widened: What the half-widths were multiplied by because that share was too low.

    Source: Lei et al., Distribution-Free Predictive Inference for Regression, JASA 113 (2018), section 2.2; the spread
    as in their locally-weighted intervals, section 5.2.
    """

    label: int = Field(ge=1)
    level: float = Field(default=0.95, gt=0, lt=1)
    centre: float
    lower: float | None = Field(le=0)
    upper: float = Field(ge=0)
    exponent: float = Field(default=0.0, ge=0)
    pivot_ml: float = Field(default=1.0, gt=0)
    seen_ml: tuple[float, float]
    cases: int = Field(ge=1)
    method: Literal["conformal", "student"] = "conformal"
    coverage: float | None = Field(default=None, ge=0, le=1)
    widened: float = Field(default=1.0, ge=1)

    def bounds(self, volume_ml: float) -> tuple[float, float] | None:
        """Lowest and highest plausible volume in ml; it contains the measured one.

        None for a volume more than 1.5 times smaller or larger than any that errors were seen at, and for 0.

        >>> rule = VolumeInterval(label=1, centre=0.0, lower=-0.1, upper=0.2, seen_ml=(1.0, 9.0), cases=50)
        >>> tuple(round(v, 2) for v in rule.bounds(2.0)), rule.bounds(100.0)
        ((1.81, 2.44), None)
        """
        low, high = self.seen_ml
        if volume_ml <= 0 or not low / _REACH <= volume_ml <= high * _REACH:
            return None
        spread = (min(max(volume_ml, low), high) / self.pivot_ml) ** -self.exponent
        lowest = 0.0 if self.lower is None else volume_ml * exp(self.centre + spread * self.lower)
        highest = volume_ml * exp(self.centre + spread * self.upper)
        return min(lowest, volume_ml), max(highest, volume_ml)


def with_intervals(measurements: Iterable[Measurement], intervals: Sequence[VolumeInterval]) -> tuple[Measurement, ...]:
    """The same measurements; the volume of a whole label has its interval where one is known."""
    rules = {rule.label: rule for rule in intervals}
    return tuple(
        m.model_copy(update={"interval": rules[m.label].bounds(m.value)})
        if m.quantity == Quantity.VOLUME and m.component == 0 and m.label in rules
        else m
        for m in measurements
    )
