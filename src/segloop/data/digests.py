"""What tells one image from another, whatever file it lies in."""

from __future__ import annotations

import hashlib

import numpy as np
from jaxtyping import Shaped

from segloop.volume import CANONICAL, Reorientation, Volume


def array_digest(array: Shaped[np.ndarray, "z y x ..."]) -> str:
    """SHA-256 (hex), equal for equal voxels, whatever number type they are stored in."""
    digest = hashlib.sha256(str(array.shape).encode())
    for plane in array:
        digest.update(np.ascontiguousarray(plane, np.float32).data)
    return digest.hexdigest()


def voxels_digest(volume: Volume) -> str:
    """SHA-256 (hex), equal for equal voxels, whatever file format, compression, orientation or number type.

    Empty for an image without contrast in any channel, which tells nothing from anything.
    """
    turned = Reorientation.between(volume.geometry, CANONICAL).array(volume.array)
    return "" if bool((turned == turned[0, 0, 0]).all()) else array_digest(turned)
