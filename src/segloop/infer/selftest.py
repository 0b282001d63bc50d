"""A bundle's own test cases, run on this machine."""

from __future__ import annotations

import numpy as np

from segloop.errors import ModelError
from segloop.infer.bundle import Bundle
from segloop.infer.engine import segment
from segloop.infer.runtimes import Runtime
from segloop.plan import Frozen

LOWEST_DICE = 0.98
"""Agreement with the float32 labels at export that every label of every case must reach.

A wrong normalisation, orientation or kernel falls far below; rounding to bfloat16 does not.
"""


class SelfTestResult(Frozen):
    """Outcome of a self-test that passed.

    Attributes:
        runtime: What ran the network.
        precision: Of its hidden layers.
        cases: Number of cases.
        lowest_dice: Smallest Dice over cases and labels.
    """

    runtime: str
    precision: str
    cases: int
    lowest_dice: float


def selftest(bundle: Bundle, runtime: Runtime) -> SelfTestResult:
    """Segment the bundle's cases and compare with the labels stored when it was exported.

    A label that is absent from both counts as equal.

    Args:
        bundle: A checked bundle.
        runtime: Holding that bundle's network.

    Raises:
        ModelError: `bundle.selftest` when the bundle has no cases, or a label's Dice is below `LOWEST_DICE`.
    """
    cases = bundle.selftest_cases()
    if not cases:
        raise ModelError(
            f"The bundle {bundle.manifest.name} has no self-test cases.",
            code="bundle.selftest",
            found=0,
            expected="at least one",
            hint="Export the bundle again with self-test cases.",
        )
    lowest = 1.0
    for number, (image, expected) in enumerate(cases):
        labels, _, _ = segment(bundle.plan, runtime, image)
        image.geometry.require_same_grid(expected.geometry, f"self-test case {number}")
        for value, name in bundle.plan.label_names.items():
            score = _dice(labels.array == value, expected.array == value)
            lowest = min(lowest, score)
            if score < LOWEST_DICE:
                raise ModelError(
                    f"Self-test case {number} of {bundle.manifest.name} comes out differently here: {name} agrees with "
                    f"the labels at export to Dice {score:.4f} on {runtime.name} ({runtime.precision}); at least "
                    f"{LOWEST_DICE} is needed.",
                    code="bundle.selftest",
                    found=round(score, 4),
                    expected=LOWEST_DICE,
                    hint="Choose another runtime on this machine; do not use these results.",
                )
    return SelfTestResult(
        runtime=runtime.name, precision=runtime.precision, cases=len(cases), lowest_dice=round(lowest, 6)
    )


def _dice(one: np.ndarray, other: np.ndarray) -> float:
    size = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / size if size else 1.0
