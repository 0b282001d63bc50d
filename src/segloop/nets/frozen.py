"""Layers of pretrained encoders: the values they learnt from, statistics that stay, a scale per channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import KerasTensor, ops


class PixelValues(keras.layers.Layer):  # type: ignore[misc]
    """Grey or colour values as three channels, each times a factor plus an offset.

    Args:
        factors: Of red, green and blue.
        offsets: Of red, green and blue.
        reverse: Give blue, green, red.
    """

    def __init__(self, factors: Sequence[float], offsets: Sequence[float], reverse: bool = False, **options: Any):
        super().__init__(**options)
        self.factors, self.offsets, self.reverse = tuple(factors), tuple(offsets), reverse

    def call(self, inputs: KerasTensor) -> KerasTensor:
        """From (b, y, x, 1 or 3) to (b, y, x, 3); one channel is repeated."""
        values = inputs if inputs.shape[-1] == 3 else ops.concatenate([inputs] * 3, axis=-1)
        order = slice(None, None, -1 if self.reverse else 1)
        if self.reverse:
            values = ops.take(values, (2, 1, 0), axis=-1)
        factors = ops.convert_to_tensor(self.factors[order], values.dtype)
        return values * factors + ops.convert_to_tensor(self.offsets[order], values.dtype)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        """The input's, with three channels."""
        return (*input_shape[:-1], 3)

    def get_config(self) -> dict[str, Any]:
        """What the constructor needs to make this layer again."""
        own = {"factors": self.factors, "offsets": self.offsets, "reverse": self.reverse}
        return {**super().get_config(), **own}


class FrozenBatchNormalization(keras.layers.Layer):  # type: ignore[misc]
    """Batch normalisation with the mean and deviation it came with, in training as in use.

    `gamma (x - mean) / deviation + beta`, channel by channel.
    The deviation, not the variance, is what is kept: it stays within float16, in which bundles hold their weights.
    Scale and shift are learnt.
    """

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Create four numbers per channel, in float32."""
        shape = (input_shape[-1],)
        self.gamma = self.add_weight(shape=shape, initializer="ones", name="gamma", autocast=False)
        self.beta = self.add_weight(shape=shape, initializer="zeros", name="beta", autocast=False)
        still = {"trainable": False, "autocast": False}
        self.mean = self.add_weight(shape=shape, initializer="zeros", name="mean", **still)
        self.deviation = self.add_weight(shape=shape, initializer="ones", name="deviation", **still)

    def call(self, inputs: KerasTensor) -> KerasTensor:
        """The normalised tensor, in the dtype of `inputs`, as one multiply-add."""
        factor = self.gamma / self.deviation
        offset = self.beta - self.mean * factor
        return inputs * ops.cast(factor, inputs.dtype) + ops.cast(offset, inputs.dtype)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Sequence[int | None]:
        """The input's shape."""
        return input_shape


class ChannelScale(keras.layers.Layer):  # type: ignore[misc]
    """Each channel times a learnt number.

    Args:
        init_values: Of all channels.

    Source: Touvron et al., LayerScale, arXiv 2103.17239.
    """

    def __init__(self, init_values: float, **options: Any) -> None:
        super().__init__(**options)
        self.init_values = init_values

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Create `gamma`, one number per channel."""
        start = keras.initializers.Constant(self.init_values)
        self.gamma = self.add_weight(shape=(input_shape[-1],), initializer=start, name="gamma")

    def call(self, inputs: KerasTensor) -> KerasTensor:
        """The scaled tensor."""
        return inputs * self.gamma

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Sequence[int | None]:
        """The input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """What the constructor needs to make this layer again."""
        return {**super().get_config(), "init_values": self.init_values}
