"""From a trained network to a label map, as parts of the Plan: windows, decision, clean-up."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from segloop.plan.parts import Frozen, Size


class Region(Frozen):
    """One output channel of a network with overlapping labels: the union of some labels, found by a sigmoid of its own.

    Attributes:
        name: Of the region, such as `whole tumour`.
        labels: Label numbers it is the union of.
        paints: Label number that its voxels get in the label map. Regions paint in their order, a later one over an
            earlier one.
    """

    name: str = Field(min_length=1)
    labels: tuple[Annotated[int, Field(ge=1)], ...] = Field(min_length=1)
    paints: int = Field(ge=1)


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
        temperature: Logits are divided by it before they become probabilities, so that these are calibrated.
        logit_bias: Added to the logit of each label (in the Plan's order; of each region, where it has some), once it
            is divided by the temperature, before the most probable one is taken; a threshold t of a single label is the
            bias -log(t / (1 - t)). Probabilities do not have it. Empty for none.
    """

    mode: Literal["whole", "window"] = "window"
    patch: Size = (40, 56, 40)
    overlap: float = Field(default=0.5, ge=0, lt=1)
    whole_voxels: int = Field(default=400_000, ge=1)
    sigma: float = Field(default=0.125, gt=0)
    mirror_axes: tuple[Literal[0, 1, 2], ...] = ()
    temperature: float = Field(default=1.0, gt=0)
    logit_bias: tuple[float, ...] = ()


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
