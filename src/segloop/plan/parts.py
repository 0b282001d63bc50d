"""The parts of a Plan: typed, immutable, unknown keys refused.

Sizes, spacings, strides and kernels always run along (z, y, x); a 2-D plan has 1 along z.
"""

from __future__ import annotations

from math import prod
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from segloop.volume import CANONICAL, Shape

Size = tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]
Spacing = tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]
Range = tuple[float, float]
UnevenSlices = Literal["refuse", "resample"]
Plane = Literal["axial", "coronal", "sagittal"]
Encoder = Literal["resnet50", "efficientnetv2-b0", "efficientnetv2-s", "convnext-tiny"]

ENCODER_FEATURES: dict[Encoder, int] = {
    "resnet50": 2048,
    "efficientnetv2-b0": 1280,
    "efficientnetv2-s": 1280,
    "convnext-tiny": 768,
}
"""Feature maps that each ImageNet encoder ends in, at a 32nd of the resolution."""

_ENCODER_STRIDES = ((1, 1, 1),) + ((1, 2, 2),) * 5


class Frozen(BaseModel):
    """Base of everything that crosses a process boundary: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Code(Frozen):
    """A coded concept, SNOMED CT unless the scheme says otherwise."""

    value: str
    meaning: str
    scheme: str = "SCT"


class LabelSpec(Frozen):
    """One label of a model.

    Attributes:
        value: Number in the label map, at least 1.
        name: English name, as in the dataset.
        name_zh: Simplified Chinese name; empty falls back to `name`.
        code: What the label is (segmented property type).
        category: What kind of thing it is (segmented property category).
        site: Where it lies, for the report; None says the label is itself anatomy and `code` names the place.
        components: Whether its connected parts are counted and measured one by one, as for lesions.
        colour: sRGB shown in overlays and SEG.
    """

    value: int = Field(ge=1, le=65535)
    name: str = Field(min_length=1)
    name_zh: str = ""
    code: Code = Code(value="85756007", meaning="Tissue")
    category: Code = Code(value="85756007", meaning="Tissue")
    site: Code | None = None
    components: bool = False
    colour: tuple[int, int, int] = (230, 80, 60)


class SeriesRule(Frozen):
    """Which series a model applies to. Every field that is set must hold; an empty one does not matter.

    Attributes:
        modalities: DICOM modalities; checked only where the input states one.
        description_contains: Words of which one must stand in SeriesDescription, case ignored (DICOM only).
        description_excludes: Words of which none may stand there.
        body_parts: Values of BodyPartExamined, case ignored; checked only where the input states one.
        planes: Planes of the patient that the slices may lie closest to.
        contrast: Whether a contrast agent must be stated (True) or must not be (False); None for either (DICOM only).
        original_only: Refuse derived series such as reformations, projections and secondary captures (DICOM only).
        slice_thickness_mm: Lowest and highest SliceThickness; checked only where the input states one.
        min_slices: Fewest slices.
        max_slices: Most slices.
        spacing_mm: Lowest and highest spacing of the finest and of the coarsest axis: `((lo, hi), (lo, hi))`.
        extent_mm: Lowest and highest field of view along z, y, x of the *canonical* orientation.
        channels: Channels of the image.
    """

    modalities: tuple[str, ...] = ()
    description_contains: tuple[str, ...] = ()
    description_excludes: tuple[str, ...] = ()
    body_parts: tuple[str, ...] = ()
    planes: tuple[Plane, ...] = ()
    contrast: bool | None = None
    original_only: bool = False
    slice_thickness_mm: Range | None = None
    min_slices: int = Field(default=1, ge=1)
    max_slices: int | None = Field(default=None, ge=1)
    spacing_mm: tuple[Range, Range] | None = None
    extent_mm: tuple[Range, Range, Range] | None = None
    channels: int = Field(default=1, ge=1)


class ReadingSpec(Frozen):
    """What the values of a DICOM series are turned into as they are read; other files hold what they hold.

    Attributes:
        pet: `stored` keeps the unit of the series; `suv-bw` gives the standardised uptake value by body weight.
        display: Whether values are taken through the header's VOI LUT or window, to what a viewer shows: 0 (black) to 1
            (white).
    """

    pet: Literal["stored", "suv-bw"] = "stored"
    display: bool = False


class Normalisation(Frozen):
    """How voxel values become network input.

    Attributes:
        kind: `zscore` per image and channel after clipping to its own percentiles; `body` the same with mean and
            deviation of the body alone, the air around it left out (MR; `prep.values.body`); `window` clips to fixed
            values and then subtracts `mean` and divides by `sd` (CT, PET); `log` the same with the logarithm of 1 + the
            clipped value (uptake, which is skewed); `scale` maps a fixed window to 0..1.
        clip_percentiles: For `zscore` and `body`.
        window: Lowest and highest value kept, in the image's own unit, for `window`, `log` and `scale`.
        mean: Of the training foreground; of its logarithms for `log`.
        sd: Of the training foreground; of its logarithms for `log`.
    """

    kind: Literal["zscore", "body", "window", "log", "scale"] = "zscore"
    clip_percentiles: Range = (0.5, 99.5)
    window: Range | None = None
    mean: float = 0.0
    sd: float = Field(default=1.0, gt=0)

    @model_validator(mode="after")
    def _window_present(self) -> Normalisation:
        if self.kind not in ("zscore", "body") and (self.window is None or self.window[0] >= self.window[1]):
            raise ValueError(f"normalisation {self.kind!r} needs window = [low, high]")
        if self.kind == "log" and self.window is not None and self.window[0] < 0:
            raise ValueError(f"normalisation 'log' needs a window that begins at 0 or above, not {self.window[0]}")
        return self


class PreparationSpec(Frozen):
    """From a Volume to the grid and values the network sees.

    Attributes:
        orientation: Axis codes that z, y, x are turned to, without interpolation.
        spacing_mm: Grid spacing the image is resampled to; None keeps each image's own (2-D photographs).
        normalisation: One entry per channel, or one for all.
    """

    orientation: str = Field(default=CANONICAL, pattern="^[LPSRAI]{3}$")
    spacing_mm: Spacing | None = (1.0, 1.0, 1.0)
    normalisation: tuple[Normalisation, ...] = (Normalisation(),)


class NetworkSpec(Frozen):
    """A U-Net: one entry of `features`, `kernels` and `strides` per stage, from full resolution down.

    Attributes:
        dims: 2 or 3.
        channels: Input channels.
        classes: Output channels, background included.
        features: Feature maps per stage.
        kernels: Convolution kernel per stage.
        strides: Down-sampling into the stage; the first must be (1, 1, 1).
        convolutions: Convolutions per stage, encoder and decoder alike.
        deep_supervision: Decoder resolutions that get a loss, 1 = full resolution only.
        block: `plain` convolutions, or `residual` blocks in the encoder (the decoder stays plain).
        blocks: Residual blocks per encoder stage; empty means one each.
        attention: Attention gates on the skip connections.
        encoder: An ImageNet encoder of `keras.applications` instead of the plain one (2-D only). It has six stages:
            a plain one at full resolution, then those of the encoder, each at half the resolution of the one before.
            `features` are those of the first stage and of the decoder, and end in the encoder's own
            (`ENCODER_FEATURES`); `kernels` are those of the first stage and of the decoder.
        encoder_input: What the values an encoder is given are: `standardised` (mean 0, deviation 1, as `zscore` and
            `window` leave them) or `unit` (0..1, as `scale` leaves them). The network turns them into the values that
            the encoder learnt from.
    """

    dims: Literal[2, 3] = 3
    channels: int = Field(default=1, ge=1)
    classes: int = Field(default=2, ge=1)
    features: tuple[int, ...] = (16, 32, 64, 128)
    kernels: tuple[Size, ...] = ((3, 3, 3),) * 4
    strides: tuple[Size, ...] = ((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2))
    convolutions: int = Field(default=2, ge=1)
    deep_supervision: int = Field(default=3, ge=1)
    block: Literal["plain", "residual"] = "plain"
    blocks: tuple[Annotated[int, Field(ge=1)], ...] = ()
    attention: bool = False
    encoder: Encoder | None = None
    encoder_input: Literal["standardised", "unit"] = "standardised"

    @model_validator(mode="after")
    def _consistent(self) -> NetworkSpec:
        stages = len(self.features)
        if stages < 2 or len(self.kernels) != stages or len(self.strides) != stages:
            raise ValueError(
                f"features, kernels and strides need one entry per stage (at least 2); found {stages} stages"
            )
        if self.strides[0] != (1, 1, 1):
            raise ValueError(
                f"the first stage keeps full resolution: strides[0] must be (1, 1, 1), not {self.strides[0]}"
            )
        if self.dims == 2 and any(s[0] != 1 or k[0] != 1 for s, k in zip(self.strides, self.kernels, strict=True)):
            raise ValueError("a 2-D network has stride and kernel 1 along z")
        if self.blocks and (self.block == "plain" or len(self.blocks) != stages):
            raise ValueError(f"blocks needs block = 'residual' and one entry per stage ({stages}); found {self.blocks}")
        if self.encoder:
            self._require_encoder(self.encoder)
        if self.deep_supervision > stages - 1:
            raise ValueError(f"deep_supervision can be at most {stages - 1} with {stages} stages")
        return self

    def _require_encoder(self, encoder: Encoder) -> None:
        if self.dims != 2 or self.channels not in (1, 3):
            raise ValueError(
                f"encoder {encoder!r} takes 2-D images of 1 or 3 channels, not {self.dims}-D ones of {self.channels}"
            )
        if self.strides != _ENCODER_STRIDES:
            raise ValueError(f"encoder {encoder!r} has strides {_ENCODER_STRIDES}, not {self.strides}")
        if self.features[-1] != ENCODER_FEATURES[encoder]:
            raise ValueError(
                f"encoder {encoder!r} ends in {ENCODER_FEATURES[encoder]} feature maps: "
                f"features[-1] must be that, not {self.features[-1]}"
            )
        if self.block != "plain":
            raise ValueError(f"encoder {encoder!r} has blocks of its own: block must be 'plain', not {self.block!r}")

    @property
    def divisor(self) -> Shape:
        """What an input size must be a multiple of, along z, y, x."""
        z, y, x = (prod(s[axis] for s in self.strides) for axis in range(3))
        return (z, y, x)
