"""The network in training: built, compiled with its losses and optimiser, and given the weights it begins from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from segloop.errors import InputError, ModelError, PlanError
from segloop.infer.bundle import Bundle
from segloop.nets.losses import make_loss
from segloop.nets.objectives import deep_supervision
from segloop.nets.pretrained import OFFICIAL, EncoderWeights, find_weights
from segloop.nets.unet import build_unet
from segloop.plan import Plan
from segloop.store import READABLE, write_whole
from segloop.train.optimizer import optimizer_for
from segloop.train.precision import accelerated
from segloop.train.transfer import FILE, Origin, TransferReport, transfer

BACKENDS = ("tensorflow", "jax")


def compiled(plan: Plan, seed: int, precision: str, *, pretrained: bool = False) -> keras.Model:
    """The training network with losses and optimiser; XLA only on an accelerator, where it helps.

    Args:
        plan: The recipe.
        seed: Of the initial weights.
        precision: Keras dtype policy.
        pretrained: Its weights will come from elsewhere, so that the way down may learn more slowly.
    """
    model = build_unet(plan.network, seed=seed, dtype=precision)
    weights = deep_supervision(len(model.outputs))
    loss = [make_loss(plan, output) for output in range(len(weights))]
    optimizer = optimizer_for(plan.training, plan.network, model, pretrained=pretrained)
    model.compile(optimizer, loss=loss, loss_weights=list(weights), jit_compile=accelerated())
    return model


def total_loss(model: keras.Model, labels: Any, outputs: Any) -> Any:
    """The outputs' losses, weighted: a scalar.

    Args:
        model: Compiled by `compiled`.
        labels: Class of each voxel, (b, z, y, x) or (b, y, x).
        outputs: What the model gave: a tensor, or one for each resolution, the full one first.
    """
    predictions: Sequence[Any] = outputs if isinstance(outputs, list | tuple) else [outputs]
    losses = model.loss if isinstance(model.loss, list | tuple) else [model.loss]
    weights = deep_supervision(len(predictions))
    terms = [w * loss(labels, output) for w, loss, output in zip(weights, losses, predictions, strict=True)]
    return sum(terms[1:], terms[0])


def origin_given(plan: Plan, init: Bundle | None, encoder_weights: str | None) -> Bundle | EncoderWeights | None:
    """What a fresh training starts from, if not from drawn weights.

    Raises:
        InputError: `usage` when both are given; `input.unreadable` when a file is not there.
        PlanError: `plan.invalid` when the Plan has no pretrained encoder to put weights into.
        ModelError: `weights.unavailable`, `weights.mismatch`.
    """
    if init is not None and encoder_weights is not None:
        raise InputError(
            "A training starts from a bundle or from an encoder's weights, not from both.",
            code="usage",
            found=[init.manifest.name, encoder_weights],
            expected="one of --init and --encoder-weights",
        )
    if encoder_weights is None:
        return init
    if plan.network.encoder is None:
        raise PlanError(
            "The Plan's network has no encoder of keras.applications to put these weights into.",
            found=encoder_weights,
            expected=f"network.encoder one of {', '.join(OFFICIAL)}",
            hint="Choose one with --encoder, or leave out --encoder-weights.",
        )
    return find_weights(OFFICIAL[plan.network.encoder], encoder_weights)


def begin_from(model: keras.Model, plan: Plan, source: Bundle | EncoderWeights, out: Path) -> TransferReport:
    """Put weights of another model into a fresh one, and the report of what fitted into `out/transfer.json`.

    Raises:
        ModelError: `bundle.ensemble`, `weights.mismatch`.
        InputError: `input.unreadable`.
        ServiceError: `disk.full`.
    """
    report = transfer(model, plan, source)
    out.mkdir(parents=True, exist_ok=True)
    write_whole(report.to_json().encode(), out / FILE, READABLE)
    return report


def kept_origin(out: Path) -> Origin | None:
    """Where the weights of the run in this folder came from; None when they were drawn."""
    path = out / FILE
    return TransferReport.model_validate_json(path.read_bytes()).origin if path.is_file() else None


def require_backend() -> str:
    """The Keras backend, which training knows.

    Raises:
        ModelError: `backend.mismatch` for another one.
    """
    backend = str(keras.config.backend())
    if backend not in BACKENDS:
        raise ModelError(
            f"Keras runs on {backend}; training needs TensorFlow or JAX.",
            code="backend.mismatch",
            found=backend,
            expected=list(BACKENDS),
            hint="Set KERAS_BACKEND=tensorflow before the program starts.",
        )
    return backend
