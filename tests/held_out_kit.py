"""Held-out predictions made up for tests: balls, and a model of which it is known what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import tiny_models
from segloop.infer import Bundle
from segloop.plan import Plan, Provenance
from segloop.train.outoffold import HeldOut, Predictions, write
from segloop.volume import Geometry

GRID = Geometry((20, 20, 20), (1.0, 1.0, 1.0))
POINTS = np.stack(np.meshgrid(*(np.arange(20),) * 3, indexing="ij"), -1)


@dataclass(frozen=True)
class Model:
    """As much of a bundle as is asked for: what it was trained on."""

    digest: str
    manifest: Manifest


@dataclass(frozen=True)
class Manifest:
    provenance: Provenance
    name: str = "made up"
    version: str = "1"


def model(fold: int, images: tuple[str, ...] = ()) -> Model:
    return Model(f"sha256:{fold:064d}", Manifest(Provenance(training_images={i: i for i in images})))


def ball(centre: tuple[float, float, float], radius: float) -> np.ndarray:
    """Signed distance to a ball's surface, positive inside."""
    return radius - np.linalg.norm(POINTS - np.asarray(centre), axis=-1)


def scores_of(one: np.ndarray, five: np.ndarray | None = None) -> np.ndarray:
    """Scores (background, one, five) of the tiny plan from distances: certainty grows with the depth."""
    other = np.full(GRID.shape, -10.0) if five is None else five
    return np.stack([np.zeros(GRID.shape), one, other]).astype(np.float32)


def probabilities(scores: np.ndarray, *, regions: bool = False) -> np.ndarray:
    if regions:
        return (1 / (1 + np.exp(-scores))).astype(np.float32)
    exponentials = np.exp(scores - scores.max(axis=0))
    return (exponentials / exponentials.sum(axis=0)).astype(np.float32)


def predictions(
    folder: Path,
    make: Callable[[int], tuple[np.ndarray, np.ndarray]],
    cases: int = 12,
    folds: int = 3,
    **changes: object,
) -> Predictions:
    """`make` gives the scores and the expert's labels of each case; changes are the Plan's."""
    plan: Plan = tiny_models.plan(**changes)
    for number in range(cases):
        fold = number % folds
        scores, reference = make(number)
        found = HeldOut(
            f"c{number:02d}",
            fold,
            f"image{number}",
            model(fold).digest,
            probabilities(scores, regions=bool(plan.regions)),
            reference.astype(np.uint8),
            GRID,
        )
        write(found, folder / f"fold{fold}" / f"{found.case}.npz")
    return Predictions(plan, [(_as_bundle(fold), folder / f"fold{fold}") for fold in range(folds)])


def _as_bundle(fold: int) -> Bundle:
    return model(fold)  # type: ignore[return-value]  # the digest and provenance are all that is read
