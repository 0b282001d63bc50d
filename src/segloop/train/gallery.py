"""The pictures of a training: augmented samples, and held-out cases with truth and prediction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
from jaxtyping import UInt8

from segloop.data.feed import Example
from segloop.plan import Plan
from segloop.store import READABLE, write_whole
from segloop.train.findings import Picture
from segloop.train.judging import Batches
from segloop.train.pictures import (
    CONTOURS,
    comparison,
    predicted_labels,
    to_small_png,
    training_labels,
    training_volume,
)

SHEET = "augmentation.png"
"""File of the augmentation sheet in a run's folder."""
SHOWN = 4
"""Held-out cases that are drawn."""

_SMALL, _LARGE = 176, 256
_COLUMNS, _ROWS = 6, 4


def draw_sheet(plan: Plan, examples: Sequence[Example], seed: int, out: Path) -> UInt8[np.ndarray, "row column 3"]:
    """Augmented samples as RGB, written to `out/augmentation.png` as well, so that a resumed run has them too."""
    from segloop.data.sheet import augmentation_sheet

    pixels = augmentation_sheet(plan, examples, seed, columns=_COLUMNS, rows=_ROWS)
    out.mkdir(parents=True, exist_ok=True)
    write_whole(to_small_png(pixels), out / SHEET, READABLE)
    return pixels


def kept_sheet(out: Path) -> Picture | None:
    """The sheet that a run's folder holds; None where there is none."""
    path = out / SHEET
    if not path.is_file():
        return None
    return Picture(
        png=path.read_bytes(),
        text="Rows of training patches: in the first column as they are, in the others as augmentation changes them.",
        caption="First column: patches as they are. The others: variants as training draws them, with their labels.",
    )


def overlay_pictures(network: keras.Model, held: Batches, plan: Plan) -> tuple[Picture, ...]:
    """The first held-out patches with both contours, for the page."""
    return tuple(
        Picture(png=to_small_png(pixels), text=f"Held-out patch {number}. {CONTOURS}")
        for number, pixels in enumerate(overlays(network, held, plan, longest_side=_LARGE), 1)
    )


def overlays(
    network: keras.Model, held: Batches, plan: Plan, longest_side: int = _SMALL
) -> tuple[UInt8[np.ndarray, "row column 3"], ...]:
    """The first held-out patches, always the same ones, cut where most label is; truth and prediction as contours.

    Args:
        network: Gives scores at full resolution.
        held: Batches of held-out patches; without any there is no picture.
        plan: How classes become labels.
        longest_side: Pixels of the patch's longest side.
    """
    drawn: list[UInt8[np.ndarray, "row column 3"]] = []
    for image, labels in held:
        if len(drawn) == SHOWN:
            break
        scores = np.asarray(network.predict_on_batch(image))
        for picture, truth, score in zip(image, labels, scores, strict=True):
            if len(drawn) < SHOWN:
                drawn.append(_overlay(picture, truth, score, plan, longest_side))
    return tuple(drawn)


def _overlay(
    image: np.ndarray, truth: np.ndarray, scores: np.ndarray, plan: Plan, longest_side: int
) -> UInt8[np.ndarray, "row column 3"]:
    if plan.network.dims == 2:
        image, truth, scores = image[None], truth[None], scores[None]
    return comparison(
        training_volume(plan, image),
        training_labels(plan, truth),
        predicted_labels(plan, scores.astype(np.float32)),
        longest_side=longest_side,
        lettered=plan.preparation.spacing_mm is not None,
    )
