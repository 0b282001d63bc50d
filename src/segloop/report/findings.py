"""The one object that every report renders: what was found, by which model, and with which reservations.

It holds no identity. Patient and study join it only in the writers, from the source series.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np
from pydantic import AwareDatetime, Field

from segloop import __version__
from segloop.errors import InputError
from segloop.measure.cutoff import cut_off
from segloop.measure.quantities import Measurement, Quantity
from segloop.plan import Frozen, LabelSpec
from segloop.report.follow_up import FollowUp, Track
from segloop.report.signature import Reference, Signature
from segloop.volume import Labels

EMPTY_RESULT = "empty_result"
"""Warning of a study in which no label was found at all."""

CUT_OFF = "cut_off"
"""Warning of a study in which a label reaches the edge of the image; `Findings.cut_off` says which."""

NOT_EXPLAINED = "not_explained"
"""Warning of a study in which the label to be explained was not found."""


class ModelStamp(Frozen):
    """Which model made the mask, and how it was run.

    Attributes:
        digest: `sha256:` and 64 hex digits of the bundle's manifest.
        runtime: `tensorflow` or `openvino`; empty where a person drew the mask.
        precision: Arithmetic of the network.
        intended_use: The bundle's own sentence; empty prints none.
    """

    name: str = Field(min_length=1)
    version: str = Field(min_length=1)
    digest: str = Field(pattern="^sha256:[0-9a-f]{64}$")
    runtime: str = ""
    precision: str = ""
    intended_use: str = ""

    @property
    def title(self) -> str:
        """Name and version, at most 64 characters (a DICOM LO), the version kept whole."""
        return f"{self.name[: 63 - len(self.version)]} {self.version}"


@dataclass(frozen=True, slots=True)
class Group:
    """All measurements of one label (component 0) or of one of its parts.

    Args:
        spec: The label.
        component: 0 for the whole label, 1… from large to small.
        measurements: In the order they were measured; empty when the label was not found.
        found: Whether any voxel has the label.
    """

    spec: LabelSpec
    component: int
    measurements: tuple[Measurement, ...]
    found: bool

    def value(self, quantity: Quantity) -> Measurement | None:
        """The measurement of this quantity, or None."""
        return next((m for m in self.measurements if m.quantity == quantity), None)


class Findings(Frozen):
    """Everything a report says about a study, but for whose study it is.

    Attributes:
        model: What made the mask.
        labels: The model's labels, found or not.
        present: Numbers of the labels that occur in the mask.
        cut_off: Numbers of those that reach the edge of the image, so that their measurements are lower bounds.
        measurements: As `measure_labels` gives them.
        warnings: Stable codes, such as `empty_result`, or plain sentences.
        created: When the result was made; every date in every object is this one, in its own time zone.
        software: segloop's version.
        research_use: Whether "for research use" is printed. True until bundle and deployment both say otherwise.
        signature: Who signed the result; None for a draft.
        predecessors: The documents that this result takes the place of.
        follow_up: Names of the lesions, and what earlier results add; None where nobody asked.
    """

    schema_: Literal[1] = Field(default=1, alias="schema")
    model: ModelStamp
    labels: tuple[LabelSpec, ...] = Field(min_length=1)
    present: tuple[int, ...]
    cut_off: tuple[int, ...] = ()
    measurements: tuple[Measurement, ...]
    warnings: tuple[str, ...] = ()
    created: AwareDatetime
    software: str = __version__
    research_use: bool = True
    signature: Signature | None = None
    predecessors: tuple[Reference, ...] = ()
    follow_up: FollowUp | None = None

    @property
    def groups(self) -> tuple[Group, ...]:
        """One group per label in the model's order, each followed by its components."""
        found: list[Group] = []
        for spec in self.labels:
            own = [m for m in self.measurements if m.label == spec.value]
            components = sorted({m.component for m in own} | {0})
            for component in components:
                numbers = tuple(m for m in own if m.component == component)
                found.append(Group(spec, component, numbers, spec.value in self.present))
        return tuple(found)

    @property
    def segment_numbers(self) -> dict[int, int]:
        """Label number to number of its segment in the SEG: 1, 2, … over the labels that occur."""
        return {value: i for i, value in enumerate(self.present, 1)}

    def track(self, label: int, component: int = 0) -> Track | None:
        """The name of a label or part that it has at every date, or None where it has none but its number."""
        return None if self.follow_up is None else self.follow_up.track(label, component)


def collect(
    labels: Labels,
    measured: Sequence[Measurement],
    specs: Sequence[LabelSpec],
    model: ModelStamp,
    created: datetime,
    warnings: Sequence[str] = (),
    research_use: bool = True,
) -> Findings:
    """What the reports say, from a mask and its measurements.

    Args:
        labels: The final mask on the source grid.
        measured: `measure_labels` of it.
        specs: The model's labels.
        model: What made the mask.
        created: When; with a time zone.
        warnings: Of the steps before. `empty_result` is added when no label occurs, `cut_off` when one reaches the
            edge.
        research_use: See `Findings`.

    Raises:
        InputError: `labels.mismatch` when the mask holds a number that no spec describes.
    """
    present = sorted(int(v) for v in np.unique(labels.array) if v)
    unknown = sorted(set(present) - {spec.value for spec in specs})
    if unknown:
        raise InputError(
            f"The mask holds the label numbers {unknown}, which the model {model.name} does not describe.",
            code="labels.mismatch",
            found=unknown,
            expected=[spec.value for spec in specs],
        )
    said = list(dict.fromkeys(warnings))
    if not present and EMPTY_RESULT not in said:
        said.append(EMPTY_RESULT)
    cut = cut_off(labels)
    if cut and CUT_OFF not in said:
        said.append(CUT_OFF)
    return Findings(
        model=model,
        labels=tuple(specs),
        present=tuple(present),
        cut_off=cut,
        measurements=tuple(measured),
        warnings=tuple(said),
        created=created,
        research_use=research_use,
    )
