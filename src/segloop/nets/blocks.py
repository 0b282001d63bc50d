"""The parts U-Nets are built of: instance normalisation, convolution, residual block, attention gate, up-sampling.

Every layer takes and gives channels-last tensors of rank 4 (2-D) or 5 (3-D).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import Any

import keras
from keras import KerasTensor, ops

Axes = tuple[int, ...]

# A channel whose variance is a smaller share of its squared mean is constant as far as the numbers can tell: bfloat16
# steps by 2**-8 of a number, and the difference of mean square and squared mean has float32's rounding of each.
_CONSTANT = {"bfloat16": 2.0**-16}
_CONSTANT_EXACT = 2.0**-21


class InstanceNormalization(keras.layers.Layer):  # type: ignore[misc]
    """Each channel of each image brought to mean 0 and variance 1, then scaled and shifted by learnt numbers.

    Computed as one multiply-add `x * a + b`, where a and b come from the mean and the mean of squares in float32: CPU
    kernels and model converters fuse that, which they do not do for Keras' `GroupNormalization(groups=-1)`.

    Args:
        epsilon: Added to the variance.

    Source: Ulyanov et al., Instance Normalization, arXiv 1607.08022.
    """

    def __init__(self, epsilon: float = 1e-5, **options: Any) -> None:
        super().__init__(**options)
        self.epsilon = epsilon

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Create `gamma` and `beta`, one number per channel, kept in float32."""
        self.gamma = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="gamma", autocast=False)
        self.beta = self.add_weight(shape=(input_shape[-1],), initializer="zeros", name="beta", autocast=False)

    def call(self, inputs: KerasTensor, training: bool = False) -> KerasTensor:
        """The normalised tensor, in the dtype of `inputs`.

        In training its gradient is written out, see `_slopes`; a network to be exported is left without, since what
        carries a gradient of its own hides the multiply-add from converters.
        """
        if training:
            # Values, since TensorFlow asks a function with variables for more than its arguments' slopes.
            values = ops.copy(self.gamma), ops.copy(self.beta)
            return ops.custom_gradient(self._learning)(inputs, *values)
        return self._normalised(inputs, self.gamma, self.beta)[0]

    def _normalised(
        self, inputs: KerasTensor, gamma: KerasTensor, beta: KerasTensor
    ) -> tuple[KerasTensor, KerasTensor, KerasTensor]:
        """The normalised tensor; mean and variance per image and channel, (b, 1…, c) float32."""
        space = _space(inputs)
        exact = ops.cast(inputs, "float32")
        mean = ops.mean(exact, axis=space, keepdims=True)
        # Rounding can bring the difference a hair below zero for a constant channel.
        variance = ops.maximum(ops.mean(ops.square(exact), axis=space, keepdims=True) - ops.square(mean), 0.0)
        factor = gamma * ops.rsqrt(variance + self.epsilon)
        offset = beta - mean * factor
        return inputs * ops.cast(factor, inputs.dtype) + ops.cast(offset, inputs.dtype), mean, variance

    def _learning(
        self, inputs: KerasTensor, gamma: KerasTensor, beta: KerasTensor
    ) -> tuple[KerasTensor, Callable[..., tuple[KerasTensor, ...]]]:
        """The normalised tensor, and what leads from its slopes to those of the arguments."""
        outputs, mean, variance = self._normalised(inputs, gamma, beta)

        def slopes(*arguments: KerasTensor, upstream: KerasTensor | None = None) -> tuple[KerasTensor, ...]:
            slope = arguments[0] if upstream is None else upstream
            return _slopes(slope, inputs, gamma, mean, variance, self.epsilon)

        return outputs, slopes

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Sequence[int | None]:
        """The input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """What the constructor needs to make this layer again."""
        return {**super().get_config(), "epsilon": self.epsilon}


def _slopes(
    upstream: KerasTensor,
    inputs: KerasTensor,
    gamma: KerasTensor,
    mean: KerasTensor,
    variance: KerasTensor,
    epsilon: float,
) -> tuple[KerasTensor, KerasTensor, KerasTensor]:
    """Slopes of the loss in the inputs, gamma and beta of an instance normalisation, from those in its outputs.

    With y = gamma h + beta, h = (x - mean) inverse and g the slope in y, the slope in x is gamma inverse (g - mean(g) -
    h mean(g h)): a sum of g, x and 1 with one factor each per image and channel. It takes half of the passes over the
    tensor that differentiating each operation takes, none of them in float32.

    Source: Ioffe & Szegedy, arXiv 1502.03167, section 3, with the statistics of one image.
    """
    space, kind = _space(inputs), inputs.dtype
    voxels = prod(inputs.shape[1:-1])
    share = _CONSTANT.get(keras.backend.standardize_dtype(kind), _CONSTANT_EXACT)
    inverse = ops.rsqrt(variance + epsilon)
    total = ops.cast(ops.sum(upstream, axis=space, keepdims=True), "float32")
    crossed = ops.cast(ops.sum(upstream * inputs, axis=space, keepdims=True), "float32")
    # Of a constant channel the difference of the two is rounding alone.
    along = ops.where(variance > share * ops.square(mean), (crossed - mean * total) * inverse, 0.0)
    factor = gamma * inverse
    bend = -factor * inverse * along / voxels
    offset = -factor * total / voxels - bend * mean
    slope = upstream * ops.cast(factor, kind) + (inputs * ops.cast(bend, kind) + ops.cast(offset, kind))
    return slope, ops.sum(along, axis=(0, *space)), ops.sum(total, axis=(0, *space))


def _space(inputs: KerasTensor) -> Axes:
    return tuple(range(1, len(inputs.shape) - 1))


class PixelShuffleUp(keras.layers.Layer):  # type: ignore[misc]
    """Up-sampling by a transposed convolution whose kernel equals its stride, as a matrix product and a pixel shuffle.

    Each voxel becomes a block of `stride` voxels. The same function as `Conv3DTranspose(features, stride, stride)`,
    whose kernel (z, y, x, out, in) is this layer's `kernel` with axes moved to (in, z, y, x, out); 1.7 times faster
    to train.

    Args:
        features: Channels of the output.
        stride: Factor along each spatial axis.
        seed: Of the initial weights.
    """

    def __init__(self, features: int, stride: Axes, seed: int = 0, **options: Any) -> None:
        super().__init__(**options)
        self.features, self.stride, self.seed = features, tuple(stride), seed

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Create the kernel (in, voxels of the block x features) and the bias."""
        channels, width = input_shape[-1], prod(self.stride) * self.features
        draw = keras.initializers.VarianceScaling(1.0, "fan_in", "truncated_normal", seed=self.seed)
        self.kernel = self.add_weight(shape=(channels, width), initializer=draw, name="kernel")
        self.bias = self.add_weight(shape=(self.features,), initializer="zeros", name="bias")

    def call(self, inputs: KerasTensor) -> KerasTensor:
        """The tensor with each spatial axis `stride` times as long."""
        batch, *space, channels = ops.shape(inputs)
        # Added here rather than to the shuffled tensor, the bias becomes part of the matrix product.
        flat = ops.matmul(ops.reshape(inputs, (-1, channels)), self.kernel)
        flat = flat + ops.tile(self.bias, prod(self.stride))
        if len(space) == 2:
            space, stride = [1, *space], (1, *self.stride)
        else:
            stride = self.stride
        z, y, x = space
        # Batch and z, and the last block axis and the features, move together: rank 6 instead of 8.
        blocks = ops.reshape(flat, (batch * z, y, x, stride[0], stride[1], stride[2] * self.features))
        shuffled = ops.transpose(blocks, (0, 3, 1, 4, 2, 5))
        wide = tuple(n * s for n, s in zip(space, stride, strict=True))
        if len(self.stride) == 2:
            wide = wide[1:]
        return ops.reshape(shuffled, (batch, *wide, self.features))

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        """Spatial sizes times the stride, `features` channels."""
        wide = (None if n is None else n * s for n, s in zip(input_shape[1:-1], self.stride, strict=True))
        return (input_shape[0], *wide, self.features)

    def get_config(self) -> dict[str, Any]:
        """What the constructor needs to make this layer again."""
        return {**super().get_config(), "features": self.features, "stride": self.stride, "seed": self.seed}


def convolution(  # noqa: PLR0913 - what a convolution is
    inputs: KerasTensor,
    features: int,
    kernel: Axes,
    *,
    name: str,
    seed: int,
    stride: Axes | None = None,
    activate: bool = True,
    dtype: Any,
) -> KerasTensor:
    """Convolution, instance normalisation, leaky ReLU: the step every stage repeats.

    The convolution has no bias, since the normalisation that follows would take it away again.

    Args:
        inputs: Channels-last tensor.
        features: Channels of the output.
        kernel: Size along each spatial axis.
        name: Prefix of the layers' names, and so of their variables' paths.
        seed: Of the initial weights.
        stride: Down-sampling along each spatial axis; None keeps the size.
        activate: End with the leaky ReLU; without, with the normalisation.
        dtype: Keras dtype policy of the layers.
    """
    kind = keras.layers.Conv2D if len(kernel) == 2 else keras.layers.Conv3D
    draw = keras.initializers.HeNormal(seed=seed)
    x = kind(
        features,
        kernel,
        strides=stride or 1,
        padding="same",
        use_bias=False,
        kernel_initializer=draw,
        name=f"{name}_conv",
        dtype=dtype,
    )(inputs)
    x = InstanceNormalization(name=f"{name}_norm", dtype=dtype)(x)
    return _activation(name, dtype)(x) if activate else x


def residual_block(
    inputs: KerasTensor,
    features: int,
    kernel: Axes,
    *,
    name: str,
    seeds: Iterator[int],
    stride: Axes | None = None,
    dtype: Any,
) -> KerasTensor:
    """Two convolutions with a way around them: what goes in is added before the last leaky ReLU.

    The way around keeps its input as it is where it can. Where the size changes it takes the mean over each stride's
    voxels, so that none is skipped; where the number of channels changes, a 1x1 convolution and a normalisation.

    Args:
        inputs: Channels-last tensor.
        features: Channels of the output.
        kernel: Of both convolutions, along each spatial axis.
        name: Prefix of the layers' names.
        seeds: Of the initial weights, drawn one after the other.
        stride: Of the first convolution; None keeps the size.
        dtype: Keras dtype policy of the layers.

    Source: He et al., arXiv 1512.03385; the way around as in nnU-Net's residual encoder (`BasicBlockD`), Isensee et
    al., arXiv 2404.09556.
    """
    x = convolution(inputs, features, kernel, name=f"{name}a", seed=next(seeds), stride=stride, dtype=dtype)
    x = convolution(x, features, kernel, name=f"{name}b", seed=next(seeds), activate=False, dtype=dtype)
    around = inputs
    if stride is not None and prod(stride) > 1:
        pooling = keras.layers.AveragePooling2D if len(kernel) == 2 else keras.layers.AveragePooling3D
        around = pooling(stride, name=f"{name}_around_pool", dtype=dtype)(around)
    if around.shape[-1] != features:
        point = (1,) * len(kernel)
        around = convolution(
            around, features, point, name=f"{name}_around", seed=next(seeds), activate=False, dtype=dtype
        )
    x = keras.layers.Add(name=f"{name}_sum", dtype=dtype)([x, around])
    return _activation(name, dtype)(x)


def attention_gate(
    skip: KerasTensor, gating: KerasTensor, *, name: str, seeds: Iterator[int], dtype: Any
) -> KerasTensor:
    """A skip connection of which each voxel is weighted, 0 to 1, by how it fits what the decoder saw.

    Additive attention: `skip * sigmoid(psi . relu(W [skip, gating] + b) + c)`, where W is a 1x1 convolution to half of
    the skip's channels and psi another one to a single channel. The gating signal is the decoder's after up-sampling,
    so the weights need no interpolation.

    Args:
        skip: Of the encoder.
        gating: Of the decoder, at the same resolution.
        name: Prefix of the layers' names.
        seeds: Of the initial weights.
        dtype: Keras dtype policy of the layers.

    Source: Oktay et al., arXiv 1804.03999, equation 1; there the skip is down-sampled to the gating signal instead.
    """
    kind = keras.layers.Conv2D if len(skip.shape) == 4 else keras.layers.Conv3D
    draws = [keras.initializers.HeNormal(seed=next(seeds)) for _ in range(2)]
    both = keras.layers.Concatenate(name=f"{name}_join", dtype=dtype)([skip, gating])
    x = kind(max(1, skip.shape[-1] // 2), 1, kernel_initializer=draws[0], name=f"{name}_both", dtype=dtype)(both)
    x = keras.layers.ReLU(name=f"{name}_act", dtype=dtype)(x)
    x = kind(1, 1, kernel_initializer=draws[1], activation="sigmoid", name=f"{name}_weight", dtype=dtype)(x)
    return keras.layers.Multiply(name=f"{name}_gated", dtype=dtype)([skip, x])


def _activation(name: str, dtype: Any) -> keras.layers.Layer:
    return keras.layers.LeakyReLU(negative_slope=0.01, name=f"{name}_act", dtype=dtype)
