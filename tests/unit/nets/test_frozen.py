"""Layers of pretrained encoders against their formulas, and against what keras.applications expects."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from segloop.nets.frozen import ChannelScale, FrozenBatchNormalization, PixelValues
from segloop.nets.imagenet import pixel_values

_MEAN, _DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def _pixels() -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (2, 4, 5, 3)).astype(np.float32)


def _standardised(pixels: np.ndarray) -> np.ndarray:
    return ((pixels / 255 - _MEAN) / _DEVIATION).astype(np.float32)


def _wanted(encoder: str, pixels: np.ndarray) -> np.ndarray:
    """What the first convolution of the application sees."""
    if encoder == "resnet50":
        return keras.applications.resnet.preprocess_input(pixels.copy())
    return pixels / 128 - 1 if encoder == "efficientnetv2-s" else _standardised(pixels)


@pytest.mark.parametrize("encoder", ["resnet50", "efficientnetv2-b0", "efficientnetv2-s", "convnext-tiny"])
def test_an_encoder_sees_the_pixels_it_learnt_from_whatever_the_plan_makes_of_them(encoder: str) -> None:
    pixels = _pixels()
    unit = pixel_values(encoder, "unit")((pixels / 255).astype(np.float32))
    standardised = pixel_values(encoder, "standardised")(_standardised(pixels))
    np.testing.assert_allclose(np.asarray(unit), _wanted(encoder, pixels), atol=2e-4)
    np.testing.assert_allclose(np.asarray(standardised), _wanted(encoder, pixels), atol=2e-4)


def test_one_channel_is_repeated() -> None:
    grey = _pixels()[..., :1]
    layer = PixelValues((1.0, 2.0, 3.0), (0.5, 0.0, -0.5), reverse=True)
    expected = np.concatenate([3 * grey - 0.5, 2 * grey, grey + 0.5], -1)
    np.testing.assert_allclose(np.asarray(layer(grey)), expected, rtol=1e-6)


@pytest.mark.parametrize("training", [False, True])
def test_frozen_statistics_give_what_batch_normalisation_gives_in_use(training: bool) -> None:
    draw = np.random.default_rng(1)
    x = draw.normal(3, 2, (2, 4, 5, 3)).astype(np.float32)
    theirs = keras.layers.BatchNormalization(epsilon=1e-3)
    theirs.build(x.shape)
    weights = [draw.uniform(0.5, 2, 3), draw.normal(size=3), draw.normal(size=3), draw.uniform(0.1, 4, 3)]
    theirs.set_weights(weights)
    ours = FrozenBatchNormalization()
    ours.build(x.shape)
    ours.set_weights([*weights[:2], weights[2], np.sqrt(weights[3] + 1e-3)])
    np.testing.assert_allclose(np.asarray(ours(x, training=training)), np.asarray(theirs(x)), atol=1e-5)
    assert [v.name for v in ours.trainable_variables] == ["gamma", "beta"]


def test_a_channel_scale_multiplies() -> None:
    layer = ChannelScale(0.25)
    np.testing.assert_array_equal(np.asarray(layer(np.full((1, 2, 2, 3), 2.0, np.float32))), np.full((1, 2, 2, 3), 0.5))


@pytest.mark.parametrize("layer", [PixelValues((1.0,) * 3, (0.0,) * 3), ChannelScale(0.5), FrozenBatchNormalization()])
def test_a_layer_is_made_again_from_its_config(layer: keras.layers.Layer) -> None:
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert tuple(again.compute_output_shape((1, 4, 4, 3))) == (1, 4, 4, 3)
