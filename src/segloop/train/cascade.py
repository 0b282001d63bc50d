"""The first stage of a cascade: its coarse network is trained, then shows the second one what it finds in a case."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from segloop.errors import PlanError
from segloop.infer.bundle import MANIFEST, Bundle
from segloop.infer.engine import Segmenter
from segloop.plan import Plan
from segloop.volume import Labels, Volume

FOLDER = "coarse"
"""The first stage's run, below the cascade's."""

SHARE = 0.3
"""Of a time budget, for the first stage: its images are smaller and it need not be exact."""


class FirstStage:
    """What the coarse network finds in an image, to be shown to the second network.

    It was trained on the same cases as the second one will be, and so is more often right about them than about new
    ones; `training.augmentation.doubt_probability` keeps the second network from trusting it blindly.

    Args:
        bundle: Of the coarse network.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self._segmenter = Segmenter(bundle, "tensorflow")

    def __call__(self, case_id: str, volume: Volume) -> Labels:
        """Its labels of a case."""
        return self._segmenter(volume).labels


def first_stage(
    train: Callable[..., Any], plan: Plan, out: Path, *, resume: bool, budget_s: float | None, **options: Any
) -> FirstStage:
    """The coarse network of a cascade, trained; on resuming the one that an earlier command finished.

    Args:
        train: `train.fit`.
        plan: Of the cascade.
        out: Folder of the cascade's run; the first stage's is below it.
        resume: Go on where an earlier command stopped.
        budget_s: Seconds of the whole cascade, of which the first stage takes its `SHARE`; None for none.
        options: Passed on to `train`.

    Raises:
        PlanError: A resumed run was begun with another plan.
    """
    assert plan.coarse is not None  # the caller has a cascade
    folder = out / FOLDER
    if not (resume and (folder / "bundle" / MANIFEST).exists()):
        share = None if budget_s is None else SHARE * budget_s
        train(plan.coarse, out=folder, resume=resume, time_budget_s=share, **options)
    bundle = Bundle(folder / "bundle")
    if bundle.plan != plan.coarse:
        raise PlanError(
            "The run's first stage was trained with another plan.",
            found=bundle.plan.digest,
            expected=plan.coarse.digest,
            hint="Begin a new run in another folder.",
        )
    return FirstStage(bundle)
