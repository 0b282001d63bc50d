"""A bundle scored on cases with expert labels, through the very `Segmenter` that production uses."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from segloop.data.dataset import Case, Dataset
from segloop.errors import InputError
from segloop.infer.bundle import Bundle
from segloop.infer.engine import Segmenter
from segloop.infer.runtimes import Runtime
from segloop.measure.agreement import dice, hausdorff_mm, surface_dice
from segloop.plan import LabelSpec
from segloop.train.scores import CaseScore, LabelScore, PairedDifference, ScoredModel, Scores, paired_difference
from segloop.volume import Labels

__all__ = ["PairedDifference", "ScoredModel", "Scores", "evaluate", "paired_difference"]

Progress = Callable[[int, int], None]


def evaluate(
    bundle: Bundle,
    dataset: Dataset,
    case_ids: Sequence[str],
    *,
    allow_training_cases: bool = False,
    runtime: str | Runtime = "auto",
    tolerance_mm: float = 1.0,
    progress: Progress | None = None,
) -> Scores:
    """Dice, 95 % Hausdorff distance, surface Dice and volumes, per case and per label, on each image's own grid.

    Args:
        bundle: The model.
        dataset: Where the cases and their expert labels are.
        case_ids: The cases to score.
        allow_training_cases: Score cases the model was trained on as well, and mark them.
        runtime: As for `Segmenter`.
        tolerance_mm: Of the surface Dice.
        progress: Called with cases done and their total.

    Raises:
        InputError: `bundle.training_case` when the bundle's provenance has the hash of a case's image;
            `labels.mismatch` when dataset and model differ in label numbers or names; `input.not_applicable` for an
            image of another kind.
    """
    _require_same_labels(bundle.plan.labels, dataset)
    cases = [dataset.case(case_id) for case_id in case_ids]
    trained = _training_cases(bundle, dataset, cases)
    if trained and not allow_training_cases:
        raise InputError(
            f"{len(trained)} of {len(cases)} cases were used to train {bundle.manifest.name} "
            f"{bundle.manifest.version}: {', '.join(sorted(trained)[:5])}{' …' if len(trained) > 5 else ''}.",
            code="bundle.training_case",
            found=sorted(trained)[:20],
            expected="cases the model has not seen",
            hint="Score held-out cases (--fold), or mark them with --allow-training-cases.",
        )
    segmenter = Segmenter(bundle, runtime)
    scored = []
    for done, case in enumerate(cases, start=1):
        scored.append(_score(segmenter, dataset, case, tolerance_mm, training=case.id in trained))
        if progress is not None:
            progress(done, len(cases))
    model = ScoredModel(
        name=bundle.manifest.name,
        version=bundle.manifest.version,
        digest=bundle.digest,
        runtime=segmenter.runtime.name,
        precision=segmenter.runtime.precision,
    )
    return Scores.of(scored, bundle.plan.labels, model=model, dataset=dataset.name, tolerance_mm=tolerance_mm)


def score_labels(
    reference: Labels, prediction: Labels, specs: Sequence[LabelSpec], tolerance_mm: float = 1.0
) -> dict[str, LabelScore]:
    """Every label of one case, by its number.

    Raises:
        GeometryMismatch: The two lie on different grids.
    """
    reference.geometry.require_same_grid(prediction.geometry, "Prediction and expert labels")
    spacing, voxel_ml = reference.geometry.spacing_mm, reference.geometry.voxel_ml
    scores = {}
    for spec in specs:
        expert, ours = reference.array == spec.value, prediction.array == spec.value
        numbers = {
            "dice": dice(expert, ours),
            "hd95_mm": hausdorff_mm(expert, ours, spacing),
            "surface_dice": surface_dice(expert, ours, spacing, tolerance_mm),
        }
        scores[str(spec.value)] = LabelScore.of(numbers, float(ours.sum() * voxel_ml), float(expert.sum() * voxel_ml))
    return scores


def _score(segmenter: Segmenter, dataset: Dataset, case: Case, tolerance_mm: float, *, training: bool) -> CaseScore:
    volume, reference = dataset.read(case)
    started = time.perf_counter()
    prediction = segmenter(volume)
    seconds = time.perf_counter() - started
    labels = score_labels(reference, prediction.labels, segmenter.bundle.plan.labels, tolerance_mm)
    return CaseScore(id=case.id, labels=labels, seconds=round(seconds, 4), training_case=training)


def _training_cases(bundle: Bundle, dataset: Dataset, cases: Sequence[Case]) -> set[str]:
    seen = set(bundle.manifest.provenance.training_images.values())
    return {case.id for case in cases if dataset.digest(case) in seen} if seen else set()


def _require_same_labels(labels: Sequence[LabelSpec], dataset: Dataset) -> None:
    ours = {spec.value: spec.name for spec in labels}
    theirs = dataset.label_names
    if {number: name.casefold() for number, name in ours.items()} != {n: name.casefold() for n, name in theirs.items()}:
        raise InputError(
            f"The model's labels are {ours}; the dataset {dataset.name} has {theirs}.",
            code="labels.mismatch",
            found={str(number): name for number, name in theirs.items()},
            expected={str(number): name for number, name in ours.items()},
            hint="Give the dataset's labels the model's numbers and names.",
        )
