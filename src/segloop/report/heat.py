"""A map of numbers laid over the image as colour, in the same three planes as the key images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float, UInt8

from segloop.report.overlay import Colour, KeyImage, Outline, contour_images, fullest_slices, to_rgb
from segloop.volume import CANONICAL, Labels, Volume

# Dark to bright with an even step in lightness, so that more heat never looks like less, in print and to the colour
# blind as well (points on the path that the colour map "inferno" takes).
_ANCHORS = np.array([(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], np.float32)
# Below this share of the maximum the image is seen alone.
_CLEAR = 0.1
_COVER = 0.65

LEGEND: tuple[Colour, ...] = ((87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164))
"""Colours of a quarter, half, three quarters and all of the maximum."""


CONTOUR: Colour = (80, 220, 255)
"""Of the outlined label: a hue that the map does not have."""


def outlined_heat(volume: Volume, heat: Volume, labels: Labels, value: int) -> tuple[KeyImage, ...]:
    """The slices in three planes that show most of a label, with the map as colour over the image.

    Args:
        volume: The image.
        heat: 0 to 1 on its grid.
        labels: On its grid; chooses the grey scale.
        value: Number of the label that chooses the slices and is outlined.

    Raises:
        GeometryMismatch: The map or the mask does not lie on the image's grid.
    """
    volume.geometry.require_same_grid(heat.geometry, "The map does not lie on the image's grid")
    volume.geometry.require_same_grid(labels.geometry, "The mask does not lie on the image's grid")
    grey = to_rgb(volume, labels.array)
    blended = replace(volume, array=_blended(grey, heat.array))
    slices = fullest_slices(labels.reoriented(CANONICAL).array == value)
    return contour_images(blended, (Outline(labels, {value: CONTOUR}, width=1),), slices)


def _blended(grey: UInt8[np.ndarray, "z y x 3"], heat: Float[np.ndarray, "z y x"]) -> UInt8[np.ndarray, "z y x 3"]:
    share = np.clip(heat, 0, 1)
    steps = np.linspace(0, 1, len(_ANCHORS))
    colour = np.stack([np.interp(share, steps, _ANCHORS[:, c]) for c in range(3)], -1)
    cover = (_COVER * np.clip((share - _CLEAR) / (1 - _CLEAR), 0, 1) ** 0.5)[..., None]
    return np.asarray(np.rint(grey * (1 - cover) + colour * cover), np.uint8)
