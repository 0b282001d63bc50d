"""How many steps a time budget affords, and the learning rate of each: pure arithmetic.

Training runs on a progress from 0 to 1. Without a budget it is the share of the steps done. With one it is at first
the share of the time gone; once some steps have been timed it becomes a fixed number of steps, which is only refitted
when the machine turns out faster or slower. Progress never jumps, so neither does the learning rate.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf

CALIBRATION_S = 60.0
"""Longest time steps are timed for before a budget becomes a step count."""

_CALIBRATION_SHARE = 0.1
_FEWEST_TIMED = 4
_TOLERATED_DRIFT = 0.01
_EXPORT_S = 10.0
_EXPORT_SHARE = 0.015
_LARGEST_SHARE = 0.4
_SELFTEST_IMAGES = 20


@dataclass(frozen=True, slots=True)
class Schedule:
    """Steps to progress: a straight line from (step, progress) to (total, 1).

    Args:
        total: Steps when training ends; 0 until it is known.
        step: Where the line begins.
        progress: Its value there.
    """

    total: int
    step: int = 0
    progress: float = 0.0

    def at(self, step: int) -> float:
        """Progress after `step` steps, 0 to 1."""
        if step >= self.total:
            return 1.0
        return self.progress + (1 - self.progress) * max(0, step - self.step) / (self.total - self.step)

    def refitted(self, step: int, total: int) -> Schedule:
        """The schedule that goes on from here and ends at `total`, at least one step away."""
        return Schedule(max(total, step + 1), step, self.at(step))

    def ended(self, step: int) -> Schedule:
        """The schedule of a run whose time is up: `step` was the last one."""
        return Schedule(step, self.step, self.progress)


@dataclass(frozen=True, slots=True)
class Clock:
    """Time a run has, in seconds since its command began.

    Args:
        budget_s: All of it; infinite without a budget.
        reserve_s: Kept back for what follows training: last validation, export, report.
        finishing_steps: How many steps' time the network's part of that takes.
        finishing_s: The same in seconds, once a step has been timed.
    """

    budget_s: float = inf
    reserve_s: float = 0.0
    finishing_steps: float = 0.0
    finishing_s: float = 0.0

    @property
    def training_s(self) -> float:
        """When training must end."""
        return max(0.0, self.budget_s - self.reserve_s - self.finishing_s)

    def traced(self, seconds: float) -> Clock:
        """The clock of a machine that took so long to trace the training step."""
        return self if self.budget_s == inf else replace(self, reserve_s=reserve_s(self.budget_s, seconds))

    def at_pace(self, step_s: float) -> Clock:
        """The clock of a run whose steps take `step_s`: what follows training passes the same network."""
        return replace(self, finishing_s=self.finishing_steps * step_s)

    def room(self, step_s: float, elapsed_s: float) -> bool:
        """True when one more step ends in time, if it takes `step_s`."""
        return elapsed_s + step_s <= self.training_s

    def calibrated(self, timed: int, timed_s: float, elapsed_s: float) -> bool:
        """True when enough steps were timed: for a tenth of the budget, at most a minute, or when time runs out."""
        enough = min(CALIBRATION_S, _CALIBRATION_SHARE * self.budget_s)
        return (timed >= _FEWEST_TIMED and timed_s >= enough) or elapsed_s >= self.training_s

    def affordable(self, step: int, step_s: float, elapsed_s: float) -> int:
        """Steps in all when the ones to come take `step_s` each; at least `step`."""
        return step + int(max(0.0, self.training_s - elapsed_s) / step_s)

    def must_refit(self, schedule: Schedule, step: int, step_s: float, elapsed_s: float) -> bool:
        """True when, at this pace, training would end more than 1 % of the budget too late or 2 % too early."""
        late = elapsed_s + (schedule.total - step) * step_s - self.training_s
        return late > _TOLERATED_DRIFT * self.budget_s or late < -2 * _TOLERATED_DRIFT * self.budget_s


def reserve_s(budget_s: float, tracing_s: float = 0.0) -> float:
    """Time kept back from a budget for the last validation, export and report.

    These take some seconds on two idle cores, and up to a minute on busy ones: a longer budget keeps more back, since
    the 5 % it may be missed by are more as well, and so does a machine that was slow to trace the training step.

    Args:
        budget_s: All of it.
        tracing_s: What tracing the step took; export, which traces the network again and converts it, takes as long.
    """
    return min(max(_EXPORT_S, _EXPORT_SHARE * budget_s, tracing_s), _LARGEST_SHARE * budget_s)


def finishing_steps(held: int, batch: int) -> float:
    """How many steps' time the network needs once training has ended.

    One for the gradients and pictures of the logs, one for what is traced anew, and half a step's share (a forward pass
    is a third) for every held-out patch and for the self-test's images, which are no larger than a patch.

    Args:
        held: Held-out patches.
        batch: Patches of a step.
    """
    return 2 + (held + _SELFTEST_IMAGES) / (2 * batch)


def learning_rate(progress: float, peak: float, warmup: float, power: float = 0.9) -> float:
    """Linear warm-up to `peak` over the share `warmup` of the progress, then polynomial decay to 0 at progress 1.

    >>> [round(learning_rate(p, 1.0, 0.1, 1.0), 2) for p in (0.05, 0.1, 0.55, 1.0)]
    [0.5, 1.0, 0.5, 0.0]

    Source: the decay is nnU-Net's `PolyLRScheduler`.
    """
    if progress < warmup:
        return float(peak * progress / warmup)
    return float(peak * max(0.0, (1 - progress) / (1 - warmup)) ** power)


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds per step, smoothed.

    Args:
        step_s: Current estimate; infinite before the first step.
        timed: Steps it rests on.
        timed_s: Their seconds together.
    """

    step_s: float = inf
    timed: int = 0
    timed_s: float = 0.0

    def after(self, seconds: float) -> Pace:
        """The estimate after one more step: the mean of the first hundred, then a moving average over as many."""
        weight = 1 / min(self.timed + 1, 100)
        mean = seconds if self.timed == 0 else (1 - weight) * self.step_s + weight * seconds
        return replace(self, step_s=mean, timed=self.timed + 1, timed_s=self.timed_s + seconds)
