"""The way down of a U-Net: plain convolutions, residual blocks, or an ImageNet encoder after a plain stage."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from keras import KerasTensor

from segloop.nets.blocks import Axes, convolution, residual_block
from segloop.nets.imagenet import imagenet_stages
from segloop.plan import NetworkSpec

_STAGE = re.compile(r"(?:down|encoder)(\d+)_")


def encode(inputs: KerasTensor, spec: NetworkSpec, *, seeds: Iterator[int], dtype: Any) -> list[KerasTensor]:
    """What each stage gives to the decoder, full resolution first.

    Args:
        inputs: The image, (b, *space, channels).
        spec: The architecture.
        seeds: Of the initial weights, drawn one after the other.
        dtype: Keras dtype policy of the layers.
    """
    if spec.encoder is not None:
        return _imagenet(inputs, spec, seeds, dtype)
    if spec.block == "residual":
        return _residual(inputs, spec, seeds, dtype)
    x, stages = inputs, []
    for stage in range(len(spec.features)):
        x = _plain_stage(x, spec, stage, seeds, dtype)
        stages.append(x)
    return stages


def stage_of(path: str, spec: NetworkSpec) -> int | None:
    """The stage of the pretrained part that a variable belongs to, 0 the finest; None for every other variable.

    The pretrained part is the ImageNet encoder without the plain stages before it, or, in a network without one, the
    whole way down.
    """
    found = _STAGE.match(path)
    if found is None or (spec.encoder is not None and path.startswith("down")):
        return None
    return int(found[1])


def without_z(sizes: tuple[tuple[int, int, int], ...], dims: int) -> tuple[Axes, ...]:
    """Sizes along the spatial axes a network has: 2-D leaves out z."""
    return tuple(size[3 - dims :] for size in sizes)


def _plain_stage(x: KerasTensor, spec: NetworkSpec, stage: int, seeds: Iterator[int], dtype: Any) -> KerasTensor:
    kernel, stride = (without_z(sizes, spec.dims)[stage] for sizes in (spec.kernels, spec.strides))
    for i in range(spec.convolutions):
        x = convolution(
            x,
            spec.features[stage],
            kernel,
            name=f"down{stage}_{i}",
            seed=next(seeds),
            stride=stride if i == 0 else None,
            dtype=dtype,
        )
    return x


def _residual(inputs: KerasTensor, spec: NetworkSpec, seeds: Iterator[int], dtype: Any) -> list[KerasTensor]:
    """Residual blocks after one plain convolution, which brings the image's channels to the first stage's."""
    kernels, strides = without_z(spec.kernels, spec.dims), without_z(spec.strides, spec.dims)
    x = convolution(inputs, spec.features[0], kernels[0], name="down0_stem", seed=next(seeds), dtype=dtype)
    stages = []
    for stage, features in enumerate(spec.features):
        for i in range(spec.blocks[stage] if spec.blocks else 1):
            x = residual_block(
                x,
                features,
                kernels[stage],
                name=f"down{stage}_{i}",
                seeds=seeds,
                stride=strides[stage] if i == 0 else None,
                dtype=dtype,
            )
        stages.append(x)
    return stages


def _imagenet(inputs: KerasTensor, spec: NetworkSpec, seeds: Iterator[int], dtype: Any) -> list[KerasTensor]:
    """A plain stage at full resolution, then the encoder, with a plain stage at half where it has none of its own."""
    assert spec.encoder is not None
    full = _plain_stage(inputs, spec, 0, seeds, dtype)
    half, *deeper = imagenet_stages(inputs, spec.encoder, spec.encoder_input, seeds=seeds, dtype=dtype)
    if half is None:
        half = _plain_stage(full, spec, 1, seeds, dtype)
    return [full, half, *deeper]
