"""The Plan itself: parts that fit together, its digest, and the one way to change it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationError, model_validator

from segloop.errors import InputError, PlanError
from segloop.plan.learning import TrainingSpec
from segloop.plan.parts import Frozen, LabelSpec, NetworkSpec, PreparationSpec, ReadingSpec, SeriesRule
from segloop.plan.results import InferenceSpec, PostSpec, Region

SCHEMA = 1


class Plan(Frozen):
    """The recipe of one model.

    Raises:
        PlanError: From `load`, `parse` and `changed`, naming each faulty field.
    """

    schema_: Literal[1] = Field(default=1, alias="schema")
    name: str = Field(min_length=1, pattern=r"^[\w.-]+$")
    labels: tuple[LabelSpec, ...] = Field(min_length=1)
    regions: tuple[Region, ...] = ()
    """Overlapping labels: when given, the network has one sigmoid output for each instead of a softmax over labels."""
    inputs: SeriesRule = SeriesRule()
    reading: ReadingSpec = ReadingSpec()
    preparation: PreparationSpec = PreparationSpec()
    network: NetworkSpec = NetworkSpec()
    training: TrainingSpec = TrainingSpec()
    inference: InferenceSpec = InferenceSpec()
    post: PostSpec = PostSpec()
    coarse: Plan | None = None
    """A cascade's first stage: its network, on coarser voxels, segments first, and its labels (one channel for each, 1
    inside) become the last input channels of this one's network."""
    reasons: tuple[str, ...] = ()
    """Why each value was chosen, in words."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)

    @model_validator(mode="after")
    def _labelled(self) -> Plan:
        values = [label.value for label in self.labels]
        if len(set(values)) != len(values):
            raise ValueError(f"label numbers repeat: {values}")
        outputs, what = (len(self.regions), "regions") if self.regions else (len(values) + 1, "labels and background")
        if self.network.classes != outputs:
            raise ValueError(f"network.classes must be {outputs} ({what}), not {self.network.classes}")
        foreign = {n for region in self.regions for n in (*region.labels, region.paints)} - set(values)
        if foreign:
            raise ValueError(f"regions name labels the model does not have: {sorted(foreign)}")
        if self.training.ignore_label in values:
            raise ValueError(f"training.ignore_label {self.training.ignore_label} is one of the model's labels")
        for where, numbers in (
            ("training.label_shares", self.training.label_shares),
            ("inference.logit_bias", self.inference.logit_bias),
        ):
            if numbers and len(numbers) != (len(self.regions) or len(values)):
                raise ValueError(f"{where} needs as many numbers as {what.split()[0]}, not {len(numbers)}")
        if self.training.label_shares and not any(self.training.label_shares):
            raise ValueError("training.label_shares needs a number above 0, or none at all")
        swapped = [number for pair in self.training.augmentation.swap_labels for number in pair]
        if len(set(swapped)) != len(swapped) or not set(swapped) <= set(values):
            raise ValueError(f"training.augmentation.swap_labels needs pairs of the labels {values}, each once")
        unknown = {step.label for step in self.post.steps} - set(values)
        if unknown:
            raise ValueError(f"post.steps name labels the model does not have: {sorted(unknown)}")
        return self

    @model_validator(mode="after")
    def _fitting(self) -> Plan:
        if self.network.channels != self.inputs.channels + self.guides:
            raise ValueError(
                f"network.channels is {self.network.channels}, inputs.channels {self.inputs.channels}"
                + (f" and {self.guides} labels come from the coarse network" if self.coarse else "")
            )
        if len(self.preparation.normalisation) not in (1, self.inputs.channels):
            raise ValueError("preparation.normalisation needs one entry, or one per channel")
        unit = {step.kind == "scale" for step in self.preparation.normalisation}
        if self.network.encoder and unit != {self.network.encoder_input == "unit"}:
            raise ValueError(
                f"network.encoder_input {self.network.encoder_input!r} does not suit preparation.normalisation "
                f"{[step.kind for step in self.preparation.normalisation]}: `unit` goes with `scale`, `standardised` "
                "with every other kind"
            )
        for where, patch in (("training", self.training.patch), ("inference", self.inference.patch)):
            if any(p % d for p, d in zip(patch, self.network.divisor, strict=True)):
                raise ValueError(
                    f"{where}.patch {patch} is no multiple of the network's divisor {self.network.divisor}"
                )
        if self.network.dims == 2 and self.training.patch[0] != 1:
            raise ValueError("a 2-D plan has patch size 1 along z")
        unmirrored = set(self.inference.mirror_axes) - set(self.training.augmentation.mirror_axes)
        if unmirrored:
            raise ValueError(f"inference.mirror_axes names axes that training does not mirror: {sorted(unmirrored)}")
        return self

    @model_validator(mode="after")
    def _staged(self) -> Plan:
        if self.coarse is None:
            return self
        if self.network.dims != 3 or self.coarse.network.dims != 3 or self.coarse.coarse is not None:
            raise ValueError("a cascade is two 3-D networks, not more and not in 2-D")
        for part in ("labels", "regions"):
            if getattr(self.coarse, part) != getattr(self, part):
                raise ValueError(f"coarse.{part} are others than the {part} of the Plan")
        for first, own in (
            (self.coarse.inputs.channels, self.inputs.channels),
            (self.coarse.training.ignore_label, self.training.ignore_label),
            (self.coarse.preparation.orientation, self.preparation.orientation),
            (self.coarse.training.folds, self.training.folds),
        ):
            if first != own:
                raise ValueError(f"coarse has {first!r} where the Plan has {own!r}; both networks need the same")
        return self

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Plan:
        """A Plan from a JSON-like mapping, migrated from older schemas."""
        try:
            return cls.model_validate(migrate(document))
        except ValidationError as fault:
            lines = [f"{'.'.join(map(str, e['loc'])) or 'plan'}: {e['msg']}" for e in fault.errors()]
            raise PlanError("The Plan is not valid. " + "; ".join(lines) + ".", found=lines) from fault

    @classmethod
    def load(cls, path: Path) -> Plan:
        """A Plan from a JSON file."""
        try:
            document = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as fault:
            raise InputError(f"The Plan {path.name} cannot be read: {fault}.") from fault
        if not isinstance(document, dict):
            raise PlanError(
                f"The Plan {path.name} is no JSON object.", found=type(document).__name__, expected="object"
            )
        return cls.parse(document)

    def to_json(self) -> str:
        """The Plan as indented JSON with a final newline."""
        return self.model_dump_json(indent=2, by_alias=True) + "\n"

    def changed(self, changes: Mapping[str, Any]) -> Plan:
        """A copy with dotted keys set, validated again: `plan.changed({"training.epochs": 50})`."""
        document = self.model_dump(mode="json", by_alias=True)
        for key, value in changes.items():
            *parents, last = key.split(".")
            node: Any = document
            for part in parents:
                node = _step(node, part, key)
            if isinstance(node, list):
                node[int(last)] = value
            elif last not in node:
                raise PlanError(f"The Plan has no field {key!r}.", found=key, expected=sorted(node))
            else:
                node[last] = value
        return Plan.parse(document)

    @property
    def digest(self) -> str:
        """`sha256:…` of the canonical JSON; equal for equal Plans on every machine."""
        document = self.model_dump(mode="json", by_alias=True)
        return "sha256:" + hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()

    @property
    def label_names(self) -> dict[int, str]:
        """Label number to English name."""
        return {label.value: label.name for label in self.labels}

    @property
    def guides(self) -> int:
        """How many of the network's input channels are labels of the coarse network; 0 without a cascade."""
        return len(self.labels) if self.coarse else 0

    @property
    def found_names(self) -> tuple[str, ...]:
        """Names of what the network finds, in the order of its outputs: regions, or labels without background."""
        return tuple(part.name for part in self.regions or self.labels)

    @property
    def found_classes(self) -> tuple[tuple[int, ...], ...]:
        """Classes (1 for the first label, 2 for the second, …) that each of `found_names` is the union of."""
        classes = {label.value: index for index, label in enumerate(self.labels, 1)}
        if not self.regions:
            return tuple((index,) for index in classes.values())
        return tuple(tuple(sorted({classes[value] for value in region.labels})) for region in self.regions)


def migrate(document: Mapping[str, Any]) -> dict[str, Any]:
    """The same recipe in today's schema.

    Raises:
        PlanError: The document was written by a newer segloop.
    """
    schema = document.get("schema", SCHEMA)
    if schema != SCHEMA:
        raise PlanError(
            f"The Plan has schema {schema!r}; this segloop reads {SCHEMA}.",
            found=schema,
            expected=SCHEMA,
            hint="Use the segloop version that wrote it, or plan again.",
        )
    return dict(document)


def _step(node: Any, part: str, key: str) -> Any:
    try:
        return node[int(part)] if isinstance(node, list) else node[part]
    except (KeyError, IndexError, ValueError, TypeError) as fault:
        raise PlanError(f"The Plan has no field {key!r} ({part!r} is unknown).", found=key) from fault
