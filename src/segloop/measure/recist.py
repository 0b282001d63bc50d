"""The arithmetic of RECIST 1.1: which lesions are summed up, their sum, and the category that its change falls into.

It is arithmetic on measured diameters. Which lesions are tumour, and what else grew, a person has to say.

Source: Eisenhauer et al., New response evaluation criteria in solid tumours: revised RECIST guideline (version 1.1),
Eur J Cancer 45:228 (2009); EORTC's clarifications of it (recist.eortc.org): all lymph nodes are one organ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum

from pydantic import Field

from segloop.plan import Frozen

MOST_TARGETS, MOST_PER_ORGAN = 5, 2
LEAST_MM, LEAST_NODE_MM, NORMAL_NODE_MM = 10.0, 15.0, 10.0
"""Longest diameter of a lesion that can be measured, short axis of a node that can, short axis of a normal node."""

THICKEST_SLICE_MM = 5.0
SHRUNK_BY, GROWN_BY, GROWN_BY_MM = 0.30, 0.20, 5.0
# A thousandth of a millimetre: a sum of rounded diameters must not fall short of a bound that it equals.
_ROUNDING_MM = 1e-3


class Category(StrEnum):
    """RECIST's name of a change of the sum: complete and partial response, stable, progressive, not evaluable."""

    CR = "CR"
    PR = "PR"
    SD = "SD"
    PD = "PD"
    NE = "NE"


class SizedLesion(Frozen):
    """What RECIST asks of one lesion at one date.

    Attributes:
        name: By which it is known at every date.
        organ: In which it lies; lesions of one organ have equal ones.
        longest_mm: Longest diameter in the plane of the slices.
        short_mm: Longest one across it; 0 where there is none.
        node: Whether it is a lymph node, which is measured by its short axis.
    """

    name: str
    organ: str
    longest_mm: float = Field(ge=0)
    short_mm: float = Field(default=0.0, ge=0)
    node: bool = False

    @property
    def diameter_mm(self) -> float:
        """The diameter that is summed up."""
        return self.short_mm if self.node else self.longest_mm


class Response(Frozen):
    """The sum of diameters against its own past.

    Attributes:
        category: Of the change.
        sum_mm: Now.
        baseline_mm: At the first date.
        nadir_mm: Smallest at any earlier date, the first included.
        from_baseline: Share by which the sum changed since the first date; None from a sum of 0.
        from_nadir: Share by which it changed since its smallest; None from a sum of 0.
        new_lesions: Lesions that were not there before, of any size.
    """

    category: Category
    sum_mm: float
    baseline_mm: float
    nadir_mm: float
    from_baseline: float | None
    from_nadir: float | None
    new_lesions: int = Field(default=0, ge=0)


def measurable(lesion: SizedLesion, slice_mm: float) -> bool:
    """Whether a lesion is large enough to be a target.

    Args:
        lesion: Of the first date.
        slice_mm: Distance between slices; above `THICKEST_SLICE_MM` a lesion needs twice that.
    """
    thick = 2 * slice_mm if slice_mm > THICKEST_SLICE_MM else 0.0
    least = max(LEAST_NODE_MM if lesion.node else LEAST_MM, thick)
    return lesion.diameter_mm >= least - _ROUNDING_MM


def choose_targets(lesions: Sequence[SizedLesion], slice_mm: float) -> tuple[SizedLesion, ...]:
    """The largest measurable lesions, at most five in all and two in one organ.

    Args:
        lesions: All of the first date.
        slice_mm: Distance between slices.

    Returns:
        From large to small; those of one size by name.
    """
    chosen: list[SizedLesion] = []
    taken: Counter[str] = Counter()
    for lesion in sorted(lesions, key=lambda one: (-one.diameter_mm, one.name)):
        organ = "lymph nodes" if lesion.node else lesion.organ
        if measurable(lesion, slice_mm) and taken[organ] < MOST_PER_ORGAN and len(chosen) < MOST_TARGETS:
            chosen.append(lesion)
            taken[organ] += 1
    return tuple(chosen)


def respond(sums_mm: Sequence[float], *, disappeared: bool, new_lesions: int = 0, evaluable: bool = True) -> Response:
    """The category of the last sum.

    Progression is looked for first: at least 20 % and 5 mm above the smallest earlier sum, or a new lesion. Then come
    complete response, partial response (at least 30 % below the first sum) and, for all else, stable disease.

    Args:
        sums_mm: Sum of the targets' diameters at each date, the first one the baseline, the last one now.
        disappeared: Whether every target is gone, and each node among them has a short axis below 10 mm.
        new_lesions: Lesions that were not there before.
        evaluable: Whether the image shows the place of every target. Progression is seen in the others as well.

    Raises:
        ValueError: Fewer than two sums.

    >>> respond([50.0, 30.0, 36.0], disappeared=False).category
    <Category.PD: 'PD'>
    """
    if len(sums_mm) < 2:
        raise ValueError(f"a sum is compared with an earlier one. Received: {len(sums_mm)} sums")
    *earlier, now = sums_mm
    first, least = earlier[0], min(earlier)
    rise = now - least
    grown = rise >= GROWN_BY_MM - _ROUNDING_MM and rise >= GROWN_BY * least - _ROUNDING_MM
    if grown or new_lesions:
        category = Category.PD
    elif not evaluable:
        category = Category.NE
    elif disappeared:
        category = Category.CR
    else:
        category = Category.PR if first - now >= SHRUNK_BY * first - _ROUNDING_MM else Category.SD
    return Response(
        category=category,
        sum_mm=now,
        baseline_mm=first,
        nadir_mm=least,
        from_baseline=now / first - 1 if first else None,
        from_nadir=now / least - 1 if least else None,
        new_lesions=new_lesions,
    )
