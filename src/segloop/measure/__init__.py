"""Masks to numbers: how two agree (`agreement`), what one measures (`shape`). Pure functions, units in their names."""

from __future__ import annotations

from segloop.measure.agreement import bootstrap_interval, dice, hausdorff_mm, surface_dice
from segloop.measure.cutoff import cut_off
from segloop.measure.diameters import Diameter, diameters
from segloop.measure.intervals import VolumeInterval, with_intervals
from segloop.measure.quantities import Measurement, Quantity
from segloop.measure.shape import measure_labels, parts
from segloop.measure.surface import Extent, extents, surface_mm2

__all__ = [
    "Diameter",
    "Extent",
    "Measurement",
    "Quantity",
    "VolumeInterval",
    "bootstrap_interval",
    "cut_off",
    "diameters",
    "dice",
    "extents",
    "hausdorff_mm",
    "measure_labels",
    "parts",
    "surface_dice",
    "surface_mm2",
    "with_intervals",
]
