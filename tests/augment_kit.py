"""Augmentation for tests: everything off but what is asked for, applied to patches in one call."""

from __future__ import annotations

import numpy as np
from keras import ops

from segloop.data.augment import Augment
from segloop.plan import AugmentationSpec

PATCH = (8, 12, 10)


def spec(*on: str, **fields: object) -> AugmentationSpec:
    """No transform but those named, which then always happen: `spec("gamma", gamma=(0.5, 0.5))`."""
    names = [name for name in AugmentationSpec.model_fields if name.endswith("_probability")]
    chances = {name: float(name.removesuffix("_probability") in on) for name in names}
    return AugmentationSpec.model_validate({**chances, **fields})


def batch(count: int = 2, patch: tuple[int, int, int] = PATCH, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noise of two channels, and random classes 0 to 3."""
    draw = np.random.default_rng(seed)
    images = draw.normal(size=(count, *patch, 2)).astype(np.float32)
    return images, draw.integers(0, 4, (count, *patch)).astype(np.uint8)


def applied(augment: Augment, seed: int, images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The variants that a seed draws of these patches."""
    drawn = augment.draw(seed, len(images))
    image, label = augment.apply(drawn, ops.convert_to_tensor(images), ops.convert_to_tensor(labels))
    return np.asarray(image), np.asarray(label)
