"""Structures that the image cuts off: what is measured of them is a lower bound."""

from __future__ import annotations

import numpy as np

from segloop.volume import Labels


def cut_off(labels: Labels) -> tuple[int, ...]:
    """Numbers of the labels that reach the edge of the image, and may go on beyond it.

    An axis of one voxel, as the slice axis of a single image, has no inside and does not count.
    """
    found: set[int] = set()
    for axis, length in enumerate(labels.array.shape):
        if length > 1:
            edges = np.take(labels.array, (0, length - 1), axis)
            found |= {int(value) for value in np.unique(edges) if value}
    return tuple(sorted(found))
