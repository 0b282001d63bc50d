"""How far probabilities can be taken at their word, and the one temperature that mends them.

All of it is measured in a band around the structures' borders, expert's and model's alike: deep inside and far away
every model is certain and right, and would drown the places where probabilities matter.

Source: Guo et al., On Calibration of Modern Neural Networks, arXiv 1706.04599.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Integer
from pydantic import Field

from segloop.plan import Frozen, Plan
from segloop.prep import Decision
from segloop.train.findings import CalibrationBin, CalibrationCurve
from segloop.train.outoffold import HeldOut, Predictions
from segloop.volume import Vector

BINS = 15
BAND_VOXELS = 3
"""Width of the band on either side of a border, in voxels of the finest axis."""

# As many as a temperature can use; fewer of each case where there are many.
_VOXELS, _VOXELS_PER_CASE = 1_000_000, 20_000
_COLDEST, _HOTTEST = 0.2, 8.0


class LabelCalibration(Frozen):
    """One label's, or region's, probability taken by itself: before and after, on cases the temperature is not from."""

    name: str
    ece: float = Field(ge=0, le=1)
    ece_after: float = Field(ge=0, le=1)


class Calibration(Frozen):
    """What temperature scaling does.

    Attributes:
        curve: Of the most probable label (of regions: of every region's own probability).
        labels: Each by itself.
        nll: Mean negative log-likelihood before.
        nll_after: After, on cases the temperature is not from.
        cases: Held-out cases behind it.
    """

    curve: CalibrationCurve
    labels: tuple[LabelCalibration, ...]
    nll: float
    nll_after: float
    cases: int


@dataclass(frozen=True, slots=True, eq=False)
class _Sample:
    """Voxels of one case: uncalibrated scores (k, n) and whether each output is right there (k, n)."""

    fold: int
    scores: Float[np.ndarray, "k n"]
    truth: Bool[np.ndarray, "k n"]


def calibrate(predictions: Predictions, ignore_label: int | None = None) -> Calibration:
    """The temperature with the least negative log-likelihood, and the calibration error before and after.

    Errors after scaling are measured fold by fold with the temperature that the *other* folds give; with one fold alone
    they are measured on the cases the temperature is from, and the curve says so.

    Args:
        predictions: Held-out cases.
        ignore_label: Voxels that count nowhere.
    """
    plan = predictions.plan
    most = min(_VOXELS_PER_CASE, 1 + _VOXELS // max(1, len(predictions)))
    samples = [_sample(found, plan, ignore_label, most) for found in predictions]
    folds = sorted({sample.fold for sample in samples})
    temperature = fitted(samples, plan)
    honest = {fold: fitted([s for s in samples if s.fold != fold], plan) for fold in folds} if len(folds) > 1 else {}
    before = np.concatenate([_probabilities(s, plan, plan.inference.temperature) for s in samples], axis=1)
    after = np.concatenate([_probabilities(s, plan, honest.get(s.fold, temperature)) for s in samples], axis=1)
    truth = np.concatenate([s.truth for s in samples], axis=1)
    bins, ece = _curve(*_confidence(before, truth, plan))
    bins_after, ece_after = _curve(*_confidence(after, truth, plan))
    names = plan.found_names
    first = 0 if plan.regions else 1
    return Calibration(
        curve=CalibrationCurve(
            bins=bins,
            bins_after=bins_after,
            temperature=temperature,
            ece=ece,
            ece_after=ece_after,
            voxels=f"{before.shape[1]:,} voxels of {len(samples)} cases, within {BAND_VOXELS} voxels of a border",
            held_out=bool(honest),
        ),
        labels=tuple(
            LabelCalibration(
                name=name,
                ece=_curve(before[i], truth[i])[1],
                ece_after=_curve(after[i], truth[i])[1],
            )
            for i, name in enumerate(names, first)
        ),
        nll=_nll(before, truth, plan),
        nll_after=_nll(after, truth, plan),
        cases=len(samples),
    )


def fitted(samples: Sequence[_Sample], plan: Plan) -> float:
    """The temperature, to three digits, with the least negative log-likelihood, each case weighing alike."""
    from scipy.optimize import minimize_scalar

    def loss(logarithm: float) -> float:
        temperature = float(np.exp(logarithm))
        return float(np.mean([_nll(_probabilities(s, plan, temperature), s.truth, plan) for s in samples]))

    found = minimize_scalar(loss, bounds=(np.log(_COLDEST), np.log(_HOTTEST)), method="bounded")
    return float(f"{np.exp(found.x):.3g}")


def band(labels: Iterable[Integer[np.ndarray, "z y x"]], spacing_mm: Vector) -> Bool[np.ndarray, "z y x"]:
    """Voxels within `BAND_VOXELS` of a place where one of the label maps changes; nothing where none does."""
    from scipy.ndimage import distance_transform_edt

    border: np.ndarray | None = None
    for array in labels:
        border = np.zeros(array.shape, bool) if border is None else border
        for axis in range(3):
            ahead, behind = [slice(None)] * 3, [slice(None)] * 3
            ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
            changes = array[tuple(ahead)] != array[tuple(behind)]
            border[tuple(ahead)] |= changes
            border[tuple(behind)] |= changes
    assert border is not None  # there is at least one label map
    if not border.any():
        return border
    # A single slice has no extent across it, so its thickness is not the finest axis.
    finest = min(s for s, n in zip(spacing_mm, border.shape, strict=True) if n > 1)
    distance = np.asarray(distance_transform_edt(~border, sampling=spacing_mm))
    return np.asarray(distance <= BAND_VOXELS * finest * (1 + 1e-6))


def _sample(found: HeldOut, plan: Plan, ignore_label: int | None, most: int) -> _Sample:
    decision = Decision.of(plan)
    ours = decision.labels(found.probabilities)
    near = band((ours, found.reference), found.geometry.spacing_mm)
    if ignore_label is not None:
        near &= found.reference != ignore_label
    places = np.flatnonzero(near)
    if len(places) > most:
        places = np.random.default_rng(0).choice(places, most, replace=False)
    probabilities = found.probabilities.reshape(len(found.probabilities), -1)[:, places]
    reference = found.reference.ravel()[places]
    if plan.regions:
        truth = np.stack([np.isin(reference, region.labels) for region in plan.regions])
    else:
        truth = np.stack([reference == value for value in (0, *(label.value for label in plan.labels))])
    return _Sample(found.fold, decision.scores(probabilities), truth)


def _probabilities(sample: _Sample, plan: Plan, temperature: float) -> Float[np.ndarray, "k n"]:
    own = Decision.of(plan)
    return Decision(own.values, own.regions, temperature).probabilities(sample.scores.copy())


def _confidence(
    probabilities: Float[np.ndarray, "k n"], truth: Bool[np.ndarray, "k n"], plan: Plan
) -> tuple[Float[np.ndarray, " m"], Bool[np.ndarray, " m"]]:
    """What was said with which certainty, and whether it was right."""
    if plan.regions:
        said = probabilities > 0.5
        return np.where(said, probabilities, 1 - probabilities).ravel(), (said == truth).ravel()
    most = probabilities.argmax(axis=0)[None]
    return np.take_along_axis(probabilities, most, 0)[0], np.take_along_axis(truth, most, 0)[0]


def _curve(
    confidence: Float[np.ndarray, " n"], right: Bool[np.ndarray, " n"]
) -> tuple[tuple[CalibrationBin, ...], float]:
    """Bins of equal width and the expected calibration error; no voxel at all gives one bin that is right."""
    if not confidence.size:
        return (CalibrationBin(confidence=1.0, accuracy=1.0, share=1.0),), 0.0
    index = np.minimum((confidence * BINS).astype(int), BINS - 1)
    bins = []
    for number in np.unique(index):
        chosen = index == number
        mean = min(float(confidence[chosen].mean(dtype=np.float64)), 1.0)
        bins.append(CalibrationBin(confidence=mean, accuracy=float(right[chosen].mean()), share=float(chosen.mean())))
    return tuple(bins), float(sum(b.share * abs(b.confidence - b.accuracy) for b in bins))


def _nll(probabilities: Float[np.ndarray, "k n"], truth: Bool[np.ndarray, "k n"], plan: Plan) -> float:
    """Mean over voxels, in nats; of regions the mean over regions as well."""
    if not truth.size:
        return 0.0
    of_truth = np.where(truth, probabilities, 1 - probabilities) if plan.regions else probabilities[truth]
    return float(-np.log(np.maximum(of_truth, 1e-7)).mean(dtype=np.float64))
