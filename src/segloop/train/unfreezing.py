"""A pretrained way down: left as it is at first, then learning stage by stage, and more slowly than the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import keras

from segloop.train.optimizer import StagedAdamW

if TYPE_CHECKING:
    from segloop.train.loop import Run


def stage_factors(progress: float, stages: int, frozen: float, rate: float) -> tuple[float, ...]:
    """Share of the learning rate that each stage takes at a point of the training, the finest stage first.

    All are 0 until the share `frozen` of the training is done. Then they join one after the other at equal distances,
    the deepest first, the finest at twice that share (or half-way from there to the end, if that is earlier). The
    deepest learns at `rate`, each stage above at half of the one below: the finest know edges and spots, which are the
    same in every image; the deepest know what ImageNet shows.

    >>> stage_factors(0.1, 3, 0.2, 0.1)
    (0.0, 0.0, 0.0)
    >>> stage_factors(0.3, 3, 0.2, 0.1)
    (0.0, 0.05, 0.1)
    >>> stage_factors(0.0, 3, 0.0, 0.1)
    (0.025, 0.05, 0.1)

    Source: Howard & Ruder, gradual unfreezing and discriminative fine-tuning, arXiv 1801.06146.
    """
    span = min(frozen, (1 - frozen) / 2)
    gap = span / max(1, stages - 1)
    factors = []
    for stage in range(stages):
        above = stages - 1 - stage
        joined = progress >= frozen + above * gap - 1e-9
        factors.append(rate * 0.5**above if joined else 0.0)
    return tuple(factors)


class Unfreezing(keras.callbacks.Callback):  # type: ignore[misc]
    """Sets the factors of a `StagedAdamW` before each step; does nothing with another optimiser.

    They follow from the progress alone, so a resumed training finds them again.

    Args:
        run: Its plan and progress.
    """

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run
        self._set: tuple[float, ...] = ()

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Set the factors, if they are others than before."""
        optimizer = self.model.optimizer
        if not isinstance(optimizer, StagedAdamW):
            return
        spec = self.run.plan.training
        count = int(optimizer.factors.shape[0])
        factors = stage_factors(self.run.progress, count, spec.frozen_fraction, spec.encoder_rate)
        if factors != self._set:
            optimizer.factors.assign(factors)
            self._set = factors
