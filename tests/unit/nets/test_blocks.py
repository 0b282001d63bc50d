"""The blocks compute what their formulas say."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from segloop.nets.blocks import InstanceNormalization, PixelShuffleUp


@pytest.mark.parametrize("shape", [(2, 5, 7, 3), (2, 4, 5, 6, 3)])
def test_instance_normalisation_equals_its_formula(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(5, 3, shape).astype(np.float32)
    layer = InstanceNormalization()
    layer.build(shape)
    layer.gamma.assign([1.0, 2.0, 0.5])
    layer.beta.assign([0.0, -1.0, 3.0])
    space = tuple(range(1, len(shape) - 1))
    centred = (x - x.mean(space, keepdims=True)) / np.sqrt(x.var(space, keepdims=True) + 1e-5)
    expected = centred * np.array([1.0, 2.0, 0.5]) + np.array([0.0, -1.0, 3.0])
    np.testing.assert_allclose(np.asarray(layer(x)), expected, atol=1e-4)


def test_instance_normalisation_of_a_constant_is_its_shift() -> None:
    layer = InstanceNormalization()
    out = np.asarray(layer(np.full((1, 4, 4, 4, 2), 1000.0, np.float32)))
    np.testing.assert_allclose(out, 0, atol=0.2)
    assert np.isfinite(out).all()


def test_instance_normalisation_agrees_with_keras_group_normalisation() -> None:
    x = np.random.default_rng(1).normal(size=(2, 6, 6, 4)).astype(np.float32)
    theirs = keras.layers.GroupNormalization(groups=-1, epsilon=1e-5)
    np.testing.assert_allclose(np.asarray(InstanceNormalization()(x)), np.asarray(theirs(x)), atol=1e-5)


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-4), ("bfloat16", 0.03)])
@pytest.mark.parametrize("shape", [(2, 5, 7, 3), (3, 4, 5, 6, 3)])
def test_the_slopes_in_training_are_those_of_the_formula(
    shape: tuple[int, ...], precision: str, tolerance: float
) -> None:
    draw = np.random.default_rng(3)
    exact, weight, gamma = draw.normal(2, 3, shape), draw.normal(size=shape), np.array([1.0, -2.0, 0.5])
    layer = InstanceNormalization(dtype="float32" if precision == "float32" else f"mixed_{precision}")
    layer.build(shape)
    layer.gamma.assign(gamma)
    x = tf.constant(exact, precision)
    exact = np.asarray(tf.cast(x, "float64"))  # what is left of the numbers in this precision
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(layer(x, training=True) * tf.constant(weight, precision))
    slopes = tape.gradient(loss, [x, layer.gamma.value, layer.beta.value])
    space = tuple(range(1, len(shape) - 1))
    inverse = 1 / np.sqrt(exact.var(space, keepdims=True) + 1e-5)
    h = (exact - exact.mean(space, keepdims=True)) * inverse
    mean, along = weight.mean(space, keepdims=True), (weight * h).mean(space, keepdims=True)
    expected = (gamma * inverse * (weight - mean - h * along), (weight * h).sum((0, *space)), weight.sum((0, *space)))
    for found, right in zip(slopes, expected, strict=True):
        np.testing.assert_allclose(np.asarray(tf.cast(found, "float64")), right, atol=tolerance * np.abs(weight).max())


def test_a_constant_channel_has_no_wild_slope() -> None:
    layer = InstanceNormalization(dtype="mixed_bfloat16")
    x = tf.cast(tf.fill((2, 6, 6, 6, 3), 3.3), layer.compute_dtype)
    weight = np.random.default_rng(5).normal(size=x.shape)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(layer(x, training=True) * tf.constant(weight, x.dtype))
    found = np.asarray(tf.cast(tape.gradient(loss, x), "float64"))
    right = (weight - weight.mean((1, 2, 3), keepdims=True)) / np.sqrt(1e-5)
    np.testing.assert_allclose(found, right, atol=0.02 * np.abs(right).max())


def test_training_and_inference_give_the_same() -> None:
    x = np.random.default_rng(4).normal(1, 2, (2, 4, 5, 6, 3)).astype(np.float32)
    layer = InstanceNormalization()
    np.testing.assert_array_equal(np.asarray(layer(x, training=True)), np.asarray(layer(x)))


def test_what_is_exported_is_a_plain_multiply_add() -> None:
    layer = InstanceNormalization()
    graph = tf.function(layer).get_concrete_function(tf.TensorSpec((1, 4, 4, 4, 3))).graph
    assert not {op.type for op in graph.get_operations()} & {"IdentityN", "PartitionedCall", "StatefulPartitionedCall"}


@pytest.mark.parametrize("stride", [(2, 2), (1, 2), (2, 2, 2), (1, 2, 2), (2, 1, 3)])
def test_pixel_shuffle_equals_a_transposed_convolution(stride: tuple[int, ...]) -> None:
    dims, channels, features = len(stride), 5, 4
    x = np.random.default_rng(2).normal(size=(2, *(3, 4, 2)[:dims], channels)).astype(np.float32)
    ours = PixelShuffleUp(features, stride)
    kind = keras.layers.Conv2DTranspose if dims == 2 else keras.layers.Conv3DTranspose
    theirs = kind(features, stride, stride)
    ours(x)
    theirs(x)
    bias = np.arange(features, dtype=np.float32)
    ours.bias.assign(bias)
    kernel = np.asarray(ours.kernel).reshape(channels, *stride, features)
    theirs.kernel.assign(np.moveaxis(kernel, 0, -1))
    theirs.bias.assign(bias)
    np.testing.assert_allclose(np.asarray(ours(x)), np.asarray(theirs(x)), atol=1e-5)


@pytest.mark.parametrize("layer", [InstanceNormalization(epsilon=1e-3), PixelShuffleUp(4, (2, 2, 2), seed=3)])
def test_a_layer_is_made_again_from_its_config(layer: keras.layers.Layer) -> None:
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert again.compute_output_shape((1, 4, 4, 4, 8)) == layer.compute_output_shape((1, 4, 4, 4, 8))
