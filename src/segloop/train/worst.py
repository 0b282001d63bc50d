"""The cases that went wrong most, drawn where they are most wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from segloop.plan import LabelSpec
from segloop.train.findings import Picture, WorstCase
from segloop.train.pictures import CONTOURS, close_up, comparison, to_small_png, worst_voxel
from segloop.train.scores import LabelScore, Scores
from segloop.volume import Labels, Volume

Read = Callable[[str], tuple[Volume, Labels, Labels]]
"""Image, expert labels and prediction of a case on one grid, by its id."""


def worst_cases(scores: Scores, specs: Sequence[LabelSpec], read: Read, count: int = 5) -> tuple[WorstCase, ...]:
    """The cases with the lowest Dice of any label, worst first, each with a picture; fewer where there are fewer.

    Args:
        scores: Of the predictions that `read` gives.
        specs: The labels.
        read: Asked for the chosen cases only.
        count: Most cases.
    """
    names = {str(spec.value): spec for spec in specs}
    ranked: list[tuple[float, str, str, LabelScore]] = []
    for case in scores.cases:
        defined = [(score.dice, number) for number, score in case.labels.items() if score.dice is not None]
        if defined:
            dice, number = min(defined)
            ranked.append((dice, case.id, number, case.labels[number]))
    return tuple(
        WorstCase(
            case=case_id,
            label=names[number].name,
            dice=score.dice,
            hd95_mm=score.hd95_mm,
            picture=case_picture(*read(case_id), names[number]),
        )
        for _, case_id, number, score in sorted(ranked, key=lambda row: row[:3])[:count]
    )


def case_picture(volume: Volume, truth: Labels, prediction: Labels, spec: LabelSpec) -> Picture:
    """Three planes through the middle of the thickest error of one label, cut to its surroundings.

    Only that label's contours are drawn. Where nothing is wrong the planes show most of the label.

    Raises:
        GeometryMismatch: Image, truth and prediction do not share a grid.
    """
    only = [Labels((m.array == spec.value).astype(np.uint8), m.geometry, {1: spec.name}) for m in (truth, prediction)]
    image, expert, model = close_up(volume, only[0], only[1])
    at = worst_voxel(expert, model)
    pixels = comparison(image, expert, model, at=at)
    where = "through the middle of the thickest error" if at else "through the label"
    return Picture(png=to_small_png(pixels), text=f"Slices {where} of {spec.name}. {CONTOURS}")
