"""Masks to numbers: how two agree, what one measures, what became of it. Pure functions, units in their names."""

from __future__ import annotations

from segloop.measure.agreement import bootstrap_interval, dice, hausdorff_mm, surface_dice
from segloop.measure.change import NOISE, Verdict, VolumeChange, doubling_days, volume_change
from segloop.measure.cutoff import cut_off
from segloop.measure.diameters import Diameter, diameters
from segloop.measure.intervals import VolumeInterval, with_intervals
from segloop.measure.lesions import ALIGNED_MM, SAME_SPACE_MM, Fate, Lineage, match_lesions, organ_shift_mm
from segloop.measure.quantities import Measurement, Quantity
from segloop.measure.recist import Category, Response, SizedLesion, choose_targets, respond
from segloop.measure.shape import measure_labels, parts
from segloop.measure.surface import Extent, extents, surface_mm2

__all__ = [
    "ALIGNED_MM",
    "NOISE",
    "SAME_SPACE_MM",
    "Category",
    "Diameter",
    "Extent",
    "Fate",
    "Lineage",
    "Measurement",
    "Quantity",
    "Response",
    "SizedLesion",
    "Verdict",
    "VolumeChange",
    "VolumeInterval",
    "bootstrap_interval",
    "choose_targets",
    "cut_off",
    "diameters",
    "dice",
    "doubling_days",
    "extents",
    "hausdorff_mm",
    "match_lesions",
    "measure_labels",
    "organ_shift_mm",
    "parts",
    "respond",
    "surface_dice",
    "surface_mm2",
    "volume_change",
    "with_intervals",
]
