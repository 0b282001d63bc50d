"""What `report.html` shows, as records: whoever trained or validated fills them, the page draws what is there.

Every part but the Plan, the provenance and the version may be missing; its section is then left out. Labels go by
their names, as a reader knows them. Undefined numbers are None, never NaN.
"""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from segloop.plan import Frozen, Plan, Provenance
from segloop.train.checkpoint import Notice, Point
from segloop.train.scores import Scores

Interval = tuple[float, float]
"""Lowest and highest value, 95 % unless said otherwise."""


class Picture(Frozen):
    """A PNG with what it shows in words.

    Attributes:
        png: The file's bytes; base64 in JSON.
        text: What a person sees on it, for those who cannot.
        caption: Printed below; empty prints none.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, ser_json_bytes="base64", val_json_bytes="base64"
    )

    png: bytes = Field(repr=False)
    text: str = Field(min_length=1)
    caption: str = ""


class VolumePair(Frozen):
    """Volume of one label in one case, as measured and as the expert drew it."""

    case: str
    label: str
    measured_ml: float = Field(ge=0)
    reference_ml: float = Field(ge=0)


class WorstCase(Frozen):
    """A case drawn because it is among the worst.

    Attributes:
        case: Its id.
        label: The label that went wrong.
        dice: Of that label; None when neither mask has it.
        hd95_mm: Of that label; None where undefined.
        picture: Slices through the worst error, truth and prediction as contours.
    """

    case: str
    label: str
    dice: float | None
    hd95_mm: float | None = None
    picture: Picture


class CalibrationBin(Frozen):
    """Voxels whose highest probability falls into one interval.

    Attributes:
        confidence: Their mean highest probability.
        accuracy: Share of them whose most probable label is the expert's.
        share: Of all voxels counted.
    """

    confidence: float = Field(ge=0, le=1)
    accuracy: float = Field(ge=0, le=1)
    share: float = Field(ge=0, le=1)


class CalibrationCurve(Frozen):
    """How far probabilities can be taken at their word, before and after temperature scaling.

    Attributes:
        bins: Before scaling, by rising confidence, empty ones left out.
        bins_after: After scaling.
        temperature: What logits are divided by.
        ece: Expected calibration error before: mean of |accuracy - confidence| over bins, weighted by their share.
        ece_after: The same after scaling; on voxels that the temperature was not fitted on where `held_out`.
        voxels: Voxels counted, and which, in words, such as `1,200,000 voxels within 5 mm of a label`.
        held_out: The temperature was chosen on other cases than those `ece_after` is measured on.

    Source: Guo et al., On Calibration of Modern Neural Networks, arXiv 1706.04599.
    """

    bins: tuple[CalibrationBin, ...] = Field(min_length=1)
    bins_after: tuple[CalibrationBin, ...] = ()
    temperature: float = Field(default=1.0, gt=0)
    ece: float = Field(ge=0, le=1)
    ece_after: float | None = Field(default=None, ge=0, le=1)
    voxels: str = ""
    held_out: bool = False


class LearningPoint(Frozen):
    """Mean Dice of a model trained on so many cases, always scored on the same held-out cases.

    Attributes:
        cases: Trained on.
        dice: Mean over labels, then over held-out cases.
        interval: 95 % interval of it; None when there is none.
    """

    cases: int = Field(ge=1)
    dice: float
    interval: Interval | None = None


class ExpectedDice(Frozen):
    """Dice the fitted curve gives for a number of cases, with what the fit leaves open."""

    cases: int = Field(ge=1)
    dice: float
    interval: Interval | None = None


class LearningCurve(Frozen):
    """Dice against the number of training cases, from nested subsets; `train.growth.learning_curve` fits it.

    The curve is dice = a - b * cases ** -c.

    Attributes:
        points: By rising number of cases.
        a: Dice that ever more cases would approach.
        b: How much is missing at one case.
        c: How fast it is caught up.
        band: The fit from the smallest subset to beyond the largest, with its 95 % interval.
        more: Further cases asked about.
        gain: Dice that `more` cases would bring.
        gain_interval: 95 % interval of `gain`.
        note: What the fit leans on, such as few points; empty for nothing.
    """

    points: tuple[LearningPoint, ...] = Field(min_length=1)
    a: float | None = None
    b: float | None = None
    c: float | None = None
    band: tuple[ExpectedDice, ...] = ()
    more: int = Field(default=10, ge=1)
    gain: float | None = None
    gain_interval: Interval | None = None
    note: str = ""


class Suspect(Frozen):
    """An expert label that models which never saw it disagree with.

    Attributes:
        case: Its id.
        label: Name of the label.
        dice: Out-of-fold agreement; None when only one of the two masks has the label or neither has.
        reason: Why it is suspected, in a sentence.
        score: Higher is more suspect; the order of the list.
        picture: The place, drawn; None for none.
    """

    case: str
    label: str
    dice: float | None
    reason: str
    score: float = 0.0
    picture: Picture | None = None


class Fact(Frozen):
    """One line of a table of facts."""

    name: str
    value: str


class ValidationResult(Frozen):
    """Predictions compared with expert labels on cases the models have not seen.

    Attributes:
        source: `out-of-fold`: every case was predicted by the model whose fold held it out. `held-out`: one model, the
            cases it was not trained on.
        scores: Per case and label, with intervals.
        volumes: For the Bland-Altman plot; empty takes them from `scores`.
        worst: Worst first.
        calibration: None when probabilities were not looked at.
        learning: None without nested subsets.
        suspects: Most suspect first.
        facts: What was chosen from these predictions (clean-up, threshold, ensemble, mirroring, coverage of intervals).
    """

    source: Literal["out-of-fold", "held-out"]
    scores: Scores
    volumes: tuple[VolumePair, ...] = ()
    worst: tuple[WorstCase, ...] = ()
    calibration: CalibrationCurve | None = None
    learning: LearningCurve | None = None
    suspects: tuple[Suspect, ...] = ()
    facts: tuple[Fact, ...] = ()


class ReportPage(Frozen):
    """All of one `report.html`.

    Attributes:
        plan: The recipe.
        provenance: How the weights were made.
        version: Of the model.
        points: Losses, Dice and learning rate over steps.
        notices: Warnings of the training.
        sheet: Augmented samples.
        overlays: Held-out cases, truth and prediction as contours.
        validation: Scores on cases the models have not seen; None before there are any.
    """

    plan: Plan
    provenance: Provenance
    version: str
    points: tuple[Point, ...] = ()
    notices: tuple[Notice, ...] = ()
    sheet: Picture | None = None
    overlays: tuple[Picture, ...] = ()
    validation: ValidationResult | None = None


def volume_pairs(scores: Scores) -> tuple[VolumePair, ...]:
    """The volumes of every case and label that an evaluation holds, cases in their order."""
    return tuple(
        VolumePair(
            case=case.id,
            label=scores.labels[number].name,
            measured_ml=label.volume_ml,
            reference_ml=label.reference_volume_ml,
        )
        for case in scores.cases
        for number, label in case.labels.items()
    )
