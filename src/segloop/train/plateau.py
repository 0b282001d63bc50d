"""The plateau schedule: the learning rate stays at its peak while something is gained, and is halved when not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import ceil, inf

from segloop.train.checkpoint import Point

_PATIENCE = 10
_LEAST_GAIN = 0.002
_MOST_HALVINGS = 4
_LAST_PART = 0.2
_VALIDATION_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Plateau:
    """What the points so far say. It follows from them alone, so a resumed run comes to the same.

    Args:
        best: Highest score yet.
        waited: Points since then, or since the last halving.
        halvings: How often the learning rate was halved.
    """

    best: float = -inf
    waited: int = 0
    halvings: int = 0

    @classmethod
    def of(cls, points: Iterable[Point], held: bool) -> Plateau:
        """From a run's history.

        Args:
            points: In their order.
            held: Whether cases are held out: then their Dice counts, else the training loss.
        """
        plateau = cls()
        for point in points:
            plateau = plateau.after(point, held)
        return plateau

    def after(self, point: Point, held: bool) -> Plateau:
        """With one more point; under `held`, one without a validation changes nothing."""
        if held and not point.dice:
            return self
        score = sum(point.dice.values()) / len(point.dice) if held else -point.loss
        if score > self.best + _LEAST_GAIN:
            return replace(self, best=score, waited=0)
        if self.waited + 1 < _PATIENCE or self.halvings == _MOST_HALVINGS:
            return replace(self, waited=self.waited + 1)
        return replace(self, waited=0, halvings=self.halvings + 1)

    def learning_rate(self, progress: float, peak: float, warmup: float) -> float:
        """Linear warm-up to `peak`, halved at each plateau; over the last fifth of the training it decays to 0.

        >>> [Plateau(halvings=1).learning_rate(p, 1.0, 0.1) for p in (0.05, 0.5, 0.9, 1.0)]
        [0.25, 0.5, 0.25, 0.0]
        """
        rise = progress / warmup if progress < warmup else 1.0
        fall = max(0.0, min(1.0, (1 - progress) / _LAST_PART))
        return float(peak * 0.5**self.halvings * min(rise, fall))


def validation_interval(held: int, batch: int, steps_per_epoch: int) -> int:
    """Epochs from one validation to the next, so that they take about 5 % of the time, whatever the machine's speed.

    What decides about the learning rate must happen at the same steps in each run with one seed.

    Args:
        held: Held-out patches; one costs about a third of a training patch.
        batch: Patches of a step.
        steps_per_epoch: Steps.
    """
    return max(1, ceil(held / (3 * batch * steps_per_epoch * _VALIDATION_SHARE)))
