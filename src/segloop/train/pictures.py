"""Pictures of truth and prediction, in the display convention of the clinical reports."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from math import ceil

import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8
from PIL import Image
from scipy.ndimage import distance_transform_edt

from segloop.plan import IGNORED, Plan
from segloop.prep.decision import Decision
from segloop.report.overlay import Colour, Outline, contour_images, fullest_slices, mosaic
from segloop.volume import CANONICAL, Geometry, Labels, Reorientation, Volume

TRUTH: Colour = (86, 180, 233)
"""Sky blue: what the expert drew."""
PREDICTION: Colour = (230, 159, 0)
"""Orange: what the model drew."""
CONTOURS = (
    "The expert's contour is the wide blue line, the model's the narrow orange one. The patient's right is on the left."
)
"""What the lines mean, for the words beside a picture."""

# The expert's line is the wider one and lies below, so that where both agree both are seen.
_WIDE, _NARROW = 4, 2
_LEGEND: tuple[tuple[str, Colour], ...] = (("expert", TRUTH), ("model", PREDICTION))
# Around the labels at least this much of the image is shown, and at least this share of their extent on each side.
_LEAST_MM, _AROUND = 60.0, 0.5
_LETTERS_FROM = 160
_PALETTE = 256

Index = tuple[int, int, int]


def comparison(
    volume: Volume,
    truth: Labels,
    prediction: Labels,
    *,
    at: Index | None = None,
    head: Sequence[str] = (),
    longest_side: int = 288,
    lettered: bool = True,
) -> UInt8[np.ndarray, "row column 3"]:
    """Three planes (one of a 2-D image) with the expert's and the model's contours, and a legend; RGB.

    Args:
        volume: The image.
        truth: Expert labels on its grid.
        prediction: The model's labels on its grid.
        at: Voxel of `volume` that the planes pass through; None takes in each plane the slice with most expert label
            (most predicted, where the expert drew none).
        head: Lines of text above.
        longest_side: Pixels of the image's longest extent.
        lettered: Write the patient's sides at the edges; images without patient geometry have none.

    Raises:
        GeometryMismatch: The three do not share a grid.
    """
    volume.geometry.require_same_grid(truth.geometry, "The expert's labels do not lie on the image's grid")
    volume.geometry.require_same_grid(prediction.geometry, "The prediction does not lie on the image's grid")
    if at is None:
        canonical = (truth if truth.array.any() else prediction).reoriented(CANONICAL).array > 0
        slices = fullest_slices(canonical)
    else:
        slices = _canonical(volume.geometry, at)
    values = sorted({int(v) for v in (*np.unique(truth.array), *np.unique(prediction.array))} - {0})
    outlines = (
        Outline(truth, dict.fromkeys(values, TRUTH), _WIDE),
        Outline(prediction, dict.fromkeys(values, PREDICTION), _NARROW),
    )
    images = contour_images(
        volume, outlines, slices, longest_side=longest_side, lettered=lettered and longest_side >= _LETTERS_FROM
    )
    return mosaic(images, head, _LEGEND, least_width=0)


def close_up(volume: Volume, truth: Labels, prediction: Labels) -> tuple[Volume, Labels, Labels]:
    """The part of an image around both masks, with a margin, so that a small structure fills the picture.

    Returns:
        All three cut to one box; as they are where neither mask has a voxel.
    """
    found = np.argwhere((truth.array > 0) | (prediction.array > 0))
    if not len(found):
        return volume, truth, prediction
    box = []
    for axis, (first, last) in enumerate(zip(found.min(0), found.max(0), strict=True)):
        size, spacing = volume.geometry.shape[axis], volume.geometry.spacing_mm[axis]
        extent = int(last - first) + 1
        wanted = max(extent * (1 + 2 * _AROUND), _LEAST_MM / spacing)
        margin = ceil((wanted - extent) / 2)
        box.append(slice(max(0, int(first) - margin), min(size, int(last) + 1 + margin)))
    cut = (box[0], box[1], box[2])
    geometry = _cropped(volume.geometry, cut)
    return (
        replace(volume, array=volume.array[cut], geometry=geometry),
        replace(truth, array=truth.array[cut], geometry=geometry),
        replace(prediction, array=prediction.array[cut], geometry=geometry),
    )


def worst_voxel(truth: Labels, prediction: Labels, label: int | None = None) -> Index | None:
    """The voxel deepest inside what is wrong: the middle of the thickest error. None where nothing is wrong.

    Args:
        truth: Expert labels.
        prediction: Labels on the same grid.
        label: Look at errors of this label alone.
    """
    wrong: Bool[np.ndarray, "z y x"] = (
        truth.array != prediction.array if label is None else (truth.array == label) != (prediction.array == label)
    )
    if not wrong.any():
        return None
    # Beyond the image counts as right, else a wrong border slice of a flat image would have no depth.
    depth = distance_transform_edt(np.pad(wrong, 1), sampling=truth.geometry.spacing_mm)[1:-1, 1:-1, 1:-1]
    z, y, x = (int(i) for i in np.unravel_index(int(depth.argmax()), wrong.shape))
    return z, y, x


def training_labels(plan: Plan, classes: Integer[np.ndarray, "z y x"]) -> Labels:
    """Label numbers on the training grid from class indices; ignored voxels become background."""
    lookup = np.zeros(IGNORED + 1, np.uint16)
    lookup[1 : len(plan.labels) + 1] = [label.value for label in plan.labels]
    return Labels(lookup[classes], training_geometry(plan, classes.shape), plan.label_names)


def predicted_labels(plan: Plan, scores: Float[np.ndarray, "z y x k"]) -> Labels:
    """Label numbers on the training grid from a network's scores, by the Plan's decision without its calibration."""
    decided = Decision.of(plan).uncalibrated.from_scores(np.moveaxis(scores, -1, 0))
    return Labels(decided, training_geometry(plan, decided.shape), plan.label_names)


def training_volume(plan: Plan, image: Float[np.ndarray, "z y x c"]) -> Volume:
    """A prepared image as a Volume; of several channels that are no colours the first is shown."""
    colour = plan.network.dims == 2 and image.shape[-1] == 3
    return Volume(image if colour else image[..., 0], training_geometry(plan, image.shape[:3]))


def training_geometry(plan: Plan, shape: Sequence[int]) -> Geometry:
    """Where a patch of the training grid lies, but for its place: spacing and the Plan's orientation."""
    z, y, x = shape
    canonical = Geometry((1, 1, 1), plan.preparation.spacing_mm or (1.0, 1.0, 1.0))
    turn = Reorientation.between(canonical, plan.preparation.orientation)
    spacing = canonical.spacing_mm
    return Geometry((z, y, x), spacing, direction=turn.geometry(canonical).direction)


def to_small_png(pixels: UInt8[np.ndarray, "row column 3"]) -> bytes:
    """RGB as a small PNG: with a palette where 128 shades of grey and the lines' colours are all that is in it."""
    grey = (pixels == pixels[..., :1]).all(axis=-1, keepdims=True)
    # The eye does not see the last bit of a grey, and without it a picture needs one byte a pixel instead of three.
    even = np.where(grey, pixels & 0xFE, pixels)
    packed = (even.astype(np.uint32) << np.array([16, 8, 0], np.uint32)).sum(axis=-1, dtype=np.uint32)
    colours, index = np.unique(packed, return_inverse=True)
    if len(colours) <= _PALETTE:
        image = Image.fromarray(index.reshape(packed.shape).astype(np.uint8), "P")
        image.putpalette(np.stack([colours >> 16, colours >> 8 & 0xFF, colours & 0xFF], -1).astype(np.uint8).tobytes())
    else:
        image = Image.fromarray(pixels)
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _canonical(geometry: Geometry, at: Index) -> Index:
    """Index of the same voxel once the grid is turned to the canonical orientation."""
    turn = Reorientation.between(geometry, CANONICAL)
    index = [
        geometry.shape[old] - 1 - at[old] if flip else at[old]
        for old, flip in zip(turn.permutation, turn.flips, strict=True)
    ]
    return index[0], index[1], index[2]


def _cropped(geometry: Geometry, box: tuple[slice, slice, slice]) -> Geometry:
    z, y, x = (s.stop - s.start for s in box)
    origin = geometry.to_lps(np.asarray([s.start for s in box], float))
    return replace(geometry, shape=(z, y, x), origin_mm=(float(origin[0]), float(origin[1]), float(origin[2])))
