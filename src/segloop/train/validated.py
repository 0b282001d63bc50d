"""What a cross-validation found, in words and on the page: facts, worst cases, the card's figures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from math import exp
from pathlib import Path

import numpy as np

from segloop.data.dataset import Dataset
from segloop.infer.bundle import Bundle
from segloop.io import files
from segloop.measure.intervals import VolumeInterval
from segloop.plan import Plan
from segloop.train.calibration import Calibration
from segloop.train.findings import Fact, Suspect
from segloop.train.postchoice import PostChoice, Trial, in_words
from segloop.train.scores import CaseScore, Scores
from segloop.train.worst import case_picture
from segloop.volume import Labels, Volume

_SUSPECTS_DRAWN = 8


class Drawn:
    """Reads a held-out case as the picture makers want it: image, expert labels, prediction.

    Args:
        dataset: Of the cases.
        plan: Whose labels they have.
        predictions: Where each case's label map was kept.
    """

    def __init__(self, dataset: Dataset, plan: Plan, predictions: dict[str, Path]) -> None:
        self._dataset, self._plan, self._predictions = dataset, plan, predictions

    def __call__(self, case_id: str) -> tuple[Volume, Labels, Labels]:
        """Image, expert labels and prediction on one grid."""
        volume, truth = self._dataset.read(self._dataset.case(case_id))
        return volume, truth, files.read_labels(self._predictions[case_id], self._plan.label_names)

    def suspects(self, found: Sequence[Suspect]) -> tuple[Suspect, ...]:
        """The same suspects, the first few with a picture; a region has none of its own."""
        specs = {spec.name: spec for spec in self._plan.labels}
        return tuple(
            one.model_copy(update={"picture": case_picture(*self(one.case), specs[one.label])})
            if number < _SUSPECTS_DRAWN and one.label in specs
            else one
            for number, one in enumerate(found)
        )


def facts(
    choice: PostChoice,
    calibration: Calibration,
    intervals: Sequence[VolumeInterval],
    scores: Scores,
    dataset: Dataset,
    ensemble: Bundle,
    slowdown: float,
) -> tuple[Fact, ...]:
    """What was chosen from out-of-fold predictions, as lines of a table."""
    names = choice.plan.label_names
    members = len(ensemble.manifest.members)
    accepted = [trial for trial in choice.trials if trial.accepted]
    lines = [
        (
            "Temperature",
            f"{calibration.curve.temperature:g} (log-loss {calibration.nll:.4f} to {calibration.nll_after:.4f})",
        ),
        *((f"Calibration error, {one.name}", f"{one.ece:.4f} to {one.ece_after:.4f}") for one in calibration.labels),
        *((f"Chosen for {trial.label}", _chosen(trial)) for trial in accepted),
        (
            "Threshold and clean-up",
            f"{len(accepted)} of {len(choice.trials)} variants accepted, mean Dice "
            f"{choice.before:.4f} to {choice.after:.4f}",
        ),
        *((f"Volume of {names[rule.label]}", interval_in_words(rule)) for rule in intervals),
        (
            "Ensemble of folds",
            f"{members} models, {ensemble.size_bytes / 2**20:.1f} MiB, {slowdown:.1f} times the time of one per image",
        ),
        *sites(scores.cases, dataset),
    ]
    return tuple(Fact(name=name, value=value) for name, value in lines)


def interval_in_words(rule: VolumeInterval) -> str:
    """The interval at a typical size, and how often it held."""
    lowest = "from 0" if rule.lower is None else f"{exp(rule.centre + rule.lower) - 1:+.1%}"
    highest = f"{exp(rule.centre + rule.upper) - 1:+.1%}"
    said = f"expert's lies {lowest} to {highest} of the measured one at {rule.pivot_ml:.3g} ml"
    if rule.exponent:
        said += ", wider for smaller ones"
    if rule.coverage is not None:
        said += f"; held for {rule.coverage:.1%} of {rule.cases} cases, from the other folds' errors"
    return said + (f"; widened {rule.widened:g} times to get there" if rule.widened > 1 else "")


def sites(cases: Sequence[CaseScore], dataset: Dataset) -> list[tuple[str, str]]:
    """Mean Dice of each site, where the dataset names at least two."""
    by_site: defaultdict[str, list[float]] = defaultdict(list)
    for case in cases:
        if case.mean_dice is not None:
            by_site[dataset.case(case.id).site].append(case.mean_dice)
    if len(by_site) < 2:
        return []
    return [
        (f"Site {site}", f"mean Dice {np.mean(dice):.3f} over {len(dice)} cases")
        for site, dice in sorted(by_site.items())
    ]


def validated_card(card: str, scores: Scores, intervals: Sequence[VolumeInterval], said: str) -> str:
    """A model card whose metrics are the out-of-fold ones.

    Args:
        card: As training wrote it.
        scores: Out-of-fold.
        intervals: Of volumes.
        said: How these weights relate to the models that were scored, a sentence.
    """
    rows = "\n".join(
        f"| {one.name} | {_number(one.dice.mean, 4)} | {_range(one.dice.ci95)} | {_number(one.hd95_mm.mean, 2)} |"
        for one in scores.labels.values()
    )
    volumes = "".join(
        f"- Volume of {scores.labels[str(rule.label)].name}: {interval_in_words(rule)}.\n" for rule in intervals
    )
    text = f"""{said}
Each of the {len(scores.cases)} cases was predicted, through the production `Segmenter`, by the model that held it out:

| label | Dice | 95 % interval | HD95 mm |
|---|---|---|---|
{rows}
| mean | {_number(scores.mean_dice, 4)} | | |

{volumes}"""
    before, _, rest = card.partition("## Metrics\n")
    return f"{before}## Metrics\n{text}\n## Intended use{rest.partition('## Intended use')[2]}"


def _chosen(trial: Trial) -> str:
    low, high = trial.ci95
    return f"{in_words(trial)}: mean Dice {trial.after - trial.before:+.4f} ({low:+.4f} to {high:+.4f})"


def _number(value: float | None, decimals: int) -> str:
    return "–" if value is None else f"{value:.{decimals}f}"


def _range(bounds: tuple[float, float] | None) -> str:
    return "–" if bounds is None else f"{bounds[0]:.4f} to {bounds[1]:.4f}"
