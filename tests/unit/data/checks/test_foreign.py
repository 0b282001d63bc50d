from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from segloop.data.checks.entries import Entry
from segloop.data.checks.facts import CaseFacts, LabelFacts
from segloop.data.checks.foreign import foreign_masks
from segloop.volume import Geometry

NAMES = {1: "organ"}
USUAL = LabelFacts(
    voxels=1000,
    share=0.1,
    volume_ml=10.0,
    place=(0.3, 0.4, 0.6),
    centre_mm=(0.0, 0.0, 0.0),
    components=1,
    specks=0,
    rank=0.7,
)


def cases(odd: LabelFacts, *, spacing_mm: float = 1.0, number: int = 9) -> list[CaseFacts]:
    """Cases that differ a little, and one whose label is `odd`."""
    draw = np.random.default_rng(0)
    made = []
    for index in range(number):
        z, y, x = np.asarray(USUAL.place) + draw.normal(0, 0.01, 3)
        label = replace(USUAL, volume_ml=10 * draw.uniform(0.8, 1.25), place=(z, y, x), rank=draw.uniform(0.65, 0.75))
        entry = Entry(f"c{index}", (Path("image"),), Path("label"))
        made.append(CaseFacts(entry, (), Geometry((10, 10, 10)), labels={1: label}))
    odd_case = Entry("odd", (Path("image"),), Path("label"))
    return [*made, CaseFacts(odd_case, (), Geometry((10, 10, 10), (spacing_mm, 1.0, 1.0)), labels={1: odd})]


@pytest.mark.parametrize(
    ("change", "severity"),
    [
        ({}, None),
        ({"volume_ml": 30.0}, None),
        ({"volume_ml": 500.0}, "warning"),
        ({"rank": 0.3}, None),
        ({"volume_ml": 100.0, "rank": 0.1}, "error"),
        ({"components": 60, "volume_ml": 100.0}, "error"),
        ({"place": (0.3, 0.4, 0.85)}, None),
        ({"place": (0.95, 0.4, 0.6)}, "error"),
    ],
)
def test_a_label_that_is_unlike_all_others_is_foreign(change: dict[str, object], severity: str | None) -> None:
    faults = list(foreign_masks(NAMES, cases(replace(USUAL, **change))))
    assert [(fault.case, fault.severity) for fault in faults] == ([("odd", severity)] if severity else [])


def test_where_the_image_shows_more_a_label_may_lie_elsewhere() -> None:
    (fault,) = foreign_masks(NAMES, cases(replace(USUAL, place=(0.95, 0.4, 0.6)), spacing_mm=2.0))
    assert fault.severity == "warning"
    assert "place" in fault.cause


def test_among_few_cases_nothing_is_unlike() -> None:
    assert list(foreign_masks(NAMES, cases(replace(USUAL, volume_ml=9999.0, rank=0.0), number=4))) == []
