"""Losses, from the `LossSpec` of a Plan: an overlap term, cross-entropy, and a term about borders or centre lines.

Written in `keras.ops` only and computed in float32, whatever the precision of the network.
"""

from segloop.nets.losses.distance import signed_distance, squared_distance
from segloop.nets.losses.extras import boundary, centre_line, erosion_hausdorff
from segloop.nets.losses.morphology import dilated, eroded, soft_skeleton
from segloop.nets.losses.overlap import focal_tversky, generalised_dice, soft_dice, tversky
from segloop.nets.losses.segmentation import SegmentationLoss, make_loss, set_progress

__all__ = [
    "SegmentationLoss",
    "boundary",
    "centre_line",
    "dilated",
    "eroded",
    "erosion_hausdorff",
    "focal_tversky",
    "generalised_dice",
    "make_loss",
    "set_progress",
    "signed_distance",
    "soft_dice",
    "soft_skeleton",
    "squared_distance",
    "tversky",
]
