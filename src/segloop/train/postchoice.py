"""Threshold and clean-up of each label, chosen on out-of-fold predictions and on nothing else.

Greedy: label by label, first the bias of its decision, then what is done to its parts and holes. Of the variants of one
kind the best is taken if the mean Dice over held-out cases rises, the paired bootstrap over cases does not reach
below zero, and no label is found worse where it is; otherwise everything stays. nnU-Net accepts whatever is better in
the mean.

Source: Isensee et al., nnU-Net, Nature Methods 18 (2021), "empirical parameters"; the bootstrap is ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor, log10
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float

from segloop.measure.agreement import bootstrap_interval
from segloop.measure.shape import parts
from segloop.plan import Frozen, LabelSpec, Plan, PostSpec, PostStep
from segloop.post import clean
from segloop.prep import Decision
from segloop.train.outoffold import Predictions, decided, recalibrated
from segloop.volume import Labels

Kind = Literal["bias", "largest_component", "min_component_ml", "fill_holes"]

BIASES = (-2.0, -1.0, -0.5, -0.25, 0.25, 0.5, 1.0, 2.0)
"""Logits added to a label; ±1 moves the threshold 0.5 of a single label to 0.27 or 0.73."""

LARGEST_COST = 0.01
"""Mean Dice that a label may lose in the cases that have it, for what is gained in cases that have not."""

# Quantiles of the sizes of false parts: what would drop so many of them is tried.
_FALSE_SIZES = (0.5, 0.8, 0.95, 1.0)
_DRAWS = 2000


class Trial(Frozen):
    """One variant that was tried.

    Attributes:
        label: Name of the label or region it concerns.
        kind: What is changed.
        value: To what.
        before: Mean Dice of the best so far: over labels, then over held-out cases.
        after: With this variant.
        ci95: 95 % bootstrap interval of the difference, cases resampled.
        better: Cases where it helps.
        worse: Cases where it harms.
        cost: Most mean Dice that a label, or region, loses over the cases that have it; 0 where none loses any.
        accepted: Whether it is in the Plan.
    """

    label: str
    kind: Kind
    value: float | bool
    before: float
    after: float
    ci95: tuple[float, float]
    better: int
    worse: int
    cost: float = 0.0
    accepted: bool


class PostChoice(Frozen):
    """What was chosen, and everything that was tried.

    Attributes:
        plan: The recipe with the chosen bias, clean-up, temperature and the reasons.
        trials: In the order they were made.
        cases: Held-out cases it rests on.
        before: Mean Dice with the Plan as it was.
        after: With the chosen Plan.
    """

    plan: Plan
    trials: tuple[Trial, ...]
    cases: int
    before: float
    after: float


@dataclass(frozen=True, slots=True, eq=False)
class _Scored:
    """Dice of each case and output, 1 where neither mask has it, and which cases have it."""

    dice: Float[np.ndarray, "cases outputs"]
    present: Bool[np.ndarray, "cases outputs"]

    @property
    def cases(self) -> Float[np.ndarray, " cases"]:
        """Mean over outputs."""
        return np.asarray(self.dice.mean(axis=1))

    def cost_to(self, other: _Scored) -> float:
        """The most that an output loses in the mean over the cases that have it; at least 0."""
        lost = [
            float((self.dice[has, output] - other.dice[has, output]).mean())
            for output, has in enumerate(self.present.T)
            if has.any()
        ]
        return max([0.0, *lost])


@dataclass(frozen=True, slots=True)
class _Variant:
    kind: Kind
    value: float | bool
    plan: Plan


def choose(predictions: Predictions, temperature: float, ignore_label: int | None = None) -> PostChoice:
    """The Plan with what out-of-fold predictions say is best.

    Dice of a label that neither mask has counts as 1 here, so that removing what is wrong is rewarded. Where few cases
    have a label, finding nothing anywhere would be rewarded most: so in the cases that have it, none may lose more than
    `LARGEST_COST`.

    Args:
        predictions: Held-out cases; opening them has made sure that no model was trained on its own.
        temperature: Found before, since thresholds are taken of calibrated probabilities.
        ignore_label: Voxels that count nowhere.
    """
    start = predictions.plan
    plan = start.changed({"inference.temperature": temperature})
    judge = _Judge(predictions, ignore_label)
    first = best = judge.dice(plan)
    trials: list[Trial] = []
    for index, name in enumerate(plan.found_names):
        plan, best = _decide(name, _biases(plan, index), plan, best, judge, trials)
    for spec in plan.labels:
        for kind in ("largest_component", "min_component_ml", "fill_holes"):
            plan, best = _decide(spec.name, _cleanups(plan, spec, kind, judge), plan, best, judge, trials)
    fitted = (
        f"Temperature {temperature:g}: probabilities of {len(predictions)} out-of-fold predictions are then calibrated."
    )
    reasons = (*start.reasons, fitted, *_reasons(trials, len(predictions)))
    return PostChoice(
        plan=plan.changed({"reasons": list(reasons)}),
        trials=tuple(trials),
        cases=len(predictions),
        before=float(first.cases.mean()),
        after=float(best.cases.mean()),
    )


class _Judge:
    """Dice of every held-out case under a Plan's decision and clean-up."""

    def __init__(self, predictions: Predictions, ignore_label: int | None) -> None:
        self.predictions, self.ignore = predictions, ignore_label
        # Clean-up variants share their label maps, which cost more to make than to clean.
        self._decided: tuple[Decision, list[Labels]] | None = None

    def labels(self, plan: Plan) -> list[Labels]:
        """Before clean-up."""
        decision = Decision.of(plan)
        if self._decided is None or self._decided[0] != decision:
            own, names, temperature = self.predictions.plan, plan.label_names, plan.inference.temperature
            cases = (recalibrated(found, own, temperature) for found in self.predictions)
            self._decided = decision, [decided(found, decision, names) for found in cases]
        return self._decided[1]

    def dice(self, plan: Plan) -> _Scored:
        """Of every label, or of every region where the Plan has some."""
        unions = [region.labels for region in plan.regions] or [(label.value,) for label in plan.labels]
        scores, present = [], []
        for found, labels in zip(self.predictions, self.labels(plan), strict=True):
            cleaned = clean(labels, plan.post).array
            counted = np.True_ if self.ignore is None else found.reference != self.ignore
            pairs = [(np.isin(found.reference, union), np.isin(cleaned, union) & counted) for union in unions]
            scores.append([_dice(expert, ours) for expert, ours in pairs])
            present.append([bool(expert.any()) for expert, _ in pairs])
        return _Scored(np.asarray(scores), np.asarray(present))

    def false_parts_ml(self, plan: Plan, label: int) -> list[float]:
        """Volumes of predicted parts that touch nothing the expert drew."""
        sizes = []
        for found, labels in zip(self.predictions, self.labels(plan), strict=True):
            cleaned = clean(labels, plan.post).array == label
            expert, voxel_ml = found.reference == label, found.geometry.voxel_ml
            sizes += [float(part.sum()) * voxel_ml for box, part in parts(cleaned) if not (expert[box] & part).any()]
        return sizes


def _decide(
    name: str, variants: Sequence[_Variant], plan: Plan, best: _Scored, judge: _Judge, trials: list[Trial]
) -> tuple[Plan, _Scored]:
    """The best variant if it is better than what there is, else what there is."""
    if not variants:
        return plan, best
    scored = [(variant, judge.dice(variant.plan)) for variant in variants]
    costs = [best.cost_to(after) for _, after in scored]
    fair = [i for i, cost in enumerate(costs) if cost <= LARGEST_COST]
    winner = max(fair, key=lambda i: float(scored[i][1].cases.mean()), default=None)
    result = plan, best
    for number, (variant, after) in enumerate(scored):
        gain = after.cases - best.cases
        low, high = bootstrap_interval(gain, draws=_DRAWS)
        accepted = number == winner and gain.mean() > 0 and low >= 0
        trials.append(
            Trial(
                label=name,
                kind=variant.kind,
                value=variant.value,
                before=float(best.cases.mean()),
                after=float(after.cases.mean()),
                ci95=(low, high),
                better=int((gain > 0).sum()),
                worse=int((gain < 0).sum()),
                cost=costs[number],
                accepted=accepted,
            )
        )
        if accepted:
            result = variant.plan, after
    return result


def _biases(plan: Plan, index: int) -> list[_Variant]:
    present = list(plan.inference.logit_bias or (0.0,) * len(plan.found_names))
    found = []
    for bias in BIASES:
        changed = [*present[:index], round(present[index] + bias, 4), *present[index + 1 :]]
        found.append(_Variant("bias", changed[index], plan.changed({"inference.logit_bias": changed})))
    return found


def _cleanups(plan: Plan, spec: LabelSpec, kind: Kind, judge: _Judge) -> list[_Variant]:
    """Variants of one kind for a label: the other setting of a switch, or sizes that false parts have."""
    step = next((step for step in plan.post.steps if step.label == spec.value), PostStep(label=spec.value))
    if kind == "min_component_ml":
        sizes = judge.false_parts_ml(plan, spec.value)
        quantiles = np.quantile(sizes, _FALSE_SIZES).tolist() if sizes else []
        values: Sequence[float | bool] = sorted({_above(size) for size in quantiles} - {step.min_component_ml})
    elif kind == "largest_component":
        # Of lesions the largest is not the one that is meant.
        values = () if spec.components else (not step.largest_component,)
    else:
        values = (not step.fill_holes,)
    return [_Variant(kind, value, _with_step(plan, step, {kind: value})) for value in values]


def _with_step(plan: Plan, step: PostStep, change: Mapping[str, Any]) -> Plan:
    changed = step.model_copy(update=dict(change))
    idle = changed == PostStep(label=step.label)
    steps = [changed if present == step else present for present in plan.post.steps]
    if step not in plan.post.steps:
        steps.append(changed)
    kept = tuple(s for s in steps if not (s == changed and idle))
    return plan.changed({"post": PostSpec(steps=kept).model_dump(mode="json")})


def _above(size: float) -> float:
    """The next larger number of two digits, so that a part of this size falls below it."""
    step = 10.0 ** (floor(log10(size)) - 1)
    return round((floor(size / step * (1 + 1e-9)) + 1) * step, 12)


def _reasons(trials: Sequence[Trial], cases: int) -> list[str]:
    """What was accepted, in words for the Plan."""
    accepted = [trial for trial in trials if trial.accepted]
    said = [
        f"{trial.label}: {in_words(trial)}, chosen on {cases} out-of-fold predictions: mean Dice "
        f"{trial.before:.4f} to {trial.after:.4f} (95 % interval of the gain {trial.ci95[0]:+.4f} to "
        f"{trial.ci95[1]:+.4f}; better in {trial.better} cases, worse in {trial.worse})."
        for trial in accepted
    ]
    return said or [
        f"Threshold and clean-up stay as planned: none of {len(trials)} variants was better on {cases} out-of-fold "
        "predictions."
    ]


def in_words(trial: Trial) -> str:
    """What a variant does, such as `largest part only`."""
    if trial.kind == "bias":
        return f"logit bias {trial.value:+g} (threshold {1 / (1 + np.exp(trial.value)):.2f})"
    if trial.kind == "min_component_ml":
        return f"parts below {trial.value:g} ml dropped"
    what = {"largest_component": "largest part only", "fill_holes": "holes filled"}[trial.kind]
    return what if trial.value else f"{what} no longer"


def _dice(reference: np.ndarray, prediction: np.ndarray) -> float:
    total = int(reference.sum()) + int(prediction.sum())
    return 2 * int((reference & prediction).sum()) / total if total else 1.0


__all__ = ["BIASES", "LARGEST_COST", "PostChoice", "Trial", "choose", "in_words"]
