"""The parts of a Plan: typed, immutable, unknown keys refused.

Sizes, spacings, strides and kernels always run along (z, y, x); a 2-D plan has 1 along z.
"""

from __future__ import annotations

from math import prod
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from segloop.volume import CANONICAL, Shape, Vector

Size = tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]
Spacing = tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]
Range = tuple[float, float]


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
        min_slices: Fewest slices.
        spacing_mm: Lowest and highest spacing of the finest and of the coarsest axis: `((lo, hi), (lo, hi))`.
        extent_mm: Lowest and highest field of view along z, y, x of the *canonical* orientation.
        channels: Channels of the image.
    """

    modalities: tuple[str, ...] = ()
    description_contains: tuple[str, ...] = ()
    min_slices: int = Field(default=1, ge=1)
    spacing_mm: tuple[Range, Range] | None = None
    extent_mm: tuple[Range, Range, Range] | None = None
    channels: int = Field(default=1, ge=1)


class Normalisation(Frozen):
    """How voxel values become network input.

    Attributes:
        kind: `zscore` per image and channel after clipping to its own percentiles; `window` clips to fixed values and
            then subtracts `mean` and divides by `sd` (CT, PET); `scale` maps a fixed window to 0..1.
        clip_percentiles: For `zscore`.
        window: Lowest and highest value kept, in the image's own unit, for `window` and `scale`.
        mean: Of the training foreground inside the window.
        sd: Of the training foreground inside the window.
    """

    kind: Literal["zscore", "window", "scale"] = "zscore"
    clip_percentiles: Range = (0.5, 99.5)
    window: Range | None = None
    mean: float = 0.0
    sd: float = Field(default=1.0, gt=0)

    @model_validator(mode="after")
    def _window_present(self) -> Normalisation:
        if self.kind != "zscore" and (self.window is None or self.window[0] >= self.window[1]):
            raise ValueError(f"normalisation {self.kind!r} needs window = [low, high]")
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
    """

    dims: Literal[2, 3] = 3
    channels: int = Field(default=1, ge=1)
    classes: int = Field(default=2, ge=2)
    features: tuple[int, ...] = (16, 32, 64, 128)
    kernels: tuple[Size, ...] = ((3, 3, 3),) * 4
    strides: tuple[Size, ...] = ((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2))
    convolutions: int = Field(default=2, ge=1)
    deep_supervision: int = Field(default=3, ge=1)

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
        if self.deep_supervision > stages - 1:
            raise ValueError(f"deep_supervision can be at most {stages - 1} with {stages} stages")
        return self

    @property
    def divisor(self) -> Shape:
        """What an input size must be a multiple of, along z, y, x."""
        z, y, x = (prod(s[axis] for s in self.strides) for axis in range(3))
        return (z, y, x)


class AugmentationSpec(Frozen):
    """Ranges that each training patch's parameters are drawn from; a probability of 0 switches a transform off.

    One draw of geometry serves image and mask. Angles in degrees, lengths in mm.

    Attributes:
        mirror_axes: Axes of the canonical grid (0 z, 1 y, 2 x) that may be mirrored. Never one that carries left and
            right labels apart.
        rotation_degrees: Largest rotation about z, y, x.
        elastic_mm: Largest displacement of the smooth random field.
        elastic_smoothness_mm: Distance between the field's control points.
    """

    mirror_axes: tuple[Literal[0, 1, 2], ...] = ()
    rotation_probability: float = 0.3
    rotation_degrees: Vector = (20.0, 20.0, 20.0)
    scale_probability: float = 0.3
    scale: Range = (0.8, 1.25)
    elastic_probability: float = 0.2
    elastic_mm: float = 3.0
    elastic_smoothness_mm: float = 12.0
    gamma_probability: float = 0.3
    gamma: Range = (0.7, 1.5)
    contrast_probability: float = 0.2
    contrast: Range = (0.75, 1.25)
    brightness_probability: float = 0.2
    brightness: float = 0.2
    noise_probability: float = 0.15
    noise_sd: float = 0.1
    blur_probability: float = 0.15
    blur_sigma: Range = (0.4, 1.0)


class TrainingSpec(Frozen):
    """How the weights are found.

    Attributes:
        patch: Voxels of one training patch.
        batch: Patches per step.
        steps_per_epoch: Optimiser steps between validations.
        epochs: Epochs; replaced by the step count that a time budget affords.
        learning_rate: Peak of the schedule (linear warm-up, then polynomial decay to 0 at the last step).
        foreground_fraction: Share of patches centred on a foreground voxel.
        precision: `auto` takes `mixed_bfloat16` where the CPU (or accelerator) has bf16 instructions, else float32.
        ema: Decay of the exponential moving average of the weights that is evaluated and exported; 0 switches it off.
    """

    patch: Size = (40, 56, 40)
    batch: int = Field(default=4, ge=1)
    steps_per_epoch: int = Field(default=50, ge=1)
    epochs: int = Field(default=100, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    warmup_fraction: float = Field(default=0.03, ge=0, lt=1)
    gradient_norm: float = Field(default=12.0, gt=0)
    dice_weight: float = Field(default=1.0, ge=0)
    cross_entropy_weight: float = Field(default=1.0, ge=0)
    foreground_fraction: float = Field(default=0.5, ge=0, le=1)
    precision: Literal["auto", "float32", "mixed_bfloat16"] = "auto"
    ema: float = Field(default=0.99, ge=0, lt=1)
    seed: int = 0
    folds: int = Field(default=5, ge=2)
    augmentation: AugmentationSpec = AugmentationSpec()


class InferenceSpec(Frozen):
    """How a whole image passes through the network.

    Attributes:
        mode: `whole` pads the image to the network's divisor, and at least to `patch`, and runs it once, while it has
            at most `whole_voxels` voxels; a larger image, and `window`, slide `patch`.
        patch: Window size.
        overlap: Share of a window that the next one covers again.
        whole_voxels: Largest padded image run at once.
        sigma: Standard deviation of the Gaussian blend weight as a share of the window.
        mirror_axes: Axes of the canonical grid (0 z, 1 y, 2 x) along which the image is also segmented mirrored, and
            the logits averaged; each doubles the network's time. Only axes that training mirrors as well.
    """

    mode: Literal["whole", "window"] = "window"
    patch: Size = (40, 56, 40)
    overlap: float = Field(default=0.5, ge=0, lt=1)
    whole_voxels: int = Field(default=400_000, ge=1)
    sigma: float = Field(default=0.125, gt=0)
    mirror_axes: tuple[Literal[0, 1, 2], ...] = ()


class PostStep(Frozen):
    """Clean-up of one label, done in this order; zero or False leaves a step out.

    Attributes:
        label: Label number the step works on.
        opening_mm: Radius of a spherical opening: removes what is thinner than twice this.
        closing_mm: Radius of a spherical closing: bridges gaps thinner than twice this.
        fill_holes: Background enclosed by the label joins it (26-connected label, 6-connected background).
        largest_component: Keep only the largest 26-connected part.
        min_component_ml: Drop parts smaller than this.
    """

    label: int = Field(ge=1)
    opening_mm: float = Field(default=0.0, ge=0)
    closing_mm: float = Field(default=0.0, ge=0)
    fill_holes: bool = False
    largest_component: bool = False
    min_component_ml: float = Field(default=0.0, ge=0)


class PostSpec(Frozen):
    """Clean-up steps in the order they are done. Voxels of other labels are never overwritten."""

    steps: tuple[PostStep, ...] = ()


class Provenance(Frozen):
    """Where weights come from, down to what decides their bits.

    Attributes:
        dataset: Name of the training dataset.
        licence: Licence of the data, passed on to the weights.
        training_images: SHA-256 of each training image file by case id.
        fold: Held-out fold, or None when every case was trained on.
        steps: Optimiser steps done.
        seconds: Wall time of training.
        command: The command that trained it, without paths.
    """

    dataset: str = ""
    licence: str = ""
    training_images: dict[str, str] = Field(default_factory=dict)
    fold: int | None = None
    folds: int | None = None
    seed: int = 0
    steps: int = 0
    seconds: float = 0.0
    command: str = ""
    segloop: str = ""
    lock: str = ""
    tensorflow: str = ""
    keras: str = ""
    instruction_set: str = ""
    precision: str = ""
    threads: int = 0
    created: str = ""
