"""Self-test images for a bundle: made up, so that they hold nobody's data."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from scipy.ndimage import zoom

from segloop.infer.bundle import Bundle
from segloop.infer.engine import segment
from segloop.infer.export import exactly
from segloop.plan import Plan
from segloop.volume import Geometry, Reorientation, Vector, Volume

_CANDIDATES = 10
_LARGEST = {2: 256, 3: 64}
_WHOLE_NUMBERS_FROM = 100.0


def selftest_images(
    plan: Plan, exact: keras.Model, fast: keras.Model, cases: int = 2, coarse: Bundle | None = None
) -> list[Volume]:
    """Made-up images on which the model's labels are steady and, if possible, not empty.

    Of several candidates those are taken whose labels agree best between full and reduced precision, so that the test
    tells a damaged model from rounding; among equally steady ones, those with most labelled voxels.

    Args:
        plan: The recipe.
        exact: Deployed network in float32.
        fast: The same weights in the precision of training.
        cases: How many.
        coarse: The first network of a cascade.
    """
    runtimes = exactly(exact, coarse), exactly(fast, coarse)
    scored: list[tuple[tuple[bool, int], int, Volume]] = []
    for volume in made_up(plan, _CANDIDATES):
        one, other = (segment(plan, runtime, volume)[0].array for runtime in runtimes)
        worst = min(_dice(one == label.value, other == label.value) for label in plan.labels)
        filled = min(int((one == label.value).sum()) for label in plan.labels)
        # A candidate that comes out empty agrees perfectly, and is the least use.
        scored.append(((worst >= 0.99, filled), len(scored), volume))
    scored.sort(key=lambda entry: entry[:2], reverse=True)
    return [volume for _, _, volume in scored[:cases]]


def made_up(plan: Plan, cases: int, seed: int = 7) -> list[Volume]:
    """Smooth random blobs with the size, spacing, orientation and range of values the model expects."""
    draw = np.random.default_rng(seed)
    rule = plan.preparation.normalisation[0]
    low, high = rule.window or (0.0, 1000.0)
    if plan.inputs.channels == 3:
        dtype: type[np.generic] = np.uint8
        low, high = 0.0, 255.0
    else:
        dtype = np.int16 if high - low >= _WHOLE_NUMBERS_FROM else np.float32
    largest = _LARGEST[plan.network.dims]
    z, y, x = (min(size, largest) for size in plan.training.patch)
    spacing: Vector = plan.preparation.spacing_mm or (1.0, 1.0, 1.0)
    plain = Geometry((z, y, x), spacing)
    geometry = Reorientation.between(plain, plan.preparation.orientation).geometry(plain)
    volumes = []
    for _ in range(cases):
        channels = [_blobs(draw, geometry.shape) * (high - low) + low for _ in range(plan.inputs.channels)]
        values = channels[0] if len(channels) == 1 else np.stack(channels, -1)
        rounded = values if dtype is np.float32 else np.round(values)
        volumes.append(Volume(rounded.astype(dtype), geometry))
    return volumes


def _blobs(draw: np.random.Generator, shape: Sequence[int]) -> np.ndarray:
    """Values from 0 to 1: a coarse random grid blown up, with a brighter or darker ellipsoid in the middle."""
    coarse = draw.random(tuple(max(2, round(n / 10)) if n > 1 else 1 for n in shape))
    fine = zoom(coarse, [n / c for n, c in zip(shape, coarse.shape, strict=True)], order=1)
    radii = draw.uniform(0.3, 0.7, 3)
    axes = [np.linspace(-1, 1, n) / r if n > 1 else np.zeros(1) for n, r in zip(shape, radii, strict=True)]
    distance = np.sqrt(sum(np.square(a) for a in np.meshgrid(*axes, indexing="ij")))
    inside = 1 / (1 + np.exp(8 * (distance - 1)))
    blob = fine + draw.choice([-1, 1]) * draw.uniform(0.4, 1.0) * inside
    return np.asarray((blob - blob.min()) / max(float(np.ptp(blob)), 1e-6))


def _dice(one: np.ndarray, other: np.ndarray) -> float:
    size = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / size if size else 1.0
