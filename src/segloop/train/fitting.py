"""One training, from a Plan and a dataset to a bundle."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

import segloop
from segloop.data.dataset import Dataset
from segloop.data.feed import training_feed, validation_feed
from segloop.errors import ModelError
from segloop.infer.export import export_bundle
from segloop.nets.objectives import DiceCrossEntropy, deep_supervision
from segloop.nets.unet import build_unet, deploy
from segloop.plan import Plan, Provenance
from segloop.train import checkpoint
from segloop.train.card import model_card
from segloop.train.checkpoint import State
from segloop.train.examples import load_examples, split_ids
from segloop.train.loop import (
    Batches,
    Checkpoints,
    Pacing,
    Progress,
    Reporting,
    Run,
    Validation,
    average_into,
    patch_dice,
)
from segloop.train.precision import installed_digest, instruction_set, policy, threads
from segloop.train.report import html_report
from segloop.train.schedule import Clock, Schedule, reserve_s
from segloop.train.selftest import selftest_images

CHECKPOINT_STEPS = 25
_MOST_EPOCHS = 1_000_000


@dataclass(frozen=True, slots=True)
class FitResult:
    """What a training left.

    Attributes:
        bundle: Folder of the bundle.
        report: The HTML page.
        steps: Optimiser steps done, over all commands that worked on the run.
        dice: Dice by label name on held-out patches; empty when nothing was held out.
        seconds: From the start of the command to the written bundle.
    """

    bundle: Path
    report: Path
    steps: int
    dice: dict[str, float]
    seconds: float


def fit(  # noqa: PLR0913 - the knobs of one command, all by name
    plan: Plan,
    dataset: Dataset,
    out: Path,
    *,
    fold: int | None = None,
    time_budget_s: float | None = None,
    started: float | None = None,
    epochs: int | None = None,
    resume: bool = False,
    seed: int | None = None,
    version: str = "0.1.0",
    command: str = "",
    progress: Progress | None = None,
) -> FitResult:
    """Train and write `out/bundle`, `out/report.html`, TensorBoard logs in `out/logs`, and `out/checkpoint`.

    Args:
        plan: The recipe.
        dataset: Its cases.
        out: Folder of the run.
        fold: Fold of the Plan's split to hold out; None trains on every case.
        time_budget_s: Seconds from `started` to the written bundle. The first tenth, at most a minute, times the
            steps; the budget then is a number of steps, and the learning rate reaches 0 with the last.
        started: `time.monotonic()` when the command began; now if None.
        epochs: Instead of the Plan's; no effect under a time budget.
        resume: Go on from `out/checkpoint` where there is one; time spent before counts towards a budget. A finished
            run that is given a larger budget goes on as well.
        seed: Of weights, patches and augmentation; the Plan's if None.
        version: Of the model.
        command: The command line for the record, without paths.
        progress: Told after each epoch.

    Raises:
        PlanError: The Plan does not suit the dataset, or a resumed run was begun with another plan, fold or seed.
        ModelError: `train.diverged`; `backend.mismatch` when Keras does not run on TensorFlow.
        InputError: A case cannot be read.
        ServiceError: `disk.full`.
    """
    started = time.monotonic() if started is None else started
    _require_tensorflow()
    seed = plan.training.seed if seed is None else seed
    found = checkpoint.peek(out / "checkpoint") if resume else None
    if found:
        checkpoint.require_same_run(found, plan.digest, seed, fold)
    state = found or State(plan=plan.digest, seed=seed, fold=fold)
    train_ids, held_ids = split_ids(plan, dataset, fold)
    examples = load_examples(plan, dataset, train_ids)
    held = validation_feed(load_examples(plan, dataset, held_ids), plan)

    precision = policy(plan.training.precision)
    model = compiled(plan, seed, precision)
    if found:
        checkpoint.restore(out / "checkpoint", model)
    run = _run(plan, state, time_budget_s, epochs, started)
    judge = deploy(build_unet(plan.network, seed=seed, dtype=precision))
    feed = training_feed(examples, plan, seed, start=state.step, copies=len(model.outputs))
    del examples
    _train(run, model, judge, feed, held, out, progress)

    checkpoint.save(out / "checkpoint", run.snapshot(), model)
    average_into(judge, model)
    dice = patch_dice(judge, held, plan) if held else {}
    provenance = _provenance(run, dataset, train_ids, precision, command)
    bundle = out / "bundle"
    exact = deploy(build_unet(plan.network, seed=seed))
    average_into(exact, model)
    export_bundle(
        bundle,
        plan,
        exact,
        provenance=provenance,
        card=model_card(plan, provenance, version, dice, len(held_ids), len(dataset.cases)),
        version=version,
        selftest=selftest_images(plan, exact, judge),
        metrics={f"patch_dice_{name}": value for name, value in dice.items()},
    )
    report = out / "report.html"
    points = [*run.points[:-1], run.points[-1].model_copy(update={"dice": dice})] if run.points else []
    report.write_text(html_report(plan, provenance, version, points), "utf-8")
    return FitResult(bundle, report, run.step, dice, time.monotonic() - started)


def _run(plan: Plan, state: State, budget_s: float | None, epochs: int | None, started: float) -> Run:
    """The run as it stands before its first (or next) step."""
    earlier = state.seconds

    def elapsed_s() -> float:
        return earlier + time.monotonic() - started

    if budget_s is None:
        clock, total = Clock(), (epochs or plan.training.epochs) * plan.training.steps_per_epoch
        schedule = Schedule(total)
    else:
        clock = Clock(budget_s, reserve_s(budget_s))
        # A run that is given more time than before, finished or not, is planned anew at the pace it then finds.
        same = budget_s <= state.budget_s
        schedule = Schedule(state.total, state.anchor_step, state.anchor_progress) if same else Schedule(0)
    return Run(plan, state, clock, schedule, elapsed_s, step=state.step, points=list(state.history))


def _train(
    run: Run,
    model: keras.Model,
    judge: keras.Model,
    feed: tf.data.Dataset,
    held: Batches,
    out: Path,
    progress: Progress | None,
) -> None:
    if run.done:
        return
    length = run.plan.training.steps_per_epoch
    first = run.step // length
    callbacks: list[Any] = [
        Pacing(run),
        Checkpoints(run, out / "checkpoint", CHECKPOINT_STEPS),
        Validation(run, judge, held),
        keras.callbacks.TensorBoard(str(out / "logs"), write_graph=False, update_freq="epoch"),
    ]
    if progress is not None:
        callbacks.append(Reporting(run, progress))
    last = math.ceil(run.schedule.total / length) if math.isinf(run.clock.budget_s) else _MOST_EPOCHS
    model.fit(
        feed,
        initial_epoch=first,
        epochs=max(last, first + 1),
        steps_per_epoch=length,
        callbacks=callbacks,
        verbose=0,
        shuffle=False,
    )


def compiled(plan: Plan, seed: int, precision: str) -> keras.Model:
    """The training network with loss and optimiser; XLA only on a GPU, where it helps."""
    spec = plan.training
    model = build_unet(plan.network, seed=seed, dtype=precision)
    weights = deep_supervision(len(model.outputs))
    loss = [DiceCrossEntropy(plan.network.classes, spec.dice_weight, spec.cross_entropy_weight) for _ in weights]
    optimizer = keras.optimizers.AdamW(
        spec.learning_rate,
        weight_decay=spec.weight_decay,
        global_clipnorm=spec.gradient_norm,
        use_ema=spec.ema > 0,
        # Keras checks the range even where averaging is off.
        ema_momentum=spec.ema or 0.99,
    )
    # Shrinking scale and shift of a normalisation, or a bias, does not regularise; it only biases.
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    optimizer.build(model.trainable_variables)
    gpu = bool(tf.config.list_physical_devices("GPU"))
    model.compile(optimizer, loss=loss, loss_weights=list(weights), jit_compile=gpu)
    return model


def _provenance(run: Run, dataset: Dataset, ids: tuple[str, ...], precision: str, command: str) -> Provenance:
    return Provenance(
        dataset=dataset.name,
        licence=dataset.licence,
        training_images={case_id: dataset.digest(dataset.case(case_id)) for case_id in ids},
        fold=run.state.fold,
        folds=None if run.state.fold is None else run.plan.training.folds,
        seed=run.state.seed,
        steps=run.step,
        seconds=round(run.elapsed_s(), 1),
        command=command,
        segloop=segloop.__version__,
        lock=installed_digest(),
        tensorflow=tf.__version__,
        keras=keras.__version__,
        instruction_set=instruction_set(),
        precision=precision,
        threads=threads(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _require_tensorflow() -> None:
    if keras.config.backend() != "tensorflow":
        raise ModelError(
            f"Keras runs on {keras.config.backend()}; training needs TensorFlow.",
            code="backend.mismatch",
            found=keras.config.backend(),
            expected="tensorflow",
            hint="Set KERAS_BACKEND=tensorflow before the program starts.",
        )
