"""Another network in a Plan: with an ImageNet encoder, or that of the model whose weights a training starts from."""

from __future__ import annotations

from math import ceil
from typing import get_args

from segloop.errors import PlanError
from segloop.plan.parts import ENCODER_FEATURES, Encoder, NetworkSpec
from segloop.plan.recipe import Plan
from segloop.volume import Shape

_DECODER_FEATURES = (16, 32, 64, 128, 256)


def imagenet_network(encoder: Encoder, *, channels: int, classes: int) -> NetworkSpec:
    """A 2-D U-Net around an ImageNet encoder; the decoder has 256 to 16 feature maps.

    Raises:
        PlanError: `plan.invalid` for another number of channels than 1 or 3.
    """
    if encoder not in get_args(Encoder) or channels not in (1, 3):
        raise PlanError(
            f"An encoder {encoder!r} for {channels} channels does not exist.",
            found=[encoder, channels],
            expected=[list(get_args(Encoder)), [1, 3]],
            hint="ImageNet encoders take images of one channel (repeated) or three (red, green, blue).",
        )
    stages = len(_DECODER_FEATURES) + 1
    return NetworkSpec(
        dims=2,
        channels=channels,
        classes=classes,
        features=(*_DECODER_FEATURES, ENCODER_FEATURES[encoder]),
        kernels=((1, 3, 3),) * stages,
        strides=((1, 1, 1),) + ((1, 2, 2),) * (stages - 1),
        deep_supervision=3,
        encoder=encoder,
    )


def with_network(plan: Plan, network: NetworkSpec, reason: str) -> Plan:
    """The plan with the architecture of `network`, as far as the plan's data leave a choice.

    Channels and classes stay the plan's, since they follow from the data. Patches grow to the next multiple of the new
    network's divisor. An ImageNet encoder is told which values `plan.preparation` gives it.

    Args:
        plan: The recipe.
        network: Its architecture is taken.
        reason: Added to the plan's reasons.

    Raises:
        PlanError: `plan.invalid` when the two differ in dimensions, or the encoder cannot take the plan's values.
    """
    if network.dims != plan.network.dims:
        raise PlanError(
            f"A {network.dims}-D network does not suit a {plan.network.dims}-D plan.",
            found=network.dims,
            expected=plan.network.dims,
            hint=f"Plan with --dims {network.dims}.",
        )
    spec = network.model_copy(update={"channels": plan.network.channels, "classes": plan.network.classes})
    if spec.encoder is not None:
        unit = all(step.kind == "scale" for step in plan.preparation.normalisation)
        spec = spec.model_copy(update={"encoder_input": "unit" if unit else "standardised"})
    return plan.changed(
        {
            "network": spec.model_dump(mode="json"),
            "training.patch": _multiple(plan.training.patch, spec.divisor),
            "inference.patch": _multiple(plan.inference.patch, spec.divisor),
            "reasons": [*plan.reasons, reason],
        }
    )


def _multiple(patch: Shape, divisor: Shape) -> Shape:
    z, y, x = (ceil(size / step) * step for size, step in zip(patch, divisor, strict=True))
    return (z, y, x)
