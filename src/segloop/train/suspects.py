"""Likely label errors: expert labels that a model which never saw them contradicts, and is sure of it.

A hard case is one the model is unsure of; its disagreement there weighs little. Where the model is certain and the
expert says otherwise, somebody should look again.

Source: the self-confidence and confident-disagreement scores of Northcutt et al., Confident Learning, JAIR 70 (2021),
summed over voxels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from segloop.plan import Plan
from segloop.prep import Decision
from segloop.train.findings import Suspect
from segloop.train.outoffold import HeldOut, Predictions, recalibrated

MOST = 20
"""So many are listed at most."""

# Robust deviations above the median from which a score stands out (Iglewicz and Hoaglin), and the least that counts.
_STANDS_OUT, _LEAST = 3.5, 0.1


@dataclass(frozen=True, slots=True)
class _Dispute:
    """One label of one case.

    Args:
        score: Certainty with which the model contradicts the expert, summed over the voxels in dispute and divided by
            the voxels that either of them gives the label.
        certainty: Its mean over the voxels in dispute.
        share: Voxels in dispute over the voxels that either gives the label.
    """

    case: str
    label: str
    score: float
    certainty: float
    share: float
    model_ml: float
    expert_ml: float
    dice: float | None


def suspects(predictions: Predictions, temperature: float, ignore_label: int | None = None) -> tuple[Suspect, ...]:
    """Labels whose dispute stands out among those of the same label, the most suspect first.

    Args:
        predictions: Held-out cases.
        temperature: That makes their probabilities calibrated.
        ignore_label: Voxels that count nowhere.
    """
    found = [
        dispute
        for case in predictions
        for dispute in _disputes(recalibrated(case, predictions.plan, temperature), predictions.plan, ignore_label)
    ]
    chosen: list[_Dispute] = []
    for name in dict.fromkeys(dispute.label for dispute in found):
        own = [dispute for dispute in found if dispute.label == name]
        limit = _limit([dispute.score for dispute in own])
        chosen += [dispute for dispute in own if dispute.score > limit]
    ranked = sorted(chosen, key=lambda dispute: (-dispute.score, dispute.case))[:MOST]
    return tuple(
        Suspect(case=d.case, label=d.label, dice=d.dice, reason=_in_words(d), score=round(d.score, 4)) for d in ranked
    )


def _disputes(found: HeldOut, plan: Plan, ignore_label: int | None) -> Iterator[_Dispute]:
    counted = np.ones(found.reference.shape, bool) if ignore_label is None else found.reference != ignore_label
    for name, expert, model, certainty in _opinions(found, plan):
        ours, union = model & counted, (expert | model) & counted
        wrong = (expert != model) & counted
        size, disputed = int(union.sum()), int(wrong.sum())
        total = float(certainty[wrong].sum(dtype=np.float64))
        both = int(expert.sum()) + int(ours.sum())
        yield _Dispute(
            found.case,
            name,
            total / size if size else 0.0,
            total / disputed if disputed else 0.0,
            disputed / size if size else 0.0,
            float(ours.sum()) * found.geometry.voxel_ml,
            float(expert.sum()) * found.geometry.voxel_ml,
            2 * int((expert & ours).sum()) / both if expert.any() and ours.any() else None,
        )


def _opinions(
    found: HeldOut, plan: Plan
) -> Iterable[tuple[str, Bool[np.ndarray, "z y x"], Bool[np.ndarray, "z y x"], Float[np.ndarray, "z y x"]]]:
    """For each label or region: the expert's mask, the model's, and how sure the model is against the expert."""
    p, reference = found.probabilities, found.reference
    if plan.regions:
        for region, own in zip(plan.regions, p, strict=True):
            yield region.name, np.isin(reference, region.labels), own > 0.5, np.abs(2 * own - 1)
        return
    decision = Decision.of(plan).uncalibrated
    said = decision.labels(p)
    index = np.zeros(int(reference.max()) + 1, np.intp)
    for output, value in enumerate(decision.values):
        if value < len(index):
            index[value] = output
    experts_choice = np.take_along_axis(p, index[reference][None], 0)[0]
    gap = p.max(axis=0) - experts_choice
    for spec in plan.labels:
        yield spec.name, reference == spec.value, said == spec.value, gap


def _limit(scores: list[float]) -> float:
    """The score from which a label stands out: far above the median in robust deviations."""
    median = float(np.median(scores))
    deviation = 1.4826 * float(np.median(np.abs(np.array(scores) - median)))
    return max(_LEAST, median + _STANDS_OUT * deviation)


def _in_words(d: _Dispute) -> str:
    if not d.expert_ml:
        what = f"finds {d.model_ml:.3g} ml where the expert drew none"
    elif not d.model_ml:
        what = f"finds none of the {d.expert_ml:.3g} ml that the expert drew"
    else:
        what = f"finds {d.model_ml:.3g} ml, the expert {d.expert_ml:.3g} ml, and {d.share:.0%} of both is in dispute"
    sure = f"where they differ its answer is on average {d.certainty:.0%} more probable than the expert's"
    return f"A model that has not seen the case {what}; {sure}."
