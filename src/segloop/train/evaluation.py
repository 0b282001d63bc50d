"""A bundle scored on cases with expert labels, through the very `Segmenter` that production uses."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from segloop.data.dataset import Case, Dataset
from segloop.errors import InputError
from segloop.infer.bundle import Bundle
from segloop.infer.engine import Segmenter
from segloop.infer.runtimes import Runtime
from segloop.io import files
from segloop.measure.agreement import dice, hausdorff_mm, surface_dice
from segloop.plan import LabelSpec
from segloop.train.examples import seen_by
from segloop.train.scores import CaseScore, LabelScore, ScoredModel, Scores
from segloop.volume import Labels

Progress = Callable[[int, int], None]


def evaluate(  # noqa: PLR0913 - the knobs of one command, all by name
    bundle: Bundle,
    dataset: Dataset,
    case_ids: Sequence[str],
    *,
    allow_training_cases: bool = False,
    runtime: str | Runtime = "auto",
    tta: bool = False,
    tolerance_mm: float = 1.0,
    keep: Path | None = None,
    progress: Progress | None = None,
) -> Scores:
    """Dice, 95 % Hausdorff distance, surface Dice and volumes, per case and per label, on each image's own grid.

    Args:
        bundle: The model.
        dataset: Where the cases and their expert labels are.
        case_ids: The cases to score.
        allow_training_cases: Score cases the model was trained on as well, and mark them.
        runtime: As for `Segmenter`.
        tta: As for `Segmenter`.
        tolerance_mm: Of the surface Dice.
        keep: Folder that the label maps are written to, `<case>.nii.gz`; None keeps none.
        progress: Called with cases done and their total.

    Raises:
        InputError: `bundle.training_case` when the bundle's provenance has the hash of a case's image file or voxels;
            `labels.mismatch` when dataset and model differ in label numbers or names; `input.not_applicable` for an
            image of another kind.
    """
    require_same_labels(bundle.plan.labels, dataset)
    cases = [dataset.case(case_id) for case_id in case_ids]
    trained = training_cases(bundle, dataset, cases)
    if trained and not allow_training_cases:
        raise InputError(
            f"{len(trained)} of {len(cases)} cases were used to train {bundle.manifest.name} "
            f"{bundle.manifest.version}: {', '.join(sorted(trained)[:5])}{' …' if len(trained) > 5 else ''}.",
            code="bundle.training_case",
            found=sorted(trained)[:20],
            expected="cases the model has not seen",
            hint="Score held-out cases (--fold), or mark them with --allow-training-cases.",
        )
    segmenter = Segmenter(bundle, runtime, tta=tta)
    scored = []
    for done, case in enumerate(cases, start=1):
        score, labels = _score(segmenter, dataset, case, tolerance_mm)
        scored.append(score.model_copy(update={"training_case": case.id in trained}))
        if keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            files.write(labels, keep / f"{case.id}.nii.gz")
        if progress is not None:
            progress(done, len(cases))
    return Scores.of(
        scored, bundle.plan.labels, model=scored_model(segmenter), dataset=dataset.name, tolerance_mm=tolerance_mm
    )


def scored_model(segmenter: Segmenter) -> ScoredModel:
    """The bundle of a segmenter and how it was run."""
    manifest = segmenter.bundle.manifest
    return ScoredModel(
        name=manifest.name,
        version=manifest.version,
        digest=segmenter.bundle.digest,
        runtime=segmenter.runtime.name,
        precision=segmenter.runtime.precision,
        mirrored=segmenter.plan.inference.mirror_axes,
    )


def score_labels(
    reference: Labels,
    prediction: Labels,
    specs: Sequence[LabelSpec],
    tolerance_mm: float = 1.0,
    ignore_label: int | None = None,
) -> dict[str, LabelScore]:
    """Every label of one case, by its number.

    Voxels that the expert marked with `ignore_label` count as background in both.

    Raises:
        GeometryMismatch: The two lie on different grids.
    """
    unions = {str(spec.value): (spec.value,) for spec in specs}
    return score_unions(reference, prediction, unions, tolerance_mm, ignore_label)


def score_unions(
    reference: Labels,
    prediction: Labels,
    unions: Mapping[str, Sequence[int]],
    tolerance_mm: float = 1.0,
    ignore_label: int | None = None,
) -> dict[str, LabelScore]:
    """Unions of labels of one case, such as a Plan's regions, by their name.

    Voxels that the expert marked with `ignore_label` count as background in both.

    Raises:
        GeometryMismatch: The two lie on different grids.
    """
    reference.geometry.require_same_grid(prediction.geometry, "Prediction and expert labels")
    spacing, voxel_ml = reference.geometry.spacing_mm, reference.geometry.voxel_ml
    counted = np.True_ if ignore_label is None else reference.array != ignore_label
    scores = {}
    for name, values in unions.items():
        expert, ours = np.isin(reference.array, values), np.isin(prediction.array, values) & counted
        numbers = {
            "dice": dice(expert, ours),
            "hd95_mm": hausdorff_mm(expert, ours, spacing),
            "surface_dice": surface_dice(expert, ours, spacing, tolerance_mm),
        }
        scores[name] = LabelScore.of(numbers, float(ours.sum() * voxel_ml), float(expert.sum() * voxel_ml))
    return scores


def _score(segmenter: Segmenter, dataset: Dataset, case: Case, tolerance_mm: float) -> tuple[CaseScore, Labels]:
    volume, reference = dataset.read(case)
    started = time.perf_counter()
    prediction = segmenter(volume)
    seconds = time.perf_counter() - started
    plan, ours, ignored = segmenter.plan, prediction.labels, dataset.ignore_label
    labels = score_labels(reference, ours, plan.labels, tolerance_mm, ignored)
    unions = {region.name: region.labels for region in plan.regions}
    regions = score_unions(reference, ours, unions, tolerance_mm, ignored)
    return CaseScore(id=case.id, labels=labels, regions=regions, seconds=round(seconds, 4)), ours


def training_cases(bundle: Bundle, dataset: Dataset, cases: Sequence[Case]) -> set[str]:
    """Ids of the cases whose image the model or one of its members was trained on; see `seen_by`."""
    return set(seen_by(bundle, dataset, [case.id for case in cases]))


def require_same_labels(labels: Sequence[LabelSpec], dataset: Dataset) -> None:
    """Refuse a dataset whose labels are not the model's.

    Raises:
        InputError: `labels.mismatch` when numbers or names differ.
    """
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
