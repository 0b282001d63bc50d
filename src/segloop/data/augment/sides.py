"""Left and right: which labels change places in a mirror, and whether a Plan that mirrors has thought of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from segloop.data.checks.sides import lateral
from segloop.errors import PlanError
from segloop.plan import Plan

_LATERAL = 2


def require_sides_kept(plan: Plan) -> None:
    """Refuse a Plan that mirrors left and right while a label is named by its side and is not swapped.

    Names are all there is to tell by: a side that no name states is not found.

    Raises:
        PlanError: `plan.invalid`, with the labels.
    """
    spec = plan.training.augmentation
    if _LATERAL not in spec.mirror_axes:
        return
    swapped = {number for pair in spec.swap_labels for number in pair}
    sided = [label for label in plan.labels if lateral(label.name) and label.value not in swapped]
    if sided:
        names = ", ".join(f"{label.name} ({label.value})" for label in sided[:4])
        raise PlanError(
            f"Patches are mirrored along x, but {names} would then lie on the wrong side.",
            found={"mirror_axes": list(spec.mirror_axes), "swap_labels": [list(pair) for pair in spec.swap_labels]},
            expected="every label named by its side in training.augmentation.swap_labels, or no 2 in mirror_axes",
            hint="Name the pairs that change places, as in --set training.augmentation.swap_labels=[[1,2]], or leave "
            "axis 2 out of training.augmentation.mirror_axes.",
        )


def exchange(pairs: Sequence[tuple[int, int]], numbers: Sequence[int]) -> UInt8[np.ndarray, "*classes"] | None:
    """For each class the one its voxels get when x is mirrored; None when none changes.

    Args:
        pairs: Label numbers that change places.
        numbers: Label number of class 1, 2, ….

    Raises:
        PlanError: `plan.invalid` when a number is none of a label.
    """
    if not pairs:
        return None
    classes = {number: index for index, number in enumerate(numbers, 1)}
    unknown = sorted({number for pair in pairs for number in pair} - set(classes))
    if unknown:
        raise PlanError(
            f"training.augmentation.swap_labels names labels that the model does not have: {unknown}.",
            found=unknown,
            expected=sorted(classes),
        )
    table = np.arange(256, dtype=np.uint8)
    for one, other in pairs:
        table[classes[one]], table[classes[other]] = classes[other], classes[one]
    return table


__all__ = ["exchange", "require_sides_kept"]
