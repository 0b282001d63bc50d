"""Optimiser steps on JAX, without TensorFlow: drawing, augmenting and learning are one compiled function.

The cases are decoded once and lie on the device, or in a file when they are too many (`data.shelf`); the host sends a
batch's number, the learning rate and what it read for it. A step is dispatched while the one before it still runs, and
its buffers are given away, so that only one copy of weights and moments exists. Written for accelerators; there it is
not measured yet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

import jax
import keras
import numpy as np

from segloop.data.augment import Pool
from segloop.data.feed import Example, Memory
from segloop.data.patches import Patches
from segloop.data.places import Places
from segloop.data.surroundings import Surroundings, surroundings
from segloop.plan import Plan
from segloop.train.compiling import total_loss


class JaxStep:
    """One step after the other, on the first device of JAX.

    Between steps the Keras variables hold the state, so that callbacks read and set them as on any backend.

    Args:
        model: From `compiled`.
        examples: The training cases.
        plan: Patch, batch and transforms.
        seed: Of every random choice.
        start: Number of the first batch.
    """

    def __init__(self, model: keras.Model, examples: Sequence[Example], plan: Plan, seed: int, start: int = 0) -> None:
        patches = Patches(plan, seed, len(examples))
        around = surroundings(examples, plan, patches.augment.reach)
        if around is None:
            self._given_to, make = _from_memory(examples, plan, patches)
        else:
            self._given_to, make = _from_file(around, Places.of(examples, plan), patches)
        self._number = start
        self._learnt = list(model.trainable_variables)
        self._fixed = list(model.non_trainable_variables)
        self._optimiser = list(model.optimizer.variables)
        self._given = [v for loss in model.loss for v in vars(loss).values() if isinstance(v, keras.Variable)]

        def step(state: Any, given: Any, arrays: Any, number: Any) -> Any:
            learnt, fixed, optimiser = state
            image, labels = make(number, arrays)

            def loss_of(values: Any) -> Any:
                outputs, moved = model.stateless_call(values, fixed, image, training=True)
                with keras.StatelessScope(state_mapping=list(zip(self._given, given, strict=True))):
                    return total_loss(model, labels, outputs), moved

            (loss, moved), gradients = jax.value_and_grad(loss_of, has_aux=True)(learnt)
            learnt, optimiser = model.optimizer.stateless_apply(optimiser, gradients, learnt)
            return (learnt, moved, optimiser), loss

        self._step = jax.jit(step, donate_argnums=0)

    def __call__(self) -> Any:
        """See `Step`."""
        groups = (self._learnt, self._fixed, self._optimiser)
        state = tuple([variable.value for variable in group] for group in groups)
        given = [variable.value for variable in self._given]
        moved, loss = self._step(state, given, self._given_to(self._number), np.int32(self._number))
        for group, values in zip(groups, moved, strict=True):
            for variable, value in zip(group, values, strict=True):
                variable.assign(value)
        self._number += 1
        return loss


_Given = Callable[[int], Any]
_Make = Callable[[Any, Any], Any]


def _from_memory(examples: Sequence[Example], plan: Plan, patches: Patches) -> tuple[_Given, _Make]:
    """What a batch is given, which is always all cases, and what makes it of them."""
    memory = Memory.of(examples, plan)
    arrays = jax.device_put((_arrays(memory.pool), _arrays(memory.places)))
    # Of the records only what is no array is kept here: an array captured would be compiled into the program.
    pool, places = _emptied(memory.pool), _emptied(memory.places)

    def make(number: Any, arrays: Any) -> Any:
        return patches(number, replace(pool, **arrays[0]), replace(places, **arrays[1]))

    return lambda number: arrays, make


def _from_file(around: Surroundings, known: Places, patches: Patches) -> tuple[_Given, _Make]:
    """The same for cases that are too many for memory: a batch is given the surroundings of its patches."""
    # Chosen and read by the host, which need not wait for the step that the device is still doing.
    host = jax.local_devices(backend="cpu")[0]
    arrays, places = jax.device_put(_arrays(known), host), _emptied(known)
    wanted = jax.jit(lambda number, arrays: patches.wanted(number, replace(places, **arrays)))

    def given(number: int) -> Any:
        with jax.default_device(host):
            case, centre = wanted(np.int32(number), arrays)
        return around.read(np.asarray(case), np.asarray(centre))

    def make(number: Any, read: Any) -> Any:
        images, labels, centre = read
        pool = Pool.framed(images, labels, around.border)
        return patches.made(number, pool, np.arange(images.shape[0], dtype=np.int32), centre)

    return given, make


def _arrays(record: Pool | Places) -> dict[str, np.ndarray]:
    found = {field.name: getattr(record, field.name) for field in fields(record)}
    return {name: value for name, value in found.items() if isinstance(value, np.ndarray)}


def _emptied(record: Any) -> Any:
    return replace(record, **dict.fromkeys(_arrays(record)))
