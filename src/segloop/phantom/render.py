"""From an anatomy to voxels: partial volume, noise, label map and the true volumes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Bool, Float, UInt8

from segloop.phantom.anatomy import Anatomy, Contrast, Part, draw_anatomy, grown
from segloop.phantom.identity import Identity, draw_identity
from segloop.phantom.solids import coverage
from segloop.plan import Code, Frozen, LabelSpec
from segloop.volume import Geometry, Labels, Volume

LIVER, LESION = 1, 2

LABELS = (
    LabelSpec(
        value=LIVER,
        name="liver",
        name_zh="肝",
        code=Code(value="10200004", meaning="Liver"),
        category=Code(value="123037004", meaning="Anatomical Structure"),
        colour=(221, 130, 101),
    ),
    LabelSpec(
        value=LESION,
        name="lesion",
        name_zh="病灶",
        code=Code(value="52988006", meaning="Lesion"),
        category=Code(value="49755003", meaning="Morphologically Abnormal Structure"),
        components=True,
        colour=(240, 220, 60),
    ),
)


@dataclass(frozen=True, slots=True)
class Scan:
    """How the phantom is scanned.

    Args:
        slices: Number of axial slices; 180 mm of patient hold the whole liver.
        matrix: Rows and columns; 352 mm of patient hold the whole trunk.
        slice_mm: Distance between slices, which equals their thickness.
        pixel_mm: Distance between pixels.
        noise_hu: Standard deviation of the noise; drawn from 9 to 13 when None.
    """

    slices: int = 72
    matrix: int = 160
    slice_mm: float = 2.5
    pixel_mm: float = 2.2
    noise_hu: float | None = None

    @property
    def grid(self) -> Geometry:
        """The grid, centred on the point that anatomy is measured from."""
        shape = (self.slices, self.matrix, self.matrix)
        spacing = (self.slice_mm, self.pixel_mm, self.pixel_mm)
        z, y, x = (-(n - 1) / 2 * s for n, s in zip(shape, spacing, strict=True))
        return Geometry(shape, spacing, (x, y, z))


@dataclass(frozen=True, slots=True)
class Visit:
    """A later examination of the same invented patient: another table position, other noise, lesions of another size.

    Args:
        days: After the first one.
        growth: What every lesion's volume is multiplied by.
    """

    days: int
    growth: float = 1.0


class TrueVolume(Frozen):
    """A volume known from the formula of its solid, in the form of a measurement of `result.json`.

    Attributes:
        label: 1 liver (without its lesions), 2 lesion.
        name: `liver` or `lesion`.
        component: 0 the whole label; 1… single lesions from large to small.
        quantity: Always `volume`.
        value: In ml.
        unit: Always `ml`.
    """

    label: int
    name: str
    component: int
    quantity: str = "volume"
    value: float
    unit: str = "ml"


@dataclass(frozen=True, slots=True, eq=False)
class Phantom:
    """One synthetic CT study.

    Args:
        seed: What it was drawn from.
        key: Text that two phantoms share only when they are equal; UIDs derive from it.
        volume: HU as int16.
        labels: 1 liver without lesions, 2 lesion: of each solid the fullest voxels, as many as its volume holds.
        truth: The volumes, known from formulas and not from voxels.
        identity: The invented patient.
    """

    seed: int
    key: str
    volume: Volume
    labels: Labels
    truth: tuple[TrueVolume, ...]
    identity: Identity


def generate(
    seed: int,
    lesions: int | None = None,
    scan: Scan | None = None,
    contrast: Contrast | None = None,
    visit: Visit | None = None,
) -> Phantom:
    """The phantom of a seed; equal arguments give equal voxels.

    Args:
        seed: Not negative.
        lesions: 0 to 5; drawn from the seed when None.
        scan: Grid and noise.
        contrast: Density of liver and lesions.
        visit: A later examination of the seed's patient; None for the first one.

    Raises:
        InputError: `usage` when `lesions` or the growth is out of range.
    """
    scan = scan or Scan()
    rng = np.random.default_rng(seed)
    anatomy = draw_anatomy(rng, lesions, contrast)
    anatomy = anatomy if visit is None else grown(anatomy, visit.growth)
    exact, labels = _paint(anatomy, scan.grid)
    volume = _scanned(rng, exact, scan)
    identity = draw_identity(rng, seed)
    if visit is not None:
        volume = _scanned(np.random.default_rng([seed, visit.days]), exact, scan)
        identity = identity.after(visit.days)
    return Phantom(
        seed,
        f"{seed}/{lesions}/{scan}" + "".join(f"/{extra}" for extra in (contrast, visit) if extra),
        volume,
        Labels(labels, volume.geometry, {spec.value: spec.name for spec in LABELS}),
        true_volumes(anatomy),
        identity,
    )


def _scanned(rng: np.random.Generator, exact: Float[np.ndarray, "z y x"], scan: Scan) -> Volume:
    """The scan of an abdomen, with noise, somewhere on the table."""
    sd = float(rng.uniform(9, 13)) if scan.noise_hu is None else scan.noise_hu
    array = np.clip(np.rint(exact + sd * _noise(rng, exact.shape)), -1024, 3071).astype(np.int16)
    x, y, z = scan.grid.origin_mm
    # Where a table stands is arbitrary, and code that assumes zero must fail on the phantom too.
    offset = (
        round(float(rng.uniform(-8, 8)), 1),
        round(float(rng.uniform(-190, -140)), 1),
        float(rng.integers(-900, -300)),
    )
    placed = Geometry(
        scan.grid.shape, scan.grid.spacing_mm, (x + offset[0], y + offset[1], z + offset[2]), scan.grid.direction
    )
    return Volume(array, placed, "CT")


def true_volumes(anatomy: Anatomy) -> tuple[TrueVolume, ...]:
    """Volumes in ml from the solids' formulas: liver less lesions, all lesions, each lesion."""
    each = [lesion.solid.volume_ml for lesion in anatomy.lesions]
    lesion = partial(TrueVolume, label=LESION, name="lesion")
    return (
        TrueVolume(label=LIVER, name="liver", component=0, value=anatomy.liver.solid.volume_ml - sum(each)),
        lesion(component=0, value=sum(each)),
        *(lesion(component=i, value=ml) for i, ml in enumerate(each, start=1)),
    )


def _paint(anatomy: Anatomy, grid: Geometry) -> tuple[Float[np.ndarray, "z y x"], UInt8[np.ndarray, "z y x"]]:
    """HU without noise, each voxel the mean of what it covers, and the label map."""
    hu = np.full(grid.shape, -1000.0, np.float32)
    for part in anatomy.surroundings:
        _mix(hu, part, grid)
    liver = _mix(hu, anatomy.liver, grid)
    for vessel in anatomy.vessels:
        _mix(hu, vessel, grid, within=liver)
    labels = np.where(_fullest(liver, anatomy.liver.solid.volume_ml, grid), np.uint8(LIVER), np.uint8(0))
    for part in anatomy.lesions:
        labels[_fullest(_mix(hu, part, grid), part.solid.volume_ml, grid)] = LESION
    return hu, labels


def _fullest(share: Float[np.ndarray, "z y x"], volume_ml: float, grid: Geometry) -> Bool[np.ndarray, "z y x"]:
    """The voxels filled most, as many as make up the volume.

    The bound comes out near one half; a fixed bound of one half would make small round solids 2 to 4 % too small, since
    averaging over voxels draws the half-way surface of a convex solid inwards.
    """
    chosen = share > 0.99
    edge = np.flatnonzero((share > 0) & ~chosen)
    missing = round(volume_ml / grid.voxel_ml) - int(chosen.sum())
    # Only among the edge voxels: a selection over the whole grid is slow, because most shares are exactly 0 or 1.
    order = np.argsort(share.ravel()[edge], kind="stable")
    chosen.ravel()[edge[order[order.size - missing :]]] = True
    return chosen


def _mix(
    hu: Float[np.ndarray, "z y x"], part: Part, grid: Geometry, within: Float[np.ndarray, "z y x"] | None = None
) -> Float[np.ndarray, "z y x"]:
    """Paint a part into `hu` by its share of each voxel; returns that share over the whole grid."""
    box, share = coverage(part.solid, grid)
    if within is not None:
        share = share * within[box]
    hu[box] += share * (np.float32(part.hu) - hu[box])
    whole = np.zeros(grid.shape, np.float32)
    whole[box] = share
    return whole


def _noise(rng: np.random.Generator, shape: tuple[int, ...]) -> Float[np.ndarray, "z y x"]:
    """Gaussian noise of standard deviation 1, correlated within a slice as a soft reconstruction kernel leaves it."""
    noise = rng.standard_normal(shape, np.float32)
    kernel = np.array([0.2, 0.6, 0.2], np.float32)
    for axis in (1, 2):
        padded = np.pad(noise, [(1, 1) if a == axis else (0, 0) for a in range(3)], mode="wrap")
        size = shape[axis]
        noise = sum(w * np.take(padded, np.arange(i, i + size), axis) for i, w in enumerate(kernel))
    return np.asarray(noise / np.square(kernel).sum(), np.float32)
