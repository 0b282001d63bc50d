"""Weights of one model into another: what fits is taken, what nearly fits adapted, and all of it reported."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np
from keras import ops
from pydantic import Field

from segloop.infer.bundle import Bundle
from segloop.nets.pretrained import EncoderWeights, load_encoder
from segloop.plan import Frozen, Plan

if TYPE_CHECKING:
    import keras

FILE = "transfer.json"
_UNSTATED = "not stated"
# Kernels that see the image itself.
_READS_IMAGE = ("down0_0_conv/kernel", "down0_stem_conv/kernel")


class Origin(Frozen):
    """Where weights come from.

    Attributes:
        name: Model and version, or the encoder's weights file.
        digest: `sha256:…` of the bundle or of the file.
        licence: As its card states it; empty when it does not.
        training_images: SHA-256 of the images it learnt from by case, as far as known.
        training_voxels: The same of their voxels.
    """

    name: str
    digest: str
    licence: str = ""
    training_images: dict[str, str] = Field(default_factory=dict)
    training_voxels: dict[str, str] = Field(default_factory=dict)

    @property
    def words(self) -> str:
        """One line for a record."""
        return f"{self.name} {self.digest}"

    def licence_with(self, own: str) -> str:
        """The licence that weights have which learnt from data under `own` after starting from here: both."""
        return f"{own or _UNSTATED}; weights began from {self.name}: {self.licence or _UNSTATED}"


class Entry(Frozen):
    """What became of one variable.

    Attributes:
        path: Of the variable.
        outcome: `taken` as it was, `adapted`, or left `fresh`.
        how: How it was adapted, or why it is fresh.
        numbers: It holds.
    """

    path: str
    outcome: Literal["taken", "adapted", "fresh"]
    how: str = ""
    numbers: int


class TransferReport(Frozen):
    """What a model took over from another.

    Attributes:
        origin: The other.
        entries: One for each variable of the model.
        unused: Variables of the other that found no place.
        notes: What else differs between the two and matters.
    """

    origin: Origin
    entries: tuple[Entry, ...]
    unused: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """Share of the model's numbers that are not fresh."""
        return sum(e.numbers for e in self.entries if e.outcome != "fresh") / sum(e.numbers for e in self.entries)

    def rows(self) -> tuple[tuple[str, int, int, int, str], ...]:
        """For each part of the network: its name, numbers taken, adapted and fresh, and how or why."""
        parts: dict[str, list[Entry]] = {}
        for entry in self.entries:
            parts.setdefault(re.split(r"[_/]", entry.path)[0], []).append(entry)
        rows = []
        for part, entries in parts.items():
            taken, adapted, fresh = (
                sum(e.numbers for e in entries if e.outcome == outcome) for outcome in ("taken", "adapted", "fresh")
            )
            rows.append((part, taken, adapted, fresh, "; ".join(dict.fromkeys(e.how for e in entries if e.how))))
        return tuple(rows)

    def to_json(self) -> str:
        """Indented JSON with a final newline."""
        return self.model_dump_json(indent=2) + "\n"


def origin_of(source: Bundle | EncoderWeights) -> Origin:
    """Where the weights of a bundle or of an encoder's file come from."""
    if isinstance(source, EncoderWeights):
        licence = "ImageNet weights as Keras offers them; their authors' terms and ImageNet's hold"
        return Origin(name=source.path.name, digest=source.digest, licence=licence if source.imagenet else "")
    manifest = source.manifest
    images, voxels = (
        {f"{manifest.name}/{case}": digest for case, digest in known.items()}
        for known in (manifest.provenance.training_images, manifest.provenance.training_voxels)
    )
    return Origin(
        name=f"{manifest.name} {manifest.version}",
        digest=source.digest,
        licence=manifest.provenance.licence,
        training_images=images,
        training_voxels=voxels,
    )


def transfer(model: keras.Model, plan: Plan, source: Bundle | EncoderWeights) -> TransferReport:
    """Put the weights of another model into this one, variable by variable, as far as they fit.

    A variable is taken where the other model has one of the same path and shape. Two kinds are adapted: the first
    convolution to another number of channels, and the logits to other labels, whose columns are matched by name.

    Args:
        model: The training network; its other variables keep their values.
        plan: Its recipe.
        source: A bundle, or the weights of the plan's ImageNet encoder.

    Raises:
        ModelError: `bundle.ensemble`; `weights.mismatch` when a file belongs to another encoder.
        InputError: `input.unreadable` for a damaged file.
    """
    if isinstance(source, EncoderWeights):
        return _from_file(model, plan, source)
    found = source.weights()
    whole = _nothing_fits(plan, source.plan)
    reader = _Reader(plan, source.plan, found)
    entries: list[Entry] = []
    fresh_kernels: set[str] = set()
    for variable in model.weights:
        own = ops.convert_to_numpy(variable)
        layer, name = variable.path.rsplit("/", 1)
        step = layer.removesuffix("_norm") + "_conv" if layer.endswith("_norm") else layer
        if whole:
            value, how = None, whole
        elif name != "kernel" and step in fresh_kernels:
            value, how = None, "its convolution starts fresh"
        else:
            value, how = reader.read(variable.path, own)
        if value is None:
            outcome: Literal["taken", "adapted", "fresh"] = "fresh"
            if name == "kernel":
                fresh_kernels.add(layer)
        else:
            outcome = "adapted" if how else "taken"
            variable.assign(value)
        entries.append(Entry(path=variable.path, outcome=outcome, how=how, numbers=own.size))
    kept = {entry.path for entry in entries if entry.outcome != "fresh"}
    return TransferReport(
        origin=origin_of(source),
        entries=tuple(entries),
        unused=tuple(path for path in found if path not in kept),
        notes=tuple(_differences(plan, source.plan)),
    )


def _from_file(model: keras.Model, plan: Plan, source: EncoderWeights) -> TransferReport:
    assert plan.network.encoder is not None
    load_encoder(model, plan.network.encoder, source)
    entries = tuple(
        Entry(
            path=variable.path,
            outcome="taken" if variable.path.startswith("encoder") else "fresh",
            how="" if variable.path.startswith("encoder") else "no part of an ImageNet encoder",
            numbers=int(np.prod(variable.shape)),
        )
        for variable in model.weights
    )
    return TransferReport(origin=origin_of(source), entries=entries)


def _nothing_fits(plan: Plan, other: Plan) -> str:
    """Why not a single variable can be taken; empty when some may."""
    ours, theirs = plan.network.dims, other.network.dims
    return f"the source is {theirs}-D, this network {ours}-D" if ours != theirs else ""


class _Reader:
    """What one variable gets from the other model: its new value (None to stay fresh), and how or why."""

    def __init__(self, plan: Plan, other: Plan, found: Mapping[str, np.ndarray]) -> None:
        self._found = found
        self._outputs, self._other_outputs = _outputs(plan), _outputs(other)
        self._same_kind = bool(plan.regions) == bool(other.regions)
        self._same_encoder = plan.network.encoder == other.network.encoder

    def read(self, path: str, own: np.ndarray) -> tuple[np.ndarray | None, str]:
        theirs = self._found.get(path)
        if theirs is None:
            return None, "the source has none"
        if path.startswith("logits"):
            return self._logits(own, theirs)
        if path.startswith("encoder") and not self._same_encoder:
            return None, "the source has another encoder"
        if own.shape == theirs.shape:
            return theirs, ""
        if path in _READS_IMAGE and own.shape[:-2] == theirs.shape[:-2] and own.shape[-1] == theirs.shape[-1]:
            have, want = theirs.shape[-2], own.shape[-2]
            # The same sum over channels: where they are alike the response stays what it was.
            mean = theirs.mean(axis=-2, keepdims=True) * (have / want)
            how = f"{have} to {want} channels: their mean repeated, times {have}/{want}"
            return np.repeat(mean, want, axis=-2), how
        return None, f"shape {_by(own.shape)}, the source has {_by(theirs.shape)}"

    def _logits(self, own: np.ndarray, theirs: np.ndarray) -> tuple[np.ndarray | None, str]:
        if not self._same_kind:
            return None, "labels exclude each other in one model and overlap in the other"
        if own.shape[:-1] != theirs.shape[:-1]:
            return None, f"shape {_by(own.shape)}, the source has {_by(theirs.shape)}"
        if self._outputs == self._other_outputs:
            return theirs, ""
        places = {name: i for i, name in enumerate(self._other_outputs)}
        shared = [name for name in self._outputs if name in places]
        if not set(shared) - {_BACKGROUND}:
            return None, "no label in common"
        value = own.copy()
        for i, name in enumerate(self._outputs):
            if name in places:
                value[..., i] = theirs[..., places[name]]
        new = [name for name in self._outputs if name not in places]
        return value, f"labels by name: {', '.join(shared)}" + (f"; fresh: {', '.join(new)}" if new else "")


_BACKGROUND = "background"


def _outputs(plan: Plan) -> tuple[str, ...]:
    """What each output channel stands for."""
    if plan.regions:
        return tuple(region.name.casefold() for region in plan.regions)
    return (_BACKGROUND, *(label.name.casefold() for label in plan.labels))


def _differences(plan: Plan, other: Plan) -> Iterator[str]:
    ours, theirs = plan.preparation, other.preparation
    if ours.spacing_mm != theirs.spacing_mm:
        yield f"The source learnt at {_mm(theirs.spacing_mm)}; this training is at {_mm(ours.spacing_mm)}."
    kinds = [tuple(step.kind for step in p.normalisation) for p in (theirs, ours)]
    if kinds[0] != kinds[1]:
        yield f"The source's values are normalised by {', '.join(kinds[0])}; here by {', '.join(kinds[1])}."


def _mm(spacing: tuple[float, float, float] | None) -> str:
    return "each image's own spacing" if spacing is None else " × ".join(f"{s:g}" for s in spacing) + " mm"


def _by(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
