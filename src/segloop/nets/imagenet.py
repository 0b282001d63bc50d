"""ImageNet encoders of `keras.applications` as the way down of a 2-D U-Net.

The application's own graph is copied layer by layer, so it computes what the application computes. Five things differ:

- Names carry the stage (`encoder3_conv3_block1_1_conv`), so that variable paths depend on the spec alone and tell which
  stage a variable belongs to.
- The values that an encoder learnt from are made inside the network (`PixelValues`), so that a bundle is complete in
  itself. One channel is repeated to three: every variable keeps the shape it has in the weights file, grey and colour
  models can start from each other, and the two further channels cost one convolution at half resolution. Summing the
  first convolution's weights instead would be another function wherever the three channels are scaled differently, as
  they are in all of these encoders.
- Batch normalisation uses the statistics it came with, in training too (`FrozenBatchNormalization`): a batch of a few
  patches of one kind gives poor estimates, and networks tuned with them behave otherwise in use than in training.
- Dropout is left out: it was there for hundreds of epochs on ImageNet, and without it a resumed training goes on as if
  it had never stopped.
- ConvNeXt's grouped convolutions are depthwise ones: the same sums, which TensorFlow computes on CPUs without XLA.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import keras
import numpy as np
from keras import KerasTensor, ops

from segloop.nets.frozen import ChannelScale, FrozenBatchNormalization, PixelValues
from segloop.plan import Encoder
from segloop.volume import Vector

# Mean and deviation of ImageNet's red, green and blue, 0 to 1.
_MEAN: Vector = (0.485, 0.456, 0.406)
_DEVIATION: Vector = (0.229, 0.224, 0.225)
_PIXEL = 255.0
_OFFSET: Vector = (_PIXEL * _MEAN[0], _PIXEL * _MEAN[1], _PIXEL * _MEAN[2])
_SCALE: Vector = (_PIXEL * _DEVIATION[0], _PIXEL * _DEVIATION[1], _PIXEL * _DEVIATION[2])

NAME = "encoder"
"""Name of the encoder within the U-Net."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """One encoder.

    Args:
        application: Its name in `keras.applications`.
        readers: The first layer of each stage after the first; what it reads is what the stage before it gives.
        offset: Subtracted from red, green and blue, 0 to 255.
        scale: Divides what is left.
        reversed: The encoder reads blue, green, red.
        half: It has a stage at half resolution.
    """

    application: str
    readers: tuple[str, ...]
    offset: Vector = _OFFSET
    scale: Vector = _SCALE
    reversed: bool = False
    half: bool = True


_EFFICIENT = ("block2a_expand_conv", "block3a_expand_conv", "block4a_expand_conv", "block6a_expand_conv")
_NEXT = "convnext_tiny_"
_KINDS: dict[Encoder, _Kind] = {
    "resnet50": _Kind(
        "ResNet50",
        ("pool1_pad", "conv3_block1_1_conv", "conv4_block1_1_conv", "conv5_block1_1_conv"),
        offset=(123.68, 116.779, 103.939),
        scale=(1.0, 1.0, 1.0),
        reversed=True,
    ),
    "efficientnetv2-b0": _Kind("EfficientNetV2B0", _EFFICIENT),
    "efficientnetv2-s": _Kind("EfficientNetV2S", _EFFICIENT, (128.0, 128.0, 128.0), (128.0, 128.0, 128.0)),
    "convnext-tiny": _Kind("ConvNeXtTiny", tuple(f"{_NEXT}downsampling_block_{i}" for i in range(3)), half=False),
}


def imagenet_stages(
    inputs: KerasTensor,
    encoder: Encoder,
    values: Literal["standardised", "unit"],
    *,
    seeds: Iterator[int],
    dtype: Any,
) -> list[KerasTensor | None]:
    """What the encoder gives at a half, a quarter, an 8th, a 16th and a 32nd of the resolution; the last is its output.

    Args:
        inputs: The image, (b, y, x, 1 or 3), as the Plan's preparation leaves it.
        encoder: Which one.
        values: As `NetworkSpec.encoder_input` says.
        seeds: Of the initial weights; those of an application are loaded over them (`nets.pretrained`).
        dtype: Keras dtype policy of the layers.

    Returns:
        Five entries, of which the first is None for an encoder that begins at a quarter of the resolution.
    """
    kind = _KINDS[encoder]
    pixels = pixel_values(encoder, values)(inputs)
    application = application_of(encoder)
    names = _names(application, kind)
    operations = application.operations
    places = [i for i, operation in enumerate(operations) if operation.name in kind.readers]
    trunk = keras.Model(application.inputs, [*(operations[i - 1].output for i in places), application.output])
    copied = keras.models.clone_model(
        trunk,
        clone_function=lambda layer: _copy(layer, names, seeds, dtype),
        # The original's calls name a mask, which not every copy takes; there is none.
        call_function=lambda layer, *tensors, **_: layer(*tensors),
    )
    stages = keras.Model(copied.inputs, copied.outputs, name=NAME)(pixels)
    return stages if kind.half else [None, *stages]


def pixel_values(encoder: Encoder, values: Literal["standardised", "unit"]) -> PixelValues:
    """The layer that turns a Plan's values into those the encoder learnt from.

    Pixels p run from 0 to 255. `unit` values u stand for p = 255 u; `standardised` values s for p = 255 (m + d s) with
    ImageNet's mean m and deviation d of the channel, so an image of mean 0 and deviation 1 becomes one as bright and
    as rich in contrast as ImageNet's. Then each application's own rule: ResNet50 subtracts (103.939, 116.779, 123.68)
    from blue, green, red; EfficientNetV2-B0 and ConvNeXt take (p/255 - m)/d; EfficientNetV2-S takes p/128 - 1.
    """
    kind = _KINDS[encoder]
    mean, deviation = (_MEAN, _DEVIATION) if values == "standardised" else ((0.0,) * 3, (1.0,) * 3)
    factors = tuple(_PIXEL * d / s for d, s in zip(deviation, kind.scale, strict=True))
    offsets = tuple((_PIXEL * m - o) / s for m, o, s in zip(mean, kind.offset, kind.scale, strict=True))
    return PixelValues(factors, offsets, reverse=kind.reversed, name=f"{NAME}_values", dtype="float32")


@lru_cache(maxsize=1)  # a network is built several times on the way to a bundle
def application_of(encoder: Encoder) -> keras.Model:
    """The application without its classifier, for images of any size; its weights are drawn or belong to whoever loads.

    The same object is returned again, so load weights into it only to read them out at once.
    """
    build = getattr(keras.applications, _KINDS[encoder].application)
    return build(include_top=False, weights=None, input_shape=(None, None, 3))


def copy_weights(application: keras.Model, copy: keras.Model, encoder: Encoder) -> None:
    """Put an application's weights into its copy.

    Args:
        application: From `application_of`.
        copy: The layer `NAME` of a U-Net.
        encoder: Which one it is.
    """
    names = _names(application, _KINDS[encoder])
    targets = {layer.name: layer for layer in _flat(copy.layers)}
    for layer in _flat(application.layers):
        if layer.weights:
            values = _values(layer)
            for variable in targets[names[layer.name]].weights:
                variable.assign(values[variable.name])


def _names(application: keras.Model, kind: _Kind) -> dict[str, str]:
    """Name in the application to name in the network: with the stage, without the application's name."""
    names, stage = {}, 1 if kind.half else 2
    for operation in application.operations:
        stage += operation.name in kind.readers
        for layer in {operation, *_flat([operation])}:
            # The one layer with weights that Keras numbers through is the last normalisation of ConvNeXt.
            last = isinstance(layer, keras.layers.LayerNormalization) and layer is application.layers[-1]
            names[layer.name] = f"{NAME}{stage}_{'top_layernorm' if last else layer.name.removeprefix(_NEXT)}"
    return names


def _flat(operations: list[Any]) -> Iterator[Any]:
    for operation in operations:
        if isinstance(operation, keras.Sequential):
            yield from operation.layers
        else:
            yield operation


def _copy(operation: Any, names: dict[str, str], seeds: Iterator[int], dtype: Any) -> Any:
    """The operation as this network has it: with a name, dtype and seed of its own."""
    if isinstance(operation, keras.Sequential):
        parts = [_copy(layer, names, seeds, dtype) for layer in operation.layers]
        return keras.Sequential(parts, name=names[operation.name])
    if not isinstance(operation, keras.layers.Layer):
        return type(operation).from_config(operation.get_config())
    config = {**operation.get_config(), "name": names[operation.name], "dtype": dtype}
    for key in ("kernel_initializer", "depthwise_initializer"):
        if config.get(key) is not None:
            config[key]["config"]["seed"] = next(seeds)
    kind, kept = _replacement(operation)
    if kept is None:
        return kind.from_config(config)
    # What a grouped convolution calls its kernel, a depthwise one calls depthwise.
    settings = {"depthwise_initializer": config.get("kernel_initializer"), **config}
    return kind.from_config({key: settings[key] for key in (*kept, "name", "dtype")})


def _replacement(layer: keras.layers.Layer) -> tuple[type[keras.layers.Layer], tuple[str, ...] | None]:
    """What kind of layer stands for this one, and which of its settings it takes over; None for all."""
    if isinstance(layer, keras.layers.Dropout | keras.layers.Rescaling | keras.layers.Normalization):
        return keras.layers.Identity, ()
    if isinstance(layer, keras.layers.BatchNormalization):
        return FrozenBatchNormalization, ()
    if hasattr(layer, "init_values"):  # Keras keeps the class LayerScale to itself
        return ChannelScale, ("init_values",)
    if getattr(layer, "groups", 1) > 1:
        return keras.layers.DepthwiseConv2D, ("kernel_size", "padding", "depthwise_initializer")
    return type(layer), None


def _values(layer: keras.layers.Layer) -> dict[str, np.ndarray]:
    """A layer's weights by the names they have in its copy."""
    values = {variable.name: ops.convert_to_numpy(variable) for variable in layer.weights}
    if isinstance(layer, keras.layers.BatchNormalization):
        deviation = np.sqrt(values.pop("moving_variance") + layer.epsilon)
        return {**values, "mean": values.pop("moving_mean"), "deviation": deviation}
    if hasattr(layer, "init_values"):
        (gamma,) = values.values()
        return {"gamma": gamma}
    if getattr(layer, "groups", 1) > 1:
        # (y, x, 1, channel) of a grouped convolution is (y, x, channel, 1) of a depthwise one.
        return {**values, "kernel": values["kernel"].transpose(0, 1, 3, 2)}
    return values
