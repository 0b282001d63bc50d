"""The U-Net, 2-D and 3-D, from one `NetworkSpec`: an encoder (`nets.encoders`), skip connections and a plain decoder.

Source: Ronneberger et al., arXiv 1505.04597; strided encoder, instance normalisation, leaky ReLU and deep supervision
as in Isensee et al., nnU-Net, Nature Methods 18 (2021).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import keras

from segloop.nets.blocks import PixelShuffleUp, attention_gate, convolution
from segloop.nets.encoders import encode, without_z
from segloop.plan import NetworkSpec


def build_unet(spec: NetworkSpec, *, seed: int = 0, dtype: Any = "float32") -> keras.Model:
    """A network from an image to logits at `spec.deep_supervision` resolutions, the full one first.

    Input (b, z, y, x, channels), or (b, y, x, channels) for `dims=2`, of any size that is a multiple of `spec.divisor`.
    Outputs are float32 (…, classes) logits whatever `dtype` is; variables are float32 too. Variable paths depend on
    `spec` alone, so weights go from a training model to a deployed one and from one precision to another.

    Args:
        spec: The architecture.
        seed: Of the initial weights; the same seed gives the same weights.
        dtype: Keras dtype policy of the hidden layers, such as `"mixed_bfloat16"`.
    """
    seeds = (seed * 1009 + i for i in count())
    inputs = keras.Input((*(None,) * spec.dims, spec.channels), name="image", dtype="float32")
    stages = encode(inputs, spec, seeds=seeds, dtype=dtype)
    outputs = _decode(stages, spec, seeds, dtype)
    return keras.Model(inputs, outputs[::-1], name="unet")


def deploy(model: keras.Model) -> keras.Model:
    """The same network with only the full-resolution logits as output; variables and their paths are shared."""
    return keras.Model(model.inputs, model.outputs[0], name="unet")


def _decode(
    stages: list[keras.KerasTensor], spec: NetworkSpec, seeds: Iterator[int], dtype: Any
) -> list[keras.KerasTensor]:
    """The logits of each supervised resolution, the full one last, from what the encoder's stages gave."""
    kernels, strides = without_z(spec.kernels, spec.dims), without_z(spec.strides, spec.dims)
    x, outputs = stages[-1], []
    for stage in reversed(range(len(spec.features) - 1)):
        features, skip = spec.features[stage], stages[stage]
        up = PixelShuffleUp(features, strides[stage + 1], seed=next(seeds), name=f"up{stage}", dtype=dtype)(x)
        if spec.attention:
            skip = attention_gate(skip, up, name=f"gate{stage}", seeds=seeds, dtype=dtype)
        x = keras.layers.Concatenate(name=f"up{stage}_join", dtype=dtype)([skip, up])
        for i in range(spec.convolutions):
            x = convolution(x, features, kernels[stage], name=f"up{stage}_{i}", seed=next(seeds), dtype=dtype)
        if stage < spec.deep_supervision:
            outputs.append(_head(x, spec, stage, seeds))
    return outputs


def _head(x: keras.KerasTensor, spec: NetworkSpec, stage: int, seeds: Iterator[int]) -> keras.KerasTensor:
    """Logits of one decoder stage, in float32 so that the softmax is."""
    kind = keras.layers.Conv2D if spec.dims == 2 else keras.layers.Conv3D
    draw = keras.initializers.HeNormal(seed=next(seeds))
    return kind(spec.classes, 1, kernel_initializer=draw, name=f"logits{stage}", dtype="float32")(x)
