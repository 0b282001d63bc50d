"""Does a Plan fit the dataset that it is to be trained on?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from segloop.data.checks.facts import CaseFacts
from segloop.data.checks.faults import Fault, Finding
from segloop.data.checks.sides import lateral
from segloop.data.checks.survey import Survey
from segloop.plan import Plan

_LEFT_TO_RIGHT = 2


def plan_faults(plan: Plan, survey: Survey, cases: Sequence[CaseFacts]) -> Iterator[Fault]:
    """Mirrored sides, other labels, other channels.

    Args:
        plan: The Plan.
        survey: The dataset.
        cases: All cases.
    """
    sided = unpaired(plan)
    axes = plan.training.augmentation.mirror_axes
    if sided and _LEFT_TO_RIGHT in axes:
        found = f"mirror_axes {list(axes)} with {', '.join(sided[:4])}"
        yield Finding("mirroring", found, [axis for axis in axes if axis != _LEFT_TO_RIGHT], mendable=True).of()
    if survey.labels and dict(survey.labels) != plan.label_names:
        named = {str(number): name for number, name in plan.label_names.items()}
        expected = {str(number): name for number, name in survey.labels.items()}
        same = set(survey.labels) == set(plan.label_names)
        cause = "Plan and dataset name the same numbers differently." if same else ""
        yield Finding("plan_labels", named, expected, severity="warning" if same else "error", cause=cause).of()
    channels = Counter(case.channels for case in cases if case.channels).most_common(1)
    if channels and channels[0][0] != plan.inputs.channels:
        yield Finding("plan_channels", plan.inputs.channels, channels[0][0]).of()


def unpaired(plan: Plan) -> list[str]:
    """Names that tell a side and are not exchanged with their opposite when x is mirrored."""
    swapped = {number for pair in plan.training.augmentation.swap_labels for number in pair}
    return [label.name for label in plan.labels if lateral(label.name) and label.value not in swapped]


def without_mirroring(plan: Plan) -> Plan:
    """The Plan with left and right never exchanged, in training and in inference."""

    def kept(axes: Sequence[int]) -> list[int]:
        return [axis for axis in axes if axis != _LEFT_TO_RIGHT]

    return plan.changed(
        {
            "training.augmentation.mirror_axes": kept(plan.training.augmentation.mirror_axes),
            "inference.mirror_axes": kept(plan.inference.mirror_axes),
        }
    )
