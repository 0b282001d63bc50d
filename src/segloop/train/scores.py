"""What an evaluation writes down, and two of them compared.

Undefined numbers are null with a `reason`; nothing here is ever NaN or infinite.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isfinite, isinf
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import ConfigDict, Field, ValidationError

from segloop.errors import InputError
from segloop.measure.agreement import bootstrap_interval
from segloop.plan import Frozen, LabelSpec

_ONE_EMPTY = "one of the two masks is empty"
_BOTH_EMPTY = "the label occurs in neither mask"


class LabelScore(Frozen):
    """One label of one case.

    Attributes:
        dice: Null when neither mask has the label.
        hd95_mm: 95th percentile Hausdorff distance; null when a mask is empty.
        surface_dice: Share of the surfaces within the tolerance; null when neither mask has the label.
        volume_ml: As predicted.
        reference_volume_ml: As the expert drew it.
        reason: Why something is null.
    """

    dice: float | None
    hd95_mm: float | None
    surface_dice: float | None
    volume_ml: float
    reference_volume_ml: float
    reason: str | None = None

    @classmethod
    def of(cls, numbers: Mapping[str, float], volume_ml: float, reference_volume_ml: float) -> LabelScore:
        """From `dice`, `hd95_mm` and `surface_dice` as `measure.agreement` returns them, NaN and infinity included."""
        finite = {key: float(value) if isfinite(value) else None for key, value in numbers.items()}
        reason = None
        if None in finite.values():
            reason = _ONE_EMPTY if any(isinf(value) for value in numbers.values()) else _BOTH_EMPTY
        return cls(**finite, volume_ml=volume_ml, reference_volume_ml=reference_volume_ml, reason=reason)


class CaseScore(Frozen):
    """One case.

    Attributes:
        id: The case's.
        labels: By label number.
        regions: Overlapping unions of labels, by their name; empty when the Plan has none.
        seconds: Wall time of the prediction, without reading and scoring.
        training_case: The model was trained on it; only with `allow_training_cases`.
    """

    id: str
    labels: dict[str, LabelScore]
    seconds: float
    training_case: bool = False
    regions: dict[str, LabelScore] = Field(default_factory=dict)

    @property
    def mean_dice(self) -> float | None:
        """Mean over the labels that have one."""
        return _mean(label.dice for label in self.labels.values())


class Statistic(Frozen):
    """A number over cases.

    Attributes:
        mean: Over the cases where it is defined.
        sd: Sample standard deviation; null with fewer than two cases.
        ci95: 95 % bootstrap interval of the mean.
        cases: Cases where it is defined.
        reason: How many cases were left out, and why.
    """

    mean: float | None
    sd: float | None
    ci95: tuple[float, float] | None
    cases: int
    reason: str | None = None

    @classmethod
    def of(cls, values: Sequence[float | None], reasons: Iterable[str | None] = ()) -> Statistic:
        """Over the values that are not null."""
        defined = [value for value in values if value is not None]
        missing = len(values) - len(defined)
        why = ", ".join(sorted({reason for reason in reasons if reason})) or "no value"
        return cls(
            mean=float(np.mean(defined)) if defined else None,
            sd=float(np.std(defined, ddof=1)) if len(defined) > 1 else None,
            ci95=bootstrap_interval(defined) if defined else None,
            cases=len(defined),
            reason=f"{missing} of {len(values)} cases left out: {why}" if missing else None,
        )


class LabelSummary(Frozen):
    """One label over all cases."""

    name: str
    dice: Statistic
    hd95_mm: Statistic
    surface_dice: Statistic


class ScoredModel(Frozen):
    """The bundle that was scored, and what ran it.

    Attributes:
        digest: Of the bundle; for out-of-fold scores of the ensemble of the folds' bundles.
        mirrored: Axes along which images were also segmented mirrored.
    """

    name: str
    version: str
    digest: str
    runtime: str
    precision: str
    mirrored: tuple[int, ...] = ()


class Scores(Frozen):
    """The document `segloop evaluate` writes.

    Attributes:
        model: The bundle, and what ran it.
        dataset: Name of the dataset.
        tolerance_mm: Of the surface Dice.
        labels: By label number.
        regions: Overlapping unions of labels, by their name; empty when the Plan has none.
        mean_dice: Mean of the labels' mean Dice.
        cases: In the order given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)

    schema_: Literal[1] = Field(default=1, alias="schema")
    model: ScoredModel
    dataset: str
    tolerance_mm: float
    labels: dict[str, LabelSummary]
    mean_dice: float | None
    cases: tuple[CaseScore, ...]
    regions: dict[str, LabelSummary] = Field(default_factory=dict)

    @classmethod
    def of(
        cls,
        cases: Sequence[CaseScore],
        specs: Sequence[LabelSpec],
        *,
        model: ScoredModel,
        dataset: str,
        tolerance_mm: float,
    ) -> Scores:
        """Cases summed up per label, and per region where they have some."""
        labels = {
            str(spec.value): _summary(spec.name, [case.labels[str(spec.value)] for case in cases]) for spec in specs
        }
        names = dict.fromkeys(name for case in cases for name in case.regions)
        regions = {name: _summary(name, [case.regions[name] for case in cases]) for name in names}
        return cls(
            model=model,
            dataset=dataset,
            tolerance_mm=tolerance_mm,
            labels=labels,
            regions=regions,
            mean_dice=_mean(label.dice.mean for label in labels.values()),
            cases=tuple(cases),
        )

    def to_json(self) -> str:
        """Indented JSON with a final newline."""
        return self.model_dump_json(indent=2, by_alias=True) + "\n"


def read_scores(path: Path) -> Scores:
    """A document that `segloop evaluate` or `segloop cross-validate` wrote.

    Raises:
        InputError: `input.unreadable` when the file is none.
    """
    try:
        return Scores.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as fault:
        raise InputError(
            f"{path.name} holds no metrics ({type(fault).__name__}).",
            found=path.name,
            expected="what `segloop evaluate -o` writes",
        ) from fault


class PairedDifference(Frozen):
    """Mean Dice per case, ours less the reference's, on the cases both have.

    Attributes:
        cases: Cases compared.
        mean: Of ours.
        reference_mean: Of the reference.
        difference: Mean of the differences.
        ci95: 95 % bootstrap interval of it, cases resampled.
        better: Cases where ours is higher.
    """

    cases: int
    mean: float
    reference_mean: float
    difference: float
    ci95: tuple[float, float]
    better: int


def paired_difference(scores: Scores, reference: Mapping[str, float]) -> PairedDifference:
    """Our mean Dice per case against another method's on the same cases.

    Args:
        scores: Ours.
        reference: Mean Dice by case id; cases that only one side has are left out.

    Raises:
        InputError: `usage` when no case is on both sides.
    """
    pairs = [
        (case.mean_dice, reference[case.id])
        for case in scores.cases
        if case.id in reference and case.mean_dice is not None
    ]
    if not pairs:
        raise InputError(
            "No case has a Dice in both results.",
            code="usage",
            found=[case.id for case in scores.cases][:5],
            expected=sorted(reference)[:5],
            hint="Compare results on the same dataset.",
        )
    ours, theirs = np.array(pairs, float).T
    return PairedDifference(
        cases=len(pairs),
        mean=float(ours.mean()),
        reference_mean=float(theirs.mean()),
        difference=float((ours - theirs).mean()),
        ci95=bootstrap_interval(ours - theirs),
        better=int(np.count_nonzero(ours > theirs)),
    )


def _summary(name: str, scores: Sequence[LabelScore]) -> LabelSummary:
    def over(pick: Callable[[LabelScore], float | None]) -> Statistic:
        return Statistic.of([pick(s) for s in scores], (s.reason for s in scores if pick(s) is None))

    return LabelSummary(
        name=name,
        dice=over(lambda score: score.dice),
        hd95_mm=over(lambda score: score.hd95_mm),
        surface_dice=over(lambda score: score.surface_dice),
    )


def _mean(values: Iterable[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None
