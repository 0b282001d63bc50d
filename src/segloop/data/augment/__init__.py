"""Random variants of training patches: parameters are drawn first and applied after, so that a draw can be replayed.

Mirroring, rotation, scaling and elastic deformation become one set of coordinates, and image and mask are read at them
once: the image trilinear, the mask nearest. Everything is `keras.ops`, without hidden state, on any Keras backend.
"""

from __future__ import annotations

from segloop.data.augment.draws import Draw, uniform
from segloop.data.augment.pool import BLOCK, Pool, crop, warp
from segloop.data.augment.presets import PRESETS, Elastic, classic_elastic, with_preset
from segloop.data.augment.sides import require_sides_kept
from segloop.data.augment.transforms import Augment

__all__ = [
    "BLOCK",
    "PRESETS",
    "Augment",
    "Draw",
    "Elastic",
    "Pool",
    "classic_elastic",
    "crop",
    "require_sides_kept",
    "uniform",
    "warp",
    "with_preset",
]
