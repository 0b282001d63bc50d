"""Named augmentations, and the classic elastic deformation in this package's terms."""

from __future__ import annotations

from math import pi, sqrt
from typing import Final, Literal, NamedTuple, get_args

from segloop.data.augment.fields import gain, splines
from segloop.plan import AugmentationSpec, Plan, Size
from segloop.volume import Vector

Preset = Literal["none", "classic-elastic"]
PRESETS: Final[tuple[str, ...]] = get_args(Preset)


class Elastic(NamedTuple):
    """A smooth random field as an `AugmentationSpec` states it.

    Attributes:
        elastic_mm: Largest displacement that can be drawn.
        elastic_smoothness_mm: Distance between control points.
    """

    elastic_mm: float
    elastic_smoothness_mm: float


def classic_elastic(
    spacing_mm: Vector, patch: Size, *, alpha: float = 720.0, sigma: float = 24.0, side: int = 512
) -> Elastic:
    """Noise blurred by a Gaussian of `sigma` pixels, times `alpha`, in an image of `side` squared, for another grid.

    There each pixel's displacement is uniform noise in -1..1, blurred and multiplied; its deviation per axis is
    alpha / (2 sqrt(3 pi) sigma), 4.9 pixels with the classic values, and two pixels d apart are correlated by
    exp(-d² / 4 sigma²). Here a field of uniform noise stands at control points h apart, with cubic B-splines between
    them. A cubic B-spline has the width of a Gaussian of h / sqrt(3), so h = sqrt(3) sigma; and `elastic_mm` is chosen
    so that the root mean square over all draws, which are of any strength from 0 to it, is that of the classic field.
    Both lengths grow with the patch, as a picture of 256 pixels would be a smaller copy of one of 512.

    Args:
        spacing_mm: Of the grid along z, y, x; 1 for pictures.
        patch: Voxels along z, y, x; its square root of rows times columns stands for `side`.
        alpha: Factor, in pixels.
        sigma: Of the blur, in pixels.
        side: Rows and columns that `alpha` and `sigma` are meant for.

    Source: Simard, Steinkraus & Platt 2003, Best practices for convolutional neural networks.
    """
    pixel_mm = sqrt(patch[1] * spacing_mm[1] * patch[2] * spacing_mm[2]) / side
    deviation_mm = alpha / (2 * sqrt(3 * pi) * sigma) * pixel_mm
    smoothness_mm = sqrt(3) * sigma * pixel_mm
    # Uniform noise in -1..1 and uniform strengths in 0..1 both have the quadratic mean 1 / sqrt(3).
    largest = 3 * deviation_mm / gain(splines(patch, smoothness_mm, spacing_mm))
    return Elastic(round(largest, 3), round(smoothness_mm, 3))


def with_preset(plan: Plan, name: Preset) -> Plan:
    """The Plan with a named augmentation.

    `none` switches every transform and all mirroring off, in inference too. `classic-elastic` leaves the others as they
    are and sets the
    elastic field to `classic_elastic` for the Plan's patch and spacing.

    Raises:
        ValueError: There is no such preset.
    """
    if name == "none":
        names = [field for field in AugmentationSpec.model_fields if field.endswith("_probability")]
        changes: dict[str, object] = {f"training.augmentation.{field}": 0.0 for field in names}
        return plan.changed({**changes, "training.augmentation.mirror_axes": [], "inference.mirror_axes": []})
    if name == "classic-elastic":
        spacing_mm = plan.preparation.spacing_mm or (1.0, 1.0, 1.0)
        found = classic_elastic(spacing_mm, plan.training.patch)._asdict()
        return plan.changed({f"training.augmentation.{field}": value for field, value in found.items()})
    raise ValueError(f"Presets are {', '.join(PRESETS)}. Received: {name!r}")


__all__ = ["PRESETS", "Elastic", "Preset", "classic_elastic", "with_preset"]
