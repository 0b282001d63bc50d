"""How a model is trained, as parts of the Plan: augmentation, loss, schedule; and where its weights came from."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from segloop.plan.parts import Frozen, Range, Size
from segloop.volume import Vector

IGNORED: Final = 255
"""What stands for the class of a voxel that counts nowhere, where label maps hold classes (0, 1, 2, …) in uint8."""


class AugmentationSpec(Frozen):
    """Ranges that each training patch's parameters are drawn from; a probability of 0 switches a transform off.

    One draw of geometry serves image and mask. Angles in degrees, lengths in mm.

    Attributes:
        mirror_axes: Axes of the canonical grid (0 z, 1 y, 2 x) that may be mirrored. Never one that carries left and
            right labels apart.
        rotation_degrees: Largest rotation about z, y, x.
        elastic_mm: Largest displacement of the smooth random field. Each patch draws its own strength between 0 and
            this; displacements of a tenth of it are typical.
        elastic_smoothness_mm: Distance between the field's control points, √3 times the sigma of the Gaussian that
            blurs white noise into a field as smooth.
        low_resolution: Share of the samples kept along each axis and interpolated back from (1 changes nothing).
        bias_field: Largest natural logarithm of a smooth multiplicative field, as MR coils leave it; each patch draws
            its own strength between 0 and this.
        bias_field_smoothness_mm: Distance between that field's control points.
        swap_labels: Pairs of label numbers that change places when x is mirrored (left and right of one organ). With
            them the x axis may be mirrored although the labels are lateralised.
        doubt_probability: How often the labels of a cascade's coarse network are shown worn, swollen, with a piece
            missing or not at all, so that the second network does not trust them blindly.
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
    low_resolution_probability: float = 0.0
    low_resolution: Range = (0.5, 1.0)
    bias_field_probability: float = 0.0
    bias_field: float = 0.3
    bias_field_smoothness_mm: float = 60.0
    swap_labels: tuple[tuple[int, int], ...] = ()
    doubt_probability: float = 0.0


class LossSpec(Frozen):
    """What training makes small: an overlap term, a cross-entropy term, a term about borders or centre lines.

    `training.dice_weight` and `training.cross_entropy_weight` weigh the first two.

    Attributes:
        overlap: The overlap term: soft Dice pooled over the batch, generalised Dice, Tversky or focal Tversky.
        alpha: Weight of false positives (Tversky, focal Tversky).
        beta: Weight of false negatives (Tversky, focal Tversky).
        gamma: The focal Tversky term is (1 - Tversky index) to the power 1 / gamma; above 1, what is found badly counts
            more.
        extra: A further term: `boundary` (Kervadec), `hausdorff` (Karimi), `cldice` for vessels; None for none.
        extra_weight: Of the further term, reached over the first half of the training.
        iterations: Erosions that the soft skeleton of `cldice` takes (half the thickest vessel in voxels) and that
            `hausdorff` measures errors by.
    """

    overlap: Literal["dice", "generalised_dice", "tversky", "focal_tversky"] = "dice"
    alpha: float = Field(default=0.3, ge=0)
    beta: float = Field(default=0.7, ge=0)
    gamma: float = Field(default=1.333, gt=0)
    extra: Literal["boundary", "hausdorff", "cldice"] | None = None
    extra_weight: float = Field(default=0.5, ge=0)
    iterations: int = Field(default=3, ge=1)


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
        ema: Decay of the exponential moving average of the weights that is evaluated and exported, smaller in the first
            steps; 0 switches it off.
        loss: Terms of the loss.
        ignore_label: Number in the expert label maps whose voxels count nowhere; None when there is none.
        label_shares: How often patches centred on foreground are centred on each label, in the order of the Plan's
            labels (of its regions, where it has some); empty means evenly.
        schedule: `poly` decays to 0 at the last step; `plateau` holds the peak and divides it when validation Dice no
            longer rises, then decays over the last fifth.
        frozen_fraction: Share of the training in which a pretrained encoder stays as it is; its stages then join one
            after the other, the deepest first.
        encoder_rate: Learning rate of a pretrained encoder's deepest stage as a share of the peak; each stage above
            takes half as much.
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
    loss: LossSpec = LossSpec()
    ignore_label: int | None = Field(default=None, ge=1)
    label_shares: tuple[Annotated[float, Field(ge=0)], ...] = ()
    schedule: Literal["poly", "plateau"] = "poly"
    frozen_fraction: float = Field(default=0.0, ge=0, lt=1)
    encoder_rate: float = Field(default=0.1, gt=0, le=1)


class Provenance(Frozen):
    """Where weights come from, down to what decides their bits.

    Attributes:
        dataset: Name of the training dataset.
        licence: Licence of the data, passed on to the weights.
        training_images: SHA-256 of each training image file by case id.
        training_voxels: SHA-256 of each training image's voxels by case id, the same in any file; empty in bundles from
            before this was noted.
        fold: Held-out fold, or None when every case was trained on.
        steps: Optimiser steps done.
        seconds: Wall time of training.
        command: The command that trained it, without paths.
        init: Name and digest of the bundle or weights file that training began from; empty when weights were drawn.
        backend: Of Keras while training, with its version; empty in bundles from before there was a choice.
    """

    dataset: str = ""
    licence: str = ""
    training_images: dict[str, str] = Field(default_factory=dict)
    training_voxels: dict[str, str] = Field(default_factory=dict)
    fold: int | None = None
    folds: int | None = None
    seed: int = 0
    steps: int = 0
    seconds: float = 0.0
    command: str = ""
    init: str = ""
    segloop: str = ""
    lock: str = ""
    backend: str = ""
    tensorflow: str = ""
    keras: str = ""
    instruction_set: str = ""
    precision: str = ""
    threads: int = 0
    created: str = ""
