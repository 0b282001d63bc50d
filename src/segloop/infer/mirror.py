"""Segmenting mirrored images as well: along which axes that is sound, and what becomes of left and right."""

from __future__ import annotations

from segloop.errors import InputError, PlanError
from segloop.plan import Plan

LATERAL = 2
"""The axis of the canonical grid that left and right lie along."""


def with_mirroring(plan: Plan) -> Plan:
    """The Plan that also segments every image mirrored along the axes that training mirrored, and averages.

    Each axis doubles the network's time.

    Raises:
        InputError: `usage` when training mirrored nothing: what the network says of a mirrored image is then worthless.
    """
    axes = plan.training.augmentation.mirror_axes
    if not axes:
        raise InputError(
            f"{plan.name} was trained without mirroring, so mirrored images tell it nothing.",
            code="usage",
            found=list(axes),
            expected="a Plan with training.augmentation.mirror_axes",
            hint="Leave out --tta.",
        )
    return plan.changed({"inference.mirror_axes": list(axes)})


def exchanged_inputs(plan: Plan) -> tuple[int, ...]:
    """For each input channel the one it is read from in an image mirrored along x: another only for lateral labels."""
    partner = _partners(plan)
    numbers = [label.value for label in plan.labels] if plan.coarse else []
    image = plan.inputs.channels
    return (*range(image), *(image + numbers.index(partner.get(number, number)) for number in numbers))


def exchanged(plan: Plan) -> tuple[int, ...]:
    """For each output of the network the one that its mirror image along x belongs to: itself, but for lateral pairs.

    Raises:
        PlanError: `plan.invalid` when a region's mirror image is no region of the Plan.
    """
    partner = _partners(plan)
    outputs = [frozenset(region.labels) for region in plan.regions]
    outputs = outputs or [frozenset(), *(frozenset({label.value}) for label in plan.labels)]
    mirrored = [frozenset(partner.get(value, value) for value in output) for output in outputs]
    lost = [sorted(output) for output in mirrored if output not in outputs]
    if lost:
        raise PlanError(
            f"Mirroring along x makes regions of the labels {lost}, which {plan.name} does not have.",
            found=lost,
            expected=[sorted(output) for output in outputs],
            hint="Plan both sides of every lateral region, or leave axis 2 out of inference.mirror_axes.",
        )
    return tuple(outputs.index(output) for output in mirrored)


def _partners(plan: Plan) -> dict[int, int]:
    """The label that each lateral one becomes in a mirror."""
    partner: dict[int, int] = {}
    for one, other in plan.training.augmentation.swap_labels:
        partner |= {one: other, other: one}
    return partner
