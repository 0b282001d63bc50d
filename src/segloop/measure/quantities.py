"""What a mask is measured in: the names, units and the one record that every report renders."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from segloop.plan import Frozen
from segloop.volume import Vector


class Quantity(StrEnum):
    """A measured quantity, as named in `result.json`."""

    VOLUME = "volume"
    LONGEST_DIAMETER = "longest_diameter"
    PERPENDICULAR_DIAMETER = "perpendicular_diameter"
    LONGEST_DIAMETER_3D = "longest_diameter_3d"
    PERPENDICULAR_DIAMETER_3D = "perpendicular_diameter_3d"
    MEAN_INTENSITY = "mean_intensity"
    SD_INTENSITY = "sd_intensity"
    SURFACE = "surface"


class Measurement(Frozen):
    """One number about one label, or about one connected part of it.

    Attributes:
        label: Number in the label map.
        name: English name of the label.
        component: 0 is the whole label; 1 and up its parts from large to small.
        quantity: What was measured.
        value: In `unit`.
        unit: `ml`, `mm`, `mm2`, `HU`, `SUV`, or empty for intensities without a physical unit.
        interval: Lowest and highest plausible value, where known.
        points_mm: End points in LPS mm, for diameters.
    """

    label: int = Field(ge=1)
    name: str
    component: int = Field(default=0, ge=0)
    quantity: Quantity
    value: float
    unit: str
    interval: tuple[float, float] | None = None
    points_mm: tuple[Vector, ...] = ()
