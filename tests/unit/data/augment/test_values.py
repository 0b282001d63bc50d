"""Each transform of values against NumPy or SciPy."""

from __future__ import annotations

from math import ceil, floor

import numpy as np
import pytest
from keras import ops
from scipy.ndimage import gaussian_filter1d

from augment_kit import PATCH, applied, batch, spec
from segloop.data.augment import Augment
from segloop.plan import AugmentationSpec

SPACE = (1, 2, 3)


def drawn_and_made(asked: AugmentationSpec, count: int = 3, seed: int = 1) -> tuple[object, np.ndarray, np.ndarray]:
    """The draw, the images before and the images after."""
    images, labels = batch(count)
    augment = Augment(asked, PATCH)
    image, label = applied(augment, seed, images, labels)
    np.testing.assert_array_equal(label, labels)
    assert np.abs(image - images).max() > 1e-3
    return augment.draw(seed, count), images, image


def column(parameter: object) -> np.ndarray:
    return np.asarray(parameter, np.float64).reshape(-1, 1, 1, 1, 1)


def test_gamma_is_a_power_of_the_scaled_values_with_mean_and_deviation_kept() -> None:
    draw, before, after = drawn_and_made(spec("gamma"))
    low, high = before.min(SPACE, keepdims=True), before.max(SPACE, keepdims=True)
    bent = ((before - low) / (high - low)) ** column(draw.gamma)
    bent = (bent - bent.mean(SPACE, keepdims=True)) / bent.std(SPACE, keepdims=True)
    expected = bent * before.std(SPACE, keepdims=True) + before.mean(SPACE, keepdims=True)
    np.testing.assert_allclose(after, expected, atol=1e-4)


def test_contrast_stretches_about_the_mean_and_brightness_is_added() -> None:
    draw, before, after = drawn_and_made(spec("contrast", "brightness"))
    mean = before.mean(SPACE, keepdims=True)
    expected = (before - mean) * column(draw.contrast) + mean + column(draw.brightness)
    np.testing.assert_allclose(after, expected, atol=1e-5)


def test_blur_is_a_gaussian_of_five_taps() -> None:
    draw, before, after = drawn_and_made(spec("blur"))
    for i, sigma in enumerate(np.asarray(draw.blur_sigma)):
        expected = before[i]
        for axis in range(3):
            expected = gaussian_filter1d(expected, float(sigma), axis=axis, mode="reflect", radius=2)
        np.testing.assert_allclose(after[i], expected, atol=1e-5)


def test_low_resolution_reads_linearly_between_the_samples_that_were_kept() -> None:
    draw, before, after = drawn_and_made(spec("low_resolution"))
    assert np.asarray(draw.low_resolution).min() < 0.8
    for i, shares in enumerate(np.asarray(draw.low_resolution)):
        expected = before[i].astype(np.float64)
        for axis, (length, share) in enumerate(zip(PATCH, shares, strict=True)):
            count = round(length * share)
            middles = [(k + 0.5) * length / count - 0.5 for k in range(count)]
            kept = np.take(expected, [floor(m + 0.5) for m in middles], axis)
            line = lambda values, at=middles, n=length: np.interp(np.arange(n), at, values)  # noqa: E731
            expected = np.apply_along_axis(line, axis, kept)
        np.testing.assert_allclose(after[i], expected, atol=1e-5)


def test_low_resolution_that_keeps_every_sample_changes_nothing() -> None:
    images, labels = batch()
    asked = spec("low_resolution", low_resolution=(1.0, 1.0))
    np.testing.assert_array_equal(applied(Augment(asked, PATCH), 1, images, labels)[0], images)


def test_a_bias_field_is_smooth_multiplies_and_keeps_the_mean() -> None:
    draw, before, after = drawn_and_made(spec("bias_field", bias_field=0.5, bias_field_smoothness_mm=20.0))
    np.testing.assert_allclose(after.mean(SPACE), before.mean(SPACE), atol=1e-4)
    low = before.min(SPACE, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        field = np.log((after - low) / (before - low))
    bright = before - low > 1.0
    for i, control in enumerate(np.asarray(draw.bias_field)):
        own = field[i][bright[i]]
        assert 0.01 * np.abs(control).max() < own.std() <= np.abs(control).max()
        # The same for both channels but for the constant that keeps each one's mean, and nearly so for neighbours.
        both = bright[i].all(-1)
        difference = (field[i][..., 0] - field[i][..., 1])[both]
        assert difference.std() < 1e-3
        one = field[i][..., 0]
        near = bright[i][..., 0][:, :, 1:] & bright[i][..., 0][:, :, :-1]
        assert np.abs(one[:, :, 1:] - one[:, :, :-1])[near].max() < 0.1


def test_noise_has_the_deviation_drawn_and_no_pattern() -> None:
    draw, before, after = drawn_and_made(spec("noise"), count=4)
    for i, sd in enumerate(np.asarray(draw.noise_sd)):
        noise = (after - before)[i]
        assert noise.std() == pytest.approx(float(sd), rel=0.05)
        assert abs(noise.mean()) < 0.1 * sd
        assert abs(np.corrcoef(noise[:, :, 1:].ravel(), noise[:, :, :-1].ravel())[0, 1]) < 0.05
    assert abs(np.corrcoef((after - before)[0].ravel(), (after - before)[1].ravel())[0, 1]) < 0.08


@pytest.mark.parametrize("kind", ["gamma", "contrast", "brightness", "noise", "blur", "low_resolution", "bias_field"])
def test_a_patch_that_does_not_draw_a_transform_stays_as_it_is(kind: str) -> None:
    images, labels = batch(8)
    asked = spec(kind).model_copy(update={f"{kind}_probability": 0.5})
    image, _ = applied(Augment(asked, PATCH), 1, images, labels)
    unchanged = np.abs(image - images).max((1, 2, 3, 4)) < 2e-6
    assert 0 < unchanged.sum() < 8


@pytest.mark.parametrize("kind", ["blur", "low_resolution"])
def test_in_two_dimensions_slices_do_not_mix(kind: str) -> None:
    patch = (1, 16, 12)
    images, labels = batch(2, patch)
    augment = Augment(spec(kind), patch, dims=2)
    drawn = augment.draw(1, 2)
    flat, _ = augment.apply(drawn, ops.convert_to_tensor(images), ops.convert_to_tensor(labels))
    assert tuple(flat.shape) == (2, 16, 12, 2)
    assert np.abs(np.asarray(flat) - images[:, 0]).max() > 1e-2


def test_an_image_of_one_value_stays_finite() -> None:
    kinds = ("gamma", "contrast", "noise", "blur", "low_resolution", "bias_field")
    images, labels = np.full((1, *PATCH, 1), 3.0, np.float32), np.zeros((1, *PATCH), np.uint8)
    image, _ = applied(Augment(spec(*kinds), PATCH), 1, images, labels)
    assert np.isfinite(image).all()
    assert ceil(np.abs(image - 3).max()) == 1
