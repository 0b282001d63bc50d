"""An invented abdomen: where each organ lies, how dense it is, and which lesions its liver holds.

Positions are millimetres (x left, y back, z head) from the middle of the scanned range. Organs are painted in order, so
a later one hides an earlier one. The liver comes last but for its own vessels and lesions: nothing outside ever cuts
into it, and its volume stays known.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import pi

import numpy as np

from segloop.errors import InputError, SegloopError
from segloop.phantom.solids import Lobes, Quadric
from segloop.volume import Vector

MAX_LESIONS = 5
LESION_ML = (1.5, 30.0)
"""Lesion volumes are drawn evenly in their logarithm between these: diameters of about 14 to 39 mm."""
GROWTH = (0.1, 1.5)
"""Factors that a lesion's volume may change by between two dates; more would use up the room it was placed with."""
_LESION_MARGIN_MM = 4.0
_LESION_GAP_MM = 7.0
_ATTEMPTS, _DRAWS = 4000, 20


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A solid and its density in HU."""

    solid: Quadric | Lobes
    hu: float


@dataclass(frozen=True, slots=True)
class Contrast:
    """How dense a phantom's liver and lesions are drawn.

    Args:
        liver_hu: Lowest and highest density of the liver.
        below_hu: How much darker than the liver a lesion is, lowest and highest.
    """

    liver_hu: tuple[float, float] = (97.0, 113.0)
    below_hu: tuple[float, float] = (50.0, 75.0)


VARIED = Contrast((85.0, 127.0), (32.0, 95.0))
"""Wider than phantoms for trying are: what learns from it must find a lesion's border between what lies on its two
sides, and cannot get by with one threshold for all."""


@dataclass(frozen=True, slots=True, eq=False)
class Anatomy:
    """One abdomen.

    Args:
        surroundings: All that is not liver, in painting order.
        liver: The liver, lesions included.
        vessels: Tubes that are drawn inside the liver only and belong to it.
        lesions: Ellipsoids wholly inside the liver, apart from each other, from large to small.
    """

    surroundings: tuple[Part, ...]
    liver: Part
    vessels: tuple[Part, ...]
    lesions: tuple[Part, ...]


def draw_anatomy(rng: np.random.Generator, lesions: int | None = None, contrast: Contrast | None = None) -> Anatomy:
    """A random abdomen with `lesions` liver lesions (0 to 5; drawn when None).

    Raises:
        InputError: `usage` when `lesions` is out of range.
    """
    if lesions is not None and not 0 <= lesions <= MAX_LESIONS:
        raise InputError(
            f"A phantom has 0 to {MAX_LESIONS} lesions, not {lesions}.", code="usage", found=lesions, expected="0 to 5"
        )
    contrast = contrast or Contrast()
    count = int(rng.integers(0, MAX_LESIONS + 1)) if lesions is None else lesions
    liver = Part(_liver(rng), rng.uniform(*contrast.liver_hu))
    surroundings = (*_trunk(rng), *_skeleton(rng), *_organs(rng, liver.hu))
    return Anatomy(surroundings, liver, _vessels(rng, liver), _lesions(rng, liver, count, contrast))


def grown(anatomy: Anatomy, factor: float) -> Anatomy:
    """The same abdomen with every lesion `factor` times as large, about its own centre.

    Raises:
        InputError: `usage` for a factor that lesions have no room for, or that leaves nothing of them.
    """
    low, high = GROWTH
    if not low <= factor <= high:
        raise InputError(
            f"Lesions of a phantom grow by a factor from {low} to {high}, not {factor}.",
            code="usage",
            found=factor,
            expected=f"{low} to {high}",
        )
    lesions = []
    for part in anatomy.lesions:
        assert isinstance(part.solid, Quadric)
        lesions.append(replace(part, solid=part.solid.scaled(factor)))
    return replace(anatomy, lesions=tuple(lesions))


def _around(rng: np.random.Generator, centre: Vector, jitter: float) -> Vector:
    x, y, z = (float(c + rng.uniform(-jitter, jitter)) for c in centre)
    return (x, y, z)


def _degrees(rng: np.random.Generator, largest: float) -> Vector:
    x, y, z = (float(d) for d in rng.uniform(-largest, largest, 3))
    return (x, y, z)


def _liver(rng: np.random.Generator) -> Lobes:
    right = Quadric.ellipsoid(
        _around(rng, (-62, -4, 2), 4),
        [rng.uniform(60, 70), rng.uniform(58, 68), rng.uniform(60, 72)],
        _degrees(rng, 12),
    )
    left = Quadric.ellipsoid(
        _around(rng, (-12, -36, 22), 5),
        [rng.uniform(58, 72), rng.uniform(30, 38), rng.uniform(32, 42)],
        _degrees(rng, 12),
    )
    return Lobes(right, left)


def _trunk(rng: np.random.Generator) -> Iterator[Part]:
    width, depth = rng.uniform(158, 166), rng.uniform(110, 118)
    rim, wall = rng.uniform(8, 15), rng.uniform(8, 12)
    yield Part(Quadric.upright((0, depth + 14), (150, 7)), -150)  # the table's top
    yield Part(Quadric.upright((0, 0), (width, depth)), rng.uniform(-110, -95))  # fat under the skin
    yield Part(Quadric.upright((0, 0), (width - rim, depth - rim)), rng.uniform(48, 60))  # muscle
    cavity = (width - rim - wall, depth - rim - wall - 4)
    yield Part(Quadric.upright((0, -4), cavity), rng.uniform(-85, -60))  # fat between the organs
    for side in (-1, 1):
        yield Part(Quadric.ellipsoid(_around(rng, (side * 45, 72, 0), 3), (32, 18, 400)), rng.uniform(48, 60))
        yield Part(Quadric.ellipsoid(_around(rng, (side * 72, 8, 100), 5), (56, 70, 52)), rng.uniform(-850, -780))


def _skeleton(rng: np.random.Generator) -> Iterator[Part]:
    yield Part(Quadric.upright((0, 58), (22, 19)), rng.uniform(380, 520))  # cortical bone of the vertebral bodies
    yield Part(Quadric.upright((0, 58), (19.5, 16.5)), rng.uniform(180, 280))
    for z in range(-96, 97, 32):
        yield Part(Quadric.ellipsoid((0, 58, z + rng.uniform(-2, 2)), (21, 18, 4)), rng.uniform(80, 110))  # disc
        yield Part(Quadric.ellipsoid((0, 92, z + 12), (4, 14, 9), (20, 0, 0)), rng.uniform(300, 600))  # spinous process
    yield Part(Quadric.upright((0, 82), (9, 7)), 30)  # spinal canal
    for z in range(-80, 101, 26):
        for angle in np.arange(-0.15, pi + 0.2, 0.34):
            x, y = 143 * np.cos(angle), 96 * np.sin(angle) - 10
            yield Part(Quadric.ellipsoid((x, y, z + 8 * np.sin(angle)), (7, 5, 5)), rng.uniform(300, 600))  # ribs


def _organs(rng: np.random.Generator, liver_hu: float) -> Iterator[Part]:
    for _ in range(26):  # bowel: gas, or as dense as a lesion, and darker than liver
        centre = (rng.uniform(-95, 95), rng.uniform(-70, 20), rng.uniform(-95, -15))
        hu = -700.0 if rng.random() < 0.12 else rng.uniform(0, 85)
        yield Part(Quadric.ellipsoid(centre, rng.uniform(9, 24, 3), _degrees(rng, 60)), hu)
    yield Part(Quadric.upright((10, 32), (10.5, 10.5)), rng.uniform(140, 175))  # aorta
    yield Part(Quadric.upright((-16, 36), (11, 9)), rng.uniform(115, 145))  # inferior vena cava
    for side in (-1, 1):
        kidney = Quadric.ellipsoid(
            _around(rng, (side * 58, 48, -35), 5), (26, 23, rng.uniform(45, 56)), (10, side * 8, side * 20)
        )
        yield Part(kidney, rng.uniform(145, 185))
        yield Part(Quadric.ellipsoid(kidney.centre_mm + np.array([-side * 8, -4, 0]), (9, 8, 20)), rng.uniform(20, 60))
    stomach = Quadric.ellipsoid(_around(rng, (70, -30, 35), 6), (38, 30, rng.uniform(38, 50)), _degrees(rng, 15))
    yield Part(stomach, rng.uniform(5, 60))
    yield Part(Quadric.ellipsoid(stomach.centre_mm + np.array([2, -14, 4]), (18, 9, 20)), -850)  # gas in the stomach
    yield Part(
        Quadric.ellipsoid(_around(rng, (100, 32, 30), 5), (22, 34, rng.uniform(38, 50)), _degrees(rng, 10)),
        liver_hu + rng.uniform(-6, 18),  # spleen: where it lies tells it from liver, not its density
    )
    yield Part(Quadric.ellipsoid(_around(rng, (15, 8, -8), 4), (48, 11, 13), _degrees(rng, 12)), rng.uniform(75, 100))
    yield Part(Quadric.ellipsoid(_around(rng, (-42, -52, -48), 5), (13, 14, 26), _degrees(rng, 15)), rng.uniform(2, 18))


def _vessels(rng: np.random.Generator, liver: Part) -> tuple[Part, ...]:
    assert isinstance(liver.solid, Lobes)
    hu = liver.hu + rng.uniform(30, 50)
    tubes = []
    for _ in range(int(rng.integers(3, 7))):
        point = liver.solid.first.centre_mm + rng.uniform(-22, 22, 3)
        # Never along x, where a tube would have no interval.
        direction = np.array([rng.uniform(-1, 1), rng.uniform(-1, 1), rng.choice([-1, 1]) * rng.uniform(0.5, 1)])
        tubes.append(Part(Quadric.tube(point, direction, rng.uniform(1.8, 4.0)), hu))
    return tuple(tubes)


def _lesions(rng: np.random.Generator, liver: Part, count: int, contrast: Contrast) -> tuple[Part, ...]:
    # Five large lesions may leave no room for each other (about 1 draw in 3000): then all are drawn again.
    for _ in range(_DRAWS):
        placed: list[Part] = []
        volumes = np.exp(rng.uniform(np.log(LESION_ML[0]), np.log(LESION_ML[1]), count))
        for volume_ml in sorted((float(v) for v in volumes), reverse=True):
            lesion = _lesion(rng, liver, volume_ml, placed, contrast)
            if lesion is None:
                break
            placed.append(lesion)
        if len(placed) == count:
            return tuple(placed)
    raise SegloopError(f"{_DRAWS} draws of {count} lesions found no room in the liver.")


def _lesion(
    rng: np.random.Generator, liver: Part, volume_ml: float, placed: list[Part], contrast: Contrast
) -> Part | None:
    """A lesion of exactly this volume away from the liver's edge and the others; None when no place was found."""
    organ = liver.solid
    assert isinstance(organ, Lobes)
    ratios = np.exp(rng.uniform(-0.18, 0.18, 3))
    semi = ratios / np.prod(ratios) ** (1 / 3) * (volume_ml * 1000 * 3 / (4 * pi)) ** (1 / 3)
    degrees = _degrees(rng, 180)
    hu = liver.hu - rng.uniform(*contrast.below_hu)
    for _ in range(_ATTEMPTS):
        lobe = organ.first if rng.random() < 0.75 else organ.second
        lesion = Quadric.ellipsoid(lobe.centre_mm + rng.uniform(-1, 1, 3) * lobe.half_extent_mm, semi, degrees)
        inside = organ.contains(lesion.grown(_LESION_MARGIN_MM).surface_points()).all()
        if inside and all(_apart(lesion, other.solid) for other in placed):
            return Part(lesion, hu)
    return None


def _apart(lesion: Quadric, other: Quadric | Lobes) -> bool:
    assert isinstance(other, Quadric)
    reach = sum(float(np.linalg.eigvalsh(q.matrix)[0] ** -0.5) for q in (lesion, other))
    return float(np.linalg.norm(lesion.centre_mm - other.centre_mm)) >= reach + _LESION_GAP_MM
