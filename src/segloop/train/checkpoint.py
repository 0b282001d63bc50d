"""The state of a training on disk, replaced as a whole so that a kill at any moment leaves a good one."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np
from pydantic import Field

from segloop.errors import InputError, PlanError, ServiceError
from segloop.plan import Frozen

if TYPE_CHECKING:
    import keras

FILE = "state.npz"


class Point(Frozen):
    """One validation.

    Attributes:
        step: Steps done.
        loss: Mean training loss since the point before.
        dice: Dice of each label by name on validation patches; empty without a validation.
        held_loss: Loss on the validation patches, with the averaged weights; None without a validation.
        learning_rate: Of the last step; None when it was not noted.
    """

    step: int
    loss: float
    dice: dict[str, float] = Field(default_factory=dict)
    held_loss: float | None = None
    learning_rate: float | None = None


class Notice(Frozen):
    """A warning of the training that a person should read.

    Attributes:
        kind: What it is about, such as `gradients-vanish`; one or two words for a log line.
        step: Steps done when it was seen.
        text: What was found, what was expected, what to do.
        layers: Layers it is about; empty when it is about no layer.
    """

    kind: str
    step: int
    text: str
    layers: tuple[str, ...] = ()


class Machine(Frozen):
    """What steps were computed with, down to what decides their bits.

    Attributes:
        backend: Of Keras, with its version.
        instruction_set: Widest vector instructions of the processor.
        precision: Keras dtype policy.
        threads: Processor cores that could be used.
        lock: Digest of the installed distributions.
    """

    backend: str
    instruction_set: str
    precision: str
    threads: int
    lock: str


class State(Frozen):
    """All of a training but its tensors.

    Attributes:
        plan: Digest of the Plan.
        seed: Of the run.
        fold: Held out; None for none.
        step: Optimiser steps done.
        seconds: Spent so far, over all commands that worked on this run.
        total: Steps planned; 0 while not known.
        budget_s: Time budget the steps were planned for; 0 without one.
        anchor_step: Where the schedule's last refit began.
        anchor_progress: Its progress there.
        history: Losses and Dice so far.
        notices: Warnings so far.
        loss_sum: Of the steps since the last point.
        loss_steps: How many those are.
        pretrained: It began from other weights.
        machine: What the last steps were computed with.
        cases: Digest of the cases trained on and held out, as `examples.cases_digest` gives it; empty when it was not
            noted.
        voxels: Digest of the voxels of each case trained on, for the bundle.
    """

    plan: str
    seed: int
    fold: int | None
    step: int = 0
    seconds: float = 0.0
    total: int = 0
    budget_s: float = 0.0
    anchor_step: int = 0
    anchor_progress: float = 0.0
    history: tuple[Point, ...] = ()
    notices: tuple[Notice, ...] = ()
    loss_sum: float = 0.0
    loss_steps: int = 0
    pretrained: bool = False
    machine: Machine | None = None
    cases: str = ""
    voxels: dict[str, str] = Field(default_factory=dict)


def save(folder: Path, state: State, model: keras.Model) -> None:
    """Write the state, the weights and all of the optimiser (moments and averaged weights included).

    Raises:
        ServiceError: `disk.full` when it cannot be written; the older checkpoint is then untouched.
    """
    arrays = {name: np.asarray(value) for name, value in _variables(model).items()}
    arrays["state"] = np.frombuffer(state.model_dump_json().encode(), np.uint8)
    temporary = folder / f".{FILE}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]  # numpy's stub takes keyword arrays for flags
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(folder / FILE)
    except OSError as fault:
        # What was written of it takes the room that the next attempt needs.
        if temporary.is_file():
            temporary.unlink()
        raise ServiceError(
            f"The checkpoint cannot be written: {fault.strerror}. The one before it is kept.",
            code="disk.full",
            found=fault.strerror,
            hint="Free some space, then go on with --resume.",
        ) from fault


def peek(folder: Path) -> State | None:
    """The state that a checkpoint holds, or None when there is none.

    Raises:
        InputError: `input.unreadable` when the file is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as archive:
            return State.model_validate(json.loads(archive["state"].tobytes()))
    except (OSError, ValueError, KeyError, BadZipFile) as fault:
        raise InputError(
            f"The checkpoint {FILE} cannot be read ({type(fault).__name__}).",
            hint="Remove the run's checkpoint folder and train again.",
        ) from fault


def restore(folder: Path, model: keras.Model) -> None:
    """Set weights and optimiser from a checkpoint; `model` is compiled and its optimiser built.

    Raises:
        PlanError: `plan.invalid` when the checkpoint belongs to another network.
    """
    variables = _variables(model)
    with np.load(folder / FILE, allow_pickle=False) as archive:
        found = {name for name in archive.files if name != "state"}
        if found != set(variables) or any(archive[n].shape != tuple(v.shape) for n, v in variables.items()):
            raise PlanError(
                "The checkpoint belongs to another network or optimiser than the Plan's.",
                found=len(found),
                expected=len(variables),
                hint="Train into a new folder, or leave out --resume.",
            )
        for name, variable in variables.items():
            variable.assign(archive[name])


def require_same_run(state: State, plan: str, seed: int, fold: int | None, cases: str = "") -> None:
    """Refuse to go on with another plan, seed, fold or set of cases than the run began with.

    Other cases make other folds: what is held out now may have been learnt from before, and nothing would show it.

    Raises:
        PlanError: `plan.invalid` naming what differs.
    """
    pairs: Sequence[tuple[str, object, object]] = (
        ("plan", state.plan, plan),
        ("seed", state.seed, seed),
        ("fold", state.fold, fold),
    )
    differing = [f"{name} {before!r} before, {now!r} now" for name, before, now in pairs if before != now]
    changed = [name for name, before, now in pairs if before != now]
    if state.cases and cases and state.cases != cases:
        differing.append("images, label maps or their split are not those it began with")
        changed.append("cases")
    if differing:
        raise PlanError(
            f"This run cannot be resumed: {'; '.join(differing)}.",
            found=changed,
            expected="the arguments the run was started with",
            hint="Repeat them, or train into a new folder.",
        )


def _variables(model: keras.Model) -> dict[str, keras.Variable]:
    """Everything that a further step depends on: weights, states of random generators, the optimiser."""
    weights = {f"weight/{variable.path}": variable for variable in model.weights}
    known = {id(variable) for variable in model.weights}
    states = [variable for variable in model.variables if id(variable) not in known]
    return (
        weights
        | {f"random/{i:04d}": variable for i, variable in enumerate(states)}
        | {f"optimiser/{i:04d}": variable for i, variable in enumerate(model.optimizer.variables)}
    )
