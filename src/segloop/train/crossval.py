"""Folds, out-of-fold metrics, what may be chosen from them, and the models that come out of it.

RUN/cross-validation.json    what was begun: plan, folds, images; a run only goes on with the same
RUN/fold<K>/                 one training; `bundle` as trained, `final` with what was chosen, `metrics.json`,
                             `predictions` (label maps) and `held-out` (probabilities, to choose from)
RUN/calibration.json, RUN/postprocessing.json, RUN/plan.json
RUN/all/, RUN/learning/<N>/  the trainings on every case, and on N cases
RUN/bundle, RUN/ensemble     the model of every case; the folds' models together
RUN/metrics.json, RUN/report.html
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from segloop.data.dataset import Dataset
from segloop.infer.bundle import Bundle
from segloop.measure.intervals import VolumeInterval
from segloop.plan import Frozen, Plan
from segloop.store import READABLE, write_whole
from segloop.train import checkpoint
from segloop.train.calibration import Calibration, calibrate
from segloop.train.evaluation import evaluate, score_labels
from segloop.train.examples import require_unseen
from segloop.train.findings import Fact, LearningCurve, ReportPage, Suspect, ValidationResult, volume_pairs
from segloop.train.folds import Fold, torn_apart
from segloop.train.intervals import volume_intervals
from segloop.train.outoffold import Predictions
from segloop.train.postchoice import PostChoice, choose
from segloop.train.report import html_page
from segloop.train.scores import PairedDifference, ScoredModel, Scores, paired_difference
from segloop.train.stages import Length, Stages, Start, read_record, write_record
from segloop.train.suspects import suspects
from segloop.train.validated import Drawn, facts
from segloop.train.worst import worst_cases

if TYPE_CHECKING:
    from segloop.train.running import Progress

__all__ = [
    "Length",
    "PairedDifference",
    "ScoredModel",
    "Scores",
    "Validated",
    "cross_validate",
    "evaluate",
    "paired_difference",
    "score_labels",
]

Record = TypeVar("Record", bound=Frozen)


class Validated(Frozen):
    """What a cross-validation left.

    Attributes:
        scores: File of the out-of-fold metrics.
        ensemble: Folder of the folds' models together.
        bundle: Folder of the model of every case; None when it was not asked for.
        report: The page.
        mean_dice: Out of fold.
        facts: What was chosen, and what the ensemble costs.
        intervals: Of volumes.
    """

    scores: Path
    ensemble: Path
    bundle: Path | None
    report: Path
    mean_dice: float | None
    facts: tuple[Fact, ...]
    intervals: tuple[VolumeInterval, ...]


def cross_validate(  # noqa: PLR0913 - the knobs of one command, all by name
    plan: Plan,
    dataset: Dataset,
    out: Path,
    folds: Sequence[Fold],
    *,
    length: Length | None = None,
    resume: bool = False,
    seed: int | None = None,
    version: str = "0.1.0",
    command: str = "",
    runtime: str = "auto",
    init: Bundle | None = None,
    encoder_weights: str | None = None,
    told: Callable[[str], None] = lambda text: None,
    progress: Progress | None = None,
) -> Validated:
    """Train every fold, score what it held out, choose from that, and write the models and the report.

    Args:
        plan: The recipe of all trainings.
        dataset: Its cases.
        out: Folder of the run.
        folds: As `train.folds.make_folds` gives them.
        length: Of each training.
        resume: Go on with what `out` holds; without it an `out` that holds a cross-validation is refused.
        seed: Of weights, patches and augmentation; the Plan's if None.
        version: Of the models.
        command: The command line for the record, without paths.
        runtime: What predicts held-out cases; `auto` measures once for all folds.
        init: Model whose weights every training starts from; it must not have seen a single case.
        encoder_weights: Weights of the Plan's pretrained encoder, as `fit` takes them.
        told: Given a sentence whenever something begins.
        progress: Told after each epoch of each training, as `fit` tells it.

    Raises:
        InputError: `usage` when `out` holds a cross-validation; `input.unreadable` when a case cannot be read;
            `dataset.leak` when `init` has learnt from one of the cases.
        PlanError: `plan.invalid` when `out` holds another cross-validation; whatever `fit` refuses.
        ModelError, ServiceError: As `fit` raises them.
    """
    plan = plan.changed({"training.folds": len(folds)})
    seed = plan.training.seed if seed is None else seed
    if init is not None:
        require_unseen(init, dataset, [case.id for case in dataset.cases])
    begun = Start(init, encoder_weights)
    length = length or Length()
    run = Stages(plan, dataset, out, tuple(folds), length, begun, seed, version, command, runtime, told, progress)
    run.begin(resume)
    for fold in folds:
        for text in torn_apart(dataset, fold.training, fold.held_out):
            told(f"warning  fold {fold.number}: {text}")
    run.train_folds()
    predictions = run.predict()
    calibration, choice, doubtful = _chosen(run, predictions)
    scored = run.score(choice.plan)
    intervals = volume_intervals([one.cases for one in scored], plan.labels)
    ensemble = run.together(choice.plan, run.pooled(scored), intervals)
    pooled = run.pooled(scored, ensemble)
    write_record(pooled, out / "metrics.json")
    bundle = run.every_case(choice.plan, pooled, intervals) if run.length.every_case else None
    curve = run.learning() if run.length.learning else None
    told("report")
    said = facts(choice, calibration, intervals, pooled, dataset, ensemble, run.slowdown(ensemble))
    page = _page(
        run,
        choice=choice,
        calibration=calibration,
        pooled=pooled,
        doubtful=doubtful,
        said=said,
        bundle=bundle or ensemble,
        curve=curve,
    )
    write_whole(html_page(page).encode(), out / "report.html", READABLE)
    return Validated(
        scores=out / "metrics.json",
        ensemble=ensemble.path,
        bundle=None if bundle is None else bundle.path,
        report=out / "report.html",
        mean_dice=pooled.mean_dice,
        facts=said,
        intervals=intervals,
    )


def _chosen(run: Stages, predictions: Predictions) -> tuple[Calibration, PostChoice, tuple[Suspect, ...]]:
    """Temperature, threshold and clean-up, and the labels in doubt: all from held-out cases."""
    run.told(f"choosing from {len(predictions)} out-of-fold predictions")
    ignore = run.plan.training.ignore_label
    calibration = _once(run.out / "calibration.json", Calibration, lambda: calibrate(predictions, ignore))
    temperature = calibration.curve.temperature
    choice = _once(run.out / "postprocessing.json", PostChoice, lambda: choose(predictions, temperature, ignore))
    write_whole(choice.plan.to_json().encode(), run.out / "plan.json", READABLE)
    return calibration, choice, suspects(predictions, temperature, ignore)


def _once(path: Path, kind: type[Record], make: Callable[[], Record]) -> Record:
    """The record at `path`, made and written when there is none."""
    if not path.is_file():
        write_record(make(), path)
    return read_record(kind, path)


def _page(  # noqa: PLR0913 - one argument per part of the page
    run: Stages,
    *,
    choice: PostChoice,
    calibration: Calibration,
    pooled: Scores,
    doubtful: Sequence[Suspect],
    said: Sequence[Fact],
    bundle: Bundle,
    curve: LearningCurve | None,
) -> ReportPage:
    """Everything that was found, with the curves of the training on every case, else of the first fold."""
    maps = {c: run.folder(f.number) / "predictions" / f"{c}.nii.gz" for f in run.folds for c in f.held_out}
    drawn = Drawn(run.dataset, choice.plan, maps)
    shown = run.out / "all" if run.length.every_case else run.folder(0)
    state = checkpoint.peek(shown / "checkpoint")
    return ReportPage(
        plan=choice.plan,
        provenance=bundle.manifest.provenance,
        version=run.version,
        points=() if state is None else state.history,
        notices=() if state is None else state.notices,
        validation=ValidationResult(
            source="out-of-fold",
            scores=pooled,
            volumes=volume_pairs(pooled),
            worst=worst_cases(pooled, choice.plan.labels, drawn),
            calibration=calibration.curve,
            learning=curve,
            suspects=drawn.suspects(doubtful),
            facts=tuple(said),
        ),
    )
