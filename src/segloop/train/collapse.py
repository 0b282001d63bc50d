"""Notices when a network has given up and calls everything background, or everything foreground.

With few foreground voxels that is where a loss may settle, at a value that looks good. So the network is looked at on a
few training patches around labels.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
from jaxtyping import Float
from keras import ops

from segloop.data.feed import Example, crop
from segloop.errors import ModelError, ServiceError
from segloop.log import get_logger
from segloop.nets.targets import Targets
from segloop.plan import Plan
from segloop.train import checkpoint
from segloop.train.checkpoint import Notice
from segloop.train.loop import Batches, Run, average_into

COLLAPSED, MISSED = "collapsed", "label-missed"
"""Kinds of notice."""

GOOD = "good.npz"
"""The checkpoint of the last look at which something was found, beside the newest one while training runs."""

_log = get_logger(__name__)

# Looking costs a forward pass or two; this many steps between looks keep it near one hundredth.
_STEPS_BETWEEN = 50
_MOST_BATCHES = 2
_WARN_LOOKS, _WARN_SHARE = 3, 0.05
_STOP_LOOKS, _STOP_SHARE = 8, 0.4
# A network that has given up finds a stray voxel now and then.
_NOTHING, _EVERYTHING, _PLENTY = 0.01, 0.999, 0.9


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What a network finds on some patches, in voxels.

    Args:
        found: Of each label or region, as the network says, (labels,).
        truth: Of each, as the experts say, (labels,).
        found_any: Of all of them together, overlaps counted once.
        truth_any: Of all of them together, as the experts say.
        voxels: How many voxels count.
    """

    found: Float[np.ndarray, " n"]
    truth: Float[np.ndarray, " n"]
    found_any: float
    truth_any: float
    voxels: float

    @property
    def missed(self) -> tuple[int, ...]:
        """Places of the labels that occur, and of which next to nothing is found."""
        return tuple(np.flatnonzero((self.truth > 0) & (self.found <= _NOTHING * self.truth)).tolist())

    @property
    def fault(self) -> Literal["nothing", "everything"] | None:
        """What the network calls foreground, where it has given up."""
        if self.truth_any and self.found_any <= _NOTHING * self.truth_any:
            return "nothing"
        full = self.found_any >= _EVERYTHING * self.voxels and self.truth_any <= _PLENTY * self.voxels
        return "everything" if full else None


def probe(examples: Sequence[Example], plan: Plan) -> Batches:
    """One or two full batches of patches, each around a voxel of a label or region, which take turns.

    Empty when no case has any.
    """
    patch, batch = plan.training.patch, plan.training.batch
    rows = [_around(examples, classes, patch) for classes in plan.found_classes]
    wanted = batch * min(_MOST_BATCHES, -(-len(rows) // batch))
    patches: list[tuple[np.ndarray, np.ndarray]] = []
    while rows and len(patches) < wanted:
        drawn = [(row, next(row, None)) for row in rows]
        rows = [row for row, found in drawn if found is not None]
        patches += [found for _, found in drawn if found is not None]
    if not patches:
        return []
    full = list(islice(cycle(patches), wanted))
    batches = []
    for start in range(0, wanted, batch):
        image, labels = (np.stack(part) for part in zip(*full[start : start + batch], strict=True))
        batches.append((image[:, 0], labels[:, 0]) if plan.network.dims == 2 else (image, labels))
    return batches


def look(network: keras.Model, batches: Batches, plan: Plan) -> Look:
    """What the network finds on the patches."""
    targets = Targets.of(plan)
    counts: list[np.ndarray] = []
    for image, labels in batches:
        logits = ops.convert_to_tensor(network.predict_on_batch(image))
        target, counted = targets.hot(ops.convert_to_tensor(labels), logits.shape)
        counted = ops.ones_like(target[..., :1]) if counted is None else counted
        masks = [(targets.found(logits) * counted)[..., targets.first :], target[..., targets.first :]]
        united = [ops.max(mask, axis=-1, keepdims=True) for mask in masks]
        every = ops.concatenate([*masks, *united, counted], axis=-1)
        counts.append(ops.convert_to_numpy(ops.sum(every, tuple(range(labels.ndim)))))
    *each, found_any, truth_any, voxels = np.sum(counts, axis=0).tolist()
    found, truth = np.split(np.asarray(each), 2)
    return Look(found, truth, found_any, truth_any, voxels)


class Collapse(keras.callbacks.Callback):  # type: ignore[misc]
    """Looks at the averaged weights now and then; warns when they have given up, and ends a training that stays so.

    Args:
        run: Warnings are added to its notices.
        network: A network of its own that the averaged weights are copied into.
        batches: Patches with labels, as `probe` gives them; none switches the look off.
        folder: Of the checkpoints. Comes after `Checkpoints`, so that what lies there belongs to the weights looked at.

    Raises:
        ModelError: `train.collapsed`. The checkpoint of the last look at which something was found, if there was one,
            is then the one in the folder.
    """

    def __init__(self, run: Run, network: keras.Model, batches: Batches, folder: Path) -> None:
        super().__init__()
        self.run, self.network, self.batches, self.folder = run, network, batches, folder
        self._last, self._since, self._looks, self._told = run.step, 0.0, 0, set[str]()
        self._missed: dict[int, int] = {}

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """What an earlier training left in the folder is none of this one's."""
        if self.run.step == 0:
            (self.folder / GOOD).unlink(missing_ok=True)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Look, if it is time."""
        if not self.batches or self.run.step - self._last < _STEPS_BETWEEN:
            return
        self._last = self.run.step
        average_into(self.network, self.model)
        self.judge(look(self.network, self.batches, self.run.plan))

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Keep no second checkpoint of a training that came to its end."""
        if not self.run.interrupted:
            (self.folder / GOOD).unlink(missing_ok=True)

    def judge(self, seen: Look) -> None:
        """Count, warn or end the training, by what was seen.

        Raises:
            ModelError: `train.collapsed`.
            ServiceError: `disk.full` when the good checkpoint cannot be kept.
        """
        fault = seen.fault
        if not fault:
            self._looks = 0
            self._told.clear()
            self._keep()
            self._judge_labels(seen)
            return
        if not self._looks:
            self._since = self.run.progress
        self._looks += 1
        share = self.run.progress - self._since
        if self._looks >= _STOP_LOOKS and share >= _STOP_SHARE:
            self._end(fault)
        if self._looks >= _WARN_LOOKS and share >= _WARN_SHARE and fault not in self._told:
            self._told.add(fault)
            self._warn(COLLAPSED, f"{_WORDS[fault]} {advice(self.run.plan, fault)}")

    def _judge_labels(self, seen: Look) -> None:
        names = self.run.plan.found_names
        self._missed = {label: self._missed.get(label, 0) + 1 for label in seen.missed}
        for label in (label for label, looks in self._missed.items() if looks == _STOP_LOOKS):
            share = f"training.label_shares gives {names[label]} more of the patches"
            self._warn(MISSED, f"The network finds other labels, but no {names[label]}: {share}.")

    def _warn(self, kind: str, text: str) -> None:
        text = f"Step {self.run.step}: {text}"
        self.run.notices.append(Notice(kind=kind, step=self.run.step, text=text))
        _log.warning("the network finds nothing, or everything", kind=kind, step_number=self.run.step)

    def _keep(self) -> None:
        """Let the newest checkpoint stay when a later one takes its place: another name for the same file."""
        newest, good = self.folder / checkpoint.FILE, self.folder / GOOD
        if not newest.is_file():
            return
        try:
            good.unlink(missing_ok=True)
            try:
                os.link(newest, good)
            except OSError:  # a file system without second names
                shutil.copyfile(newest, good)
        except OSError as fault:
            raise ServiceError(
                f"The checkpoint cannot be kept: {fault.strerror}.",
                code="disk.full",
                found=fault.strerror,
                hint="Free some space, then go on with --resume.",
            ) from fault

    def _end(self, fault: str) -> None:
        good = self.folder / GOOD
        kept = "It never found any before, so there is no better checkpoint."
        if good.is_file():
            good.replace(self.folder / checkpoint.FILE)
            kept = "The checkpoint is the last one at which it did better."
        raise ModelError(
            f"Training was ended at step {self.run.step}, after {self._looks} looks at which this did not change. "
            f"{_WORDS[fault]} {kept}",
            code="train.collapsed",
            found=fault,
            expected="some foreground and some background",
            hint=advice(self.run.plan, fault),
        )


_WORDS = {
    "nothing": "The network calls every voxel background, on training patches that have labels.",
    "everything": "The network calls every voxel foreground, on training patches that are mostly background.",
}


def advice(plan: Plan, fault: str) -> str:
    """What to change in a Plan whose network has given up, in a sentence."""
    spec, ways = plan.training, []
    if fault == "nothing":
        if not spec.dice_weight:
            ways.append("give overlap a weight (training.dice_weight=1)")
        if spec.foreground_fraction < 0.5:
            ways.append("centre more patches on labels (training.foreground_fraction=0.5)")
        if spec.dice_weight and "tversky" not in spec.loss.overlap:
            ways.append("let missed voxels cost more (training.loss.overlap=focal_tversky)")
    else:
        if not spec.cross_entropy_weight:
            ways.append("give cross-entropy a weight (training.cross_entropy_weight=1)")
        if "tversky" in spec.loss.overlap and spec.loss.beta > spec.loss.alpha:
            ways.append("let false alarms cost more (training.loss.alpha=0.5, training.loss.beta=0.5)")
        if spec.foreground_fraction > 0.5:
            ways.append("let more patches lie anywhere (training.foreground_fraction=0.5)")
    ways += [f"lower training.learning_rate (now {spec.learning_rate:g})", "look at the data with `segloop check`"]
    return f"Train anew with --set: {', or '.join(ways)}."


def _around(
    examples: Sequence[Example], classes: tuple[int, ...], patch: tuple[int, int, int]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """From each case that has these classes, the patch around a voxel half-way through them."""
    for example in examples:
        inside = np.flatnonzero(np.isin(example.labels, classes))
        if len(inside):
            middle = np.unravel_index(inside[len(inside) // 2], example.labels.shape)
            yield crop(example, patch, np.asarray(middle))


__all__ = ["COLLAPSED", "GOOD", "MISSED", "Collapse", "Look", "advice", "look", "probe"]
