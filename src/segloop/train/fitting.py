"""One training, from a Plan and a dataset to a bundle."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras

from segloop.data.dataset import Dataset
from segloop.data.feed import Example, training_feed, validation_feed
from segloop.errors import PlanError
from segloop.infer.bundle import Bundle
from segloop.nets.unet import build_unet, deploy
from segloop.plan import Plan
from segloop.train import checkpoint
from segloop.train.board import board_callbacks
from segloop.train.cascade import SHARE, first_stage
from segloop.train.checkpoint import Notice, State
from segloop.train.collapse import Collapse, probe
from segloop.train.compiling import begin_from, compiled, kept_origin, origin_given, require_backend
from segloop.train.examples import cases_digest, load_examples, seen_by, split_ids, voxels_of
from segloop.train.folds import torn_apart
from segloop.train.loop import (
    Batches,
    Checkpoints,
    Pacing,
    Progress,
    Reporting,
    Run,
    Step,
    Validation,
    follower,
    train,
)
from segloop.train.precision import machine, policy
from segloop.train.schedule import Clock, Schedule, finishing_steps, reserve_s
from segloop.train.stopping import FILE, Ending, Signals
from segloop.train.team import ALONE, Team
from segloop.train.transfer import TransferReport
from segloop.train.unfreezing import Unfreezing

CHECKPOINT_STEPS = 25


@dataclass(frozen=True, slots=True)
class FitResult:
    """What a training left.

    Attributes:
        bundle: Folder of the bundle; None on JAX, and for the workers but the first, which write none.
        report: The HTML page; None where there is no bundle.
        steps: Optimiser steps done, over all commands that worked on the run.
        dice: Dice by label name on held-out patches; empty when nothing was held out.
        seconds: From the start of the command to the written bundle.
        notices: Warnings of the training, over all commands that worked on the run.
    """

    bundle: Path | None
    report: Path | None
    steps: int
    dice: dict[str, float]
    seconds: float
    notices: tuple[Notice, ...] = ()


def fit(  # noqa: PLR0913 - the knobs of one command, all by name
    plan: Plan,
    dataset: Dataset,
    out: Path,
    *,
    fold: int | None = None,
    split: tuple[tuple[str, ...], tuple[str, ...]] | None = None,
    time_budget_s: float | None = None,
    started: float | None = None,
    epochs: int | None = None,
    resume: bool = False,
    seed: int | None = None,
    init: Bundle | None = None,
    encoder_weights: str | None = None,
    version: str = "0.1.0",
    command: str = "",
    progress: Progress | None = None,
    reading: Callable[[int, int], None] | None = None,
    transferred: Callable[[TransferReport], None] | None = None,
) -> FitResult:
    """Train and write `out/bundle`, `out/report.html`, TensorBoard logs in `out/logs`, and `out/checkpoint`.

    A file `out/stop` ends training after the step in progress; everything is written all the same, and the file is
    removed. SIGINT and SIGTERM end it there as well, with a checkpoint to resume from and nothing else. On JAX the
    checkpoint is all that is written: resumed on TensorFlow, with no step left, it becomes a bundle.

    Args:
        plan: The recipe.
        dataset: Its cases.
        out: Folder of the run.
        fold: Fold of the Plan's split to hold out; None trains on every case.
        split: Ids to train on and ids held out, instead of what the Plan's split gives for `fold`.
        time_budget_s: Seconds from `started` to the written bundle. The first tenth, at most a minute, times the
            steps; the budget then is a number of steps, and the learning rate reaches 0 with the last.
        started: `time.monotonic()` when the command began; now if None.
        epochs: Instead of the Plan's; no effect under a time budget.
        resume: Go on from `out/checkpoint` where there is one; time spent before counts towards a budget. A finished
            run that is given a larger budget goes on as well.
        seed: Of weights, patches and augmentation; the Plan's if None.
        init: Model whose weights a fresh run starts from, as far as they fit (`train.transfer`); a resumed run goes on
            with its own.
        encoder_weights: Weights of the Plan's pretrained encoder: `imagenet` or a file; None draws them.
        version: Of the model.
        command: The command line for the record, without paths.
        progress: Told after each epoch, and about every second.
        reading: Told how many cases are read, and of how many.
        transferred: Told what a fresh run took over from `init` or `encoder_weights`, before it trains.

    Raises:
        PlanError: The Plan does not suit the dataset, or a resumed run was begun with another plan, fold, seed or
            other cases.
        ModelError: `train.diverged`; `train.collapsed`; `backend.mismatch` when Keras runs on neither TensorFlow nor
            JAX.
        InputError: A case cannot be read; names it.
        ServiceError: `disk.full`; `worker.lost`.
        KeyboardInterrupt: A signal came; the checkpoint is written.
    """
    started = time.monotonic() if started is None else started
    backend = require_backend()
    # Workers must find each other before anything is computed, and TensorFlow then listens to signals as well.
    team = _team(backend, plan)
    seed = plan.training.seed if seed is None else seed
    with Signals() as signals:
        training, held_out = split or split_ids(plan, dataset, fold)
        cases = cases_digest(dataset, training, held_out)
        found = _resumed(out, plan, seed, fold, cases) if resume else None
        source = None if found else origin_given(plan, init, encoder_weights)
        state = found or State(
            plan=plan.digest,
            seed=seed,
            fold=fold,
            pretrained=source is not None,
            cases=cases,
            notices=tuple(_leaks(dataset, training, held_out, init)),
        )
        guides, start, budget_s = None, started, time_budget_s
        if plan.coarse is not None:
            _require_alone(backend, team)
            same = {"fold": fold, "split": split, "epochs": epochs, "seed": seed, "version": version}
            told = {"started": started, "command": command, "progress": progress, "reading": reading}
            guides = first_stage(fit, plan, out, resume=resume, budget_s=time_budget_s, dataset=dataset, **same, **told)
            # The second network's schedule is its own: it begins at 0 when the first one is done.
            start, budget_s = time.monotonic(), None if time_budget_s is None else (1 - SHARE) * time_budget_s
        run = _run(plan, state, budget_s, epochs, start, len(held_out))
        finished = bool(team.first(_nothing_left(run, out)))
        work = [] if finished else load_examples(plan, dataset, training, guides, reading, folder=out)
        held = validation_feed(load_examples(plan, dataset, held_out, guides, folder=out), plan) if team.chief else []

        precision = policy(plan.training.precision)
        model = compiled(plan, seed, precision, pretrained=state.pretrained)
        if found:
            checkpoint.restore(out / "checkpoint", model)
        elif source is not None:
            began = begin_from(model, plan, source, out)
            if transferred is not None:
                transferred(began)
        judge = deploy(build_unet(plan.network, seed=seed, dtype=precision))
        if work:
            about = {"machine": machine(precision), "voxels": voxels_of(work, training)}
            run.state = run.state.model_copy(update=about)
            run, step = _stepping(run, model, work, team)
            callbacks = _callbacks(run, judge, work, held, out, signals, progress)
            work = []  # what training reads is a copy of its own
            train(run, model, step, callbacks)
            if team.chief:
                checkpoint.save(out / "checkpoint", run.snapshot(), model)
            if run.interrupted:
                raise KeyboardInterrupt(f"Interrupted after step {run.step}; the same command with --resume goes on.")
        seconds = time.monotonic() - started
        if backend != "tensorflow" or not team.chief:
            return FitResult(None, None, run.step, run.dice, seconds, tuple(run.notices))
        from segloop.train.finishing import Record, write_results

        origin, coarse = kept_origin(out) if state.pretrained else None, guides.bundle if guides else None
        record = Record(dataset, training, held_out, version, command, origin, coarse)
        bundle, report, dice = write_results(run, model, judge, held, record, out)
        (out / FILE).unlink(missing_ok=True)
        return FitResult(bundle, report, run.step, dice, time.monotonic() - started, tuple(run.notices))


def _resumed(out: Path, plan: Plan, seed: int, fold: int | None, cases: str) -> State | None:
    """The state to go on from; None where there is none yet."""
    found = checkpoint.peek(out / "checkpoint")
    if found:
        checkpoint.require_same_run(found, plan.digest, seed, fold, cases)
    return found


def _leaks(dataset: Dataset, training: Sequence[str], held_out: Sequence[str], init: Bundle | None) -> Iterator[Notice]:
    """Why scores of the cases held out would be too good."""
    for text in torn_apart(dataset, training, held_out):
        yield Notice(kind="patients", step=0, text=text)
    if init is not None and (known := seen_by(init, dataset, held_out)):
        text = (
            f"{init.manifest.name} {init.manifest.version}, whose weights the training starts from, has learnt from "
            f"{len(known)} of the {len(held_out)} cases held out ({', '.join(known[:4])}), so that their Dice is too "
            "good and `segloop evaluate` refuses them. Start from a model that has not seen them."
        )
        yield Notice(kind="init-leak", step=0, text=text)


def _require_alone(backend: str, team: Team) -> None:
    if backend != "tensorflow" or team is not ALONE:
        raise PlanError(
            "A cascade is trained by one process on TensorFlow, as the second network learns from the first.",
            found={"backend": backend, "workers": team.workers},
            expected={"backend": "tensorflow", "workers": 1},
            hint="Train plan.coarse and the second network there, or plan with --variant full.",
        )


def _team(backend: str, plan: Plan) -> Team:
    if backend == "jax":
        return ALONE
    from segloop.train.strategy import find_team

    return find_team(plan.training.batch)


def _run(plan: Plan, state: State, budget_s: float | None, epochs: int | None, started: float, held: int) -> Run:
    """The run as it stands before its first (or next) step; `held` cases are held out."""
    earlier = state.seconds

    def elapsed_s() -> float:
        return earlier + time.monotonic() - started

    if budget_s is None:
        clock, total = Clock(), (epochs or plan.training.epochs) * plan.training.steps_per_epoch
        schedule = Schedule(total)
    else:
        clock = Clock(budget_s, reserve_s(budget_s), finishing_steps(held, plan.training.batch))
        # A run that is given more time than before, finished or not, is planned anew at the pace it then finds.
        same = budget_s <= state.budget_s
        schedule = Schedule(state.total, state.anchor_step, state.anchor_progress) if same else Schedule(0)
    return Run(
        plan,
        state,
        clock,
        schedule,
        elapsed_s,
        step=state.step,
        points=list(state.history),
        notices=list(state.notices),
        loss_sum=state.loss_sum,
        loss_steps=state.loss_steps,
    )


def _nothing_left(run: Run, out: Path) -> bool:
    """Whether a resumed run only has to be finished: it has no step left, or is told to stop where it stands."""
    return run.step > 0 and (run.done or (out / FILE).exists())


def _stepping(run: Run, model: keras.Model, examples: Sequence[Example], team: Team) -> tuple[Run, Step]:
    """What does the steps on this backend, and the run as this worker sees it."""
    plan, seed, start = run.plan, run.state.seed, run.step
    if keras.config.backend() == "jax":
        from segloop.train.jax_step import JaxStep

        return run, JaxStep(model, examples, plan, seed, start)
    from segloop.train.stepping import TensorFlowStep
    from segloop.train.strategy import TeamStep, Workers

    if not isinstance(team, Workers):
        began = time.monotonic()
        step = TensorFlowStep(model, training_feed(examples, plan, seed, start=start))
        run.clock = run.clock.traced(time.monotonic() - began)
        return run, step
    run.team = team
    read = hashlib.sha256(repr((run.state.plan, seed, [(e.id, e.image.shape) for e in examples])).encode())
    team.require_same("Plan, seed or set of cases", read.hexdigest())
    team.level([*model.weights, *model.optimizer.variables])
    run.step = start = team.first(start)
    feed = training_feed(examples, plan, seed, start=start, share=team.share(plan.training.batch))
    return run if team.chief else follower(run), TeamStep(model, feed, team)


def _callbacks(
    run: Run,
    judge: keras.Model,
    examples: Sequence[Example],
    held: Batches,
    out: Path,
    signals: Signals,
    progress: Progress | None,
) -> list[keras.callbacks.Callback]:
    """In the order in which they depend on each other; workers but the first only follow."""
    if not run.team.chief:
        return [Pacing(run), Unfreezing(run), Ending(run, signals, None)]
    folder = out / "checkpoint"
    found: list[keras.callbacks.Callback] = [
        Pacing(run),
        Unfreezing(run),
        Ending(run, signals, out / FILE),
        Validation(run, judge, held),
        Checkpoints(run, folder, CHECKPOINT_STEPS),
        Collapse(run, judge, probe(examples, run.plan), folder),
        *board_callbacks(run, run.plan, judge, held, examples, out),
    ]
    return found if progress is None else [*found, Reporting(run, progress)]
