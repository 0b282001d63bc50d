"""The stages of a cross-validation, each done once: what is on disk already is not done again."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
from pydantic import ConfigDict, Field, ValidationError

from segloop.data.dataset import Dataset
from segloop.errors import InputError, PlanError
from segloop.infer.bundle import MANIFEST, Bundle
from segloop.infer.engine import Segmenter
from segloop.infer.ensemble import export_ensemble
from segloop.infer.export import reissue
from segloop.infer.runtimes import choose
from segloop.measure.agreement import bootstrap_interval
from segloop.measure.intervals import VolumeInterval
from segloop.plan import Frozen, Plan
from segloop.store import READABLE, make_folder, write_whole
from segloop.train.evaluation import evaluate
from segloop.train.findings import LearningCurve, LearningPoint
from segloop.train.folds import Fold
from segloop.train.growth import learning_curve
from segloop.train.outoffold import Predictions, keep_prediction
from segloop.train.scores import ScoredModel, Scores, read_scores
from segloop.train.subsets import nested_subsets
from segloop.train.validated import validated_card

if TYPE_CHECKING:
    from segloop.train.running import Progress

Record = TypeVar("Record", bound=Frozen)
Split = tuple[tuple[str, ...], tuple[str, ...]]

FINAL = "final"
"""Folder of a fold's bundle with what was chosen; `bundle` beside it stays as trained."""


@dataclass(frozen=True, slots=True)
class Length:
    """How long trainings take; as many epochs as the Plan says without either of the first two.

    Args:
        time_budget_s: Seconds of each training.
        epochs: Epochs of each training.
        learning_s: Seconds of all trainings for the learning curve together; None gives each as much as a fold.
        learning: Whether to make a learning curve.
        every_case: Whether to train on every case as well.
    """

    time_budget_s: float | None = None
    epochs: int | None = None
    learning_s: float | None = None
    learning: bool = False
    every_case: bool = True


@dataclass(frozen=True, slots=True)
class Start:
    """What every training starts from; from drawn weights without either.

    Args:
        init: A model that has seen none of the cases.
        encoder_weights: Weights of the Plan's pretrained encoder: `imagenet`, a file or a URL.
    """

    init: Bundle | None = None
    encoder_weights: str | None = None

    @property
    def name(self) -> str:
        """What tells it from another start; empty for drawn weights."""
        return self.init.digest if self.init else self.encoder_weights or ""

    @property
    def images(self) -> dict[str, str]:
        """SHA-256 of the images that the first weights learnt from, as bundles then name them."""
        if self.init is None:
            return {}
        from segloop.train.transfer import origin_of

        return origin_of(self.init).training_images


class Arrangement(Frozen):
    """What a cross-validation was begun with: `cross-validation.json`.

    Attributes:
        plan: Digest of the Plan.
        images: SHA-256 of each case's image.
        labels: SHA-256 of each case's label file; None in what was begun before they were noted.
        held_out: Case ids of each fold.
        sites: The site that each fold holds out; empty unless folds are sites.
        seed: Of every training.
        time_budget_s: Of each training.
        epochs: Of each training.
        start: What every training starts from; empty for drawn weights.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)

    schema_: Literal[1] = Field(default=1, alias="schema")
    plan: str
    images: dict[str, str]
    labels: dict[str, str] | None = None
    held_out: tuple[tuple[str, ...], ...]
    sites: tuple[str, ...] = ()
    seed: int
    time_budget_s: float | None = None
    epochs: int | None = None
    start: str = ""


@dataclass(frozen=True)
class Stages:
    """One cross-validation in its folder.

    Args:
        plan: The recipe of all trainings.
        dataset: Its cases.
        out: The folder.
        folds: Who is held out when.
        length: Of the trainings.
        start: Of the trainings.
        seed: Of weights, patches and augmentation.
        version: Of the models.
        command: For the record.
        wanted_runtime: What predicts held-out cases; `auto` measures once for all folds.
        told: Given a sentence whenever something begins.
        progress: Told after each epoch of each training.
    """

    plan: Plan
    dataset: Dataset
    out: Path
    folds: tuple[Fold, ...]
    length: Length
    start: Start
    seed: int
    version: str
    command: str
    wanted_runtime: str
    told: Callable[[str], None]
    progress: Progress | None

    @cached_property
    def images(self) -> dict[str, str]:
        """SHA-256 of each case's image."""
        return {case.id: self.dataset.digest(case) for case in self.dataset.cases}

    @cached_property
    def runtime(self) -> str:
        """Name of the runtime that predicts: the networks of all folds are alike."""
        return choose(Bundle(self.folder(0) / "bundle")).name if self.wanted_runtime == "auto" else self.wanted_runtime

    def folder(self, fold: int) -> Path:
        """Of one fold."""
        return self.out / f"fold{fold}"

    def begin(self, resume: bool) -> None:
        """Note what is begun, or make sure that what is gone on with is the same.

        Raises:
            InputError: `usage` when the folder holds a cross-validation and `resume` was not asked for.
            PlanError: `plan.invalid` naming what differs.
        """
        begun = Arrangement(
            plan=self.plan.digest,
            images=self.images,
            labels={case.id: self.dataset.label_digest(case) for case in self.dataset.cases},
            held_out=tuple(fold.held_out for fold in self.folds),
            sites=tuple(fold.site for fold in self.folds if fold.site),
            seed=self.seed,
            time_budget_s=self.length.time_budget_s,
            epochs=self.length.epochs,
            start=self.start.name,
        )
        path = self.out / "cross-validation.json"
        if not path.exists():
            make_folder(self.out)
            write_record(begun, path)
            return
        if not resume:
            raise InputError(
                f"{self.out.name} holds a cross-validation already.",
                code="usage",
                found=self.out.name,
                hint="Add --resume to go on with it, or choose another folder.",
            )
        before = read_record(Arrangement, path)
        if before.labels is None:
            begun = begun.model_copy(update={"labels": None})
        differing = [name for name in Arrangement.model_fields if getattr(before, name) != getattr(begun, name)]
        if differing:
            raise PlanError(
                f"This cross-validation cannot go on: {', '.join(differing)} changed since it was begun.",
                found=differing,
                expected="the dataset and arguments it was begun with",
                hint="Repeat them, or validate into a new folder.",
            )

    def train(self, folder: Path, split: Split, fold: int | None, what: str, budget_s: float | None = None) -> Bundle:
        """The bundle of one training, which goes on where it stopped."""
        place = folder / "bundle"
        wanted = self.start.images | {case: self.images[case] for case in split[0]}
        if (place / MANIFEST).is_file():
            bundle = Bundle(place)
            if bundle.manifest.provenance.training_images == wanted:
                return bundle
        import keras

        from segloop.train.fitting import fit

        self.told(f"{what}: training on {len(split[0])} cases, {len(split[1])} held out")
        fit(
            self.plan,
            self.dataset,
            folder,
            fold=fold,
            split=split,
            time_budget_s=self.length.time_budget_s if budget_s is None else budget_s,
            started=time.monotonic(),
            epochs=self.length.epochs,
            resume=True,
            seed=self.seed,
            init=self.start.init,
            encoder_weights=self.start.encoder_weights,
            version=self.version,
            command=self.command,
            progress=self.progress,
        )
        # The graphs of one training would stay in memory during the next.
        keras.backend.clear_session()
        gc.collect()
        return Bundle(place)

    def train_folds(self) -> None:
        """Every fold's bundle."""
        for fold in self.folds:
            self.train(self.folder(fold.number), (fold.training, fold.held_out), fold.number, self._name(fold))

    def predict(self) -> Predictions:
        """Every case as the model saw it that did not learn from it."""
        for fold in self.folds:
            folder = self.folder(fold.number)
            missing = [c for c in fold.held_out if not (folder / "held-out" / f"{c}.npz").is_file()]
            if missing:
                self.told(f"{self._name(fold)}: predicting {len(missing)} held-out cases")
                segmenter = Segmenter(Bundle(folder / "bundle"), self.runtime)
                for case in missing:
                    file = folder / "held-out" / f"{case}.npz"
                    keep_prediction(segmenter, self.dataset, self.dataset.case(case), fold.number, file)
        folders = (self.folder(fold.number) for fold in self.folds)
        return Predictions(self.plan, [(Bundle(folder / "bundle"), folder / "held-out") for folder in folders])

    def score(self, plan: Plan) -> list[Scores]:
        """Every fold's held-out cases under the chosen Plan, through the production `Segmenter`."""
        scored = []
        for fold in self.folds:
            folder = self.folder(fold.number)
            bundle = self._final(folder, plan)
            path = folder / "metrics.json"
            known = read_scores(path) if path.is_file() else None
            if known is None or known.model.digest != bundle.digest:
                self.told(f"{self._name(fold)}: scoring {len(fold.held_out)} held-out cases")
                keep = folder / "predictions"
                known = evaluate(bundle, self.dataset, fold.held_out, runtime=self.runtime, keep=keep)
                write_record(known, path)
            scored.append(known)
        return scored

    def pooled(self, scored: Sequence[Scores], ensemble: Bundle | None = None) -> Scores:
        """All held-out cases together, in the dataset's order, under the name of the ensemble."""
        cases = {case.id: case for one in scored for case in one.cases}
        first = scored[0].model
        digest = "" if ensemble is None else ensemble.digest
        model = ScoredModel(
            name=first.name,
            version=first.version,
            digest=digest,
            runtime=first.runtime,
            precision=first.precision,
            mirrored=first.mirrored,
        )
        ordered = [cases[case.id] for case in self.dataset.cases]
        tolerance = scored[0].tolerance_mm
        return Scores.of(ordered, self.plan.labels, model=model, dataset=self.dataset.name, tolerance_mm=tolerance)

    def together(self, plan: Plan, pooled: Scores, intervals: Sequence[VolumeInterval]) -> Bundle:
        """The ensemble of the folds' final bundles."""
        self.told(f"ensemble of {len(self.folds)} folds")
        members = [Bundle(self.folder(fold.number) / FINAL) for fold in self.folds]
        card = validated_card(
            members[0].card,
            pooled,
            intervals,
            f"An ensemble of the models of {len(members)} folds. The figures are those of its members, one by one: no "
            "case is new to all of them.",
        )
        return export_ensemble(
            self.out / "ensemble",
            members,
            # Each member's probabilities are calibrated by its own temperature before they are averaged.
            plan=plan.changed({"inference.temperature": 1.0}),
            version=self.version,
            card=card,
            metrics=_metrics(pooled),
            intervals=intervals,
        )

    def every_case(self, plan: Plan, pooled: Scores, intervals: Sequence[VolumeInterval]) -> Bundle:
        """The model trained on every case, with what was chosen out of fold."""
        ids = tuple(case.id for case in self.dataset.cases)
        trained = self.train(self.out / "all", (ids, ()), None, "every case")
        said = f"These weights were trained on every case. The same plan was validated in {len(self.folds)} folds."
        card = validated_card(trained.card, pooled, intervals, said)
        return reissue(
            trained, self.out / "bundle", card=card, metrics=_metrics(pooled), plan=plan, intervals=intervals
        )

    def learning(self) -> LearningCurve:
        """Models of nested parts of the first fold's training cases, scored on the cases that it holds out."""
        fold = self.folds[0]
        parts = nested_subsets(self.dataset, fold.training, self.seed)
        each = self.length.time_budget_s if self.length.learning_s is None else self.length.learning_s / len(parts)
        points = []
        for part in parts:
            folder = self.out / "learning" / str(len(part))
            what = f"learning curve, {len(part)} cases"
            bundle = self.train(folder, (part, fold.held_out), fold.number, what, each)
            path = folder / "metrics.json"
            if not path.is_file():
                write_record(evaluate(bundle, self.dataset, fold.held_out, runtime=self.runtime), path)
            dice = [case.mean_dice for case in read_scores(path).cases if case.mean_dice is not None]
            interval = bootstrap_interval(dice)
            points.append(LearningPoint(cases=len(part), dice=float(np.mean(dice)), interval=interval))
        return learning_curve(points)

    def slowdown(self, ensemble: Bundle) -> float:
        """Time of the ensemble over that of one member, on the dataset's first image; the second run of each counts."""
        volume, _ = self.dataset.read(self.dataset.cases[0])
        seconds = []
        for bundle in (ensemble, Bundle(self.folder(0) / FINAL)):
            segmenter = Segmenter(bundle, self.runtime)
            seconds.append([sum(segmenter(volume).seconds.values()) for _ in range(2)][-1])
        return seconds[0] / seconds[1]

    def _final(self, folder: Path, plan: Plan) -> Bundle:
        place = folder / FINAL
        if (place / MANIFEST).is_file():
            bundle = Bundle(place)
            if bundle.plan == plan:
                return bundle
        trained = Bundle(folder / "bundle")
        return reissue(trained, place, card=trained.card, metrics=trained.manifest.metrics, plan=plan)

    @staticmethod
    def _name(fold: Fold) -> str:
        return f"fold {fold.number}" + (f" (site {fold.site})" if fold.site else "")


def write_record(record: Frozen, path: Path) -> None:
    """The record as indented JSON, whole or not at all."""
    write_whole(record.model_dump_json(indent=2, by_alias=True).encode() + b"\n", path, READABLE)


def read_record(kind: type[Record], path: Path) -> Record:
    """A record that an earlier command wrote.

    Raises:
        InputError: `input.unreadable` when the file is no such record.
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as fault:
        raise InputError(
            f"{path.name} cannot be read ({type(fault).__name__}).",
            found=path.name,
            hint="Remove it; the next run makes it again.",
        ) from fault


def _metrics(pooled: Scores) -> dict[str, float]:
    return {} if pooled.mean_dice is None else {"out_of_fold_mean_dice": pooled.mean_dice}
