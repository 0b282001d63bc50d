"""The elastic field is the classic one: noise blurred by a Gaussian, as strong and as smooth."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops
from scipy.ndimage import gaussian_filter

import tiny_models
from augment_kit import spec
from segloop.data.augment import PRESETS, Augment, classic_elastic, with_preset

FIELDS = 48


def correlation_length(fields: np.ndarray) -> float:
    """Pixels along x after which the correlation of (n, y, x) fields has fallen to 1/e."""
    lags = range(fields.shape[2] // 2)
    whole = [float((fields[:, :, : fields.shape[2] - lag] * fields[:, :, lag:]).mean()) for lag in lags]
    falling = np.asarray(whole) / whole[0]
    after = int(np.argmax(falling < 1 / np.e))
    assert after > 0
    return after - (1 / np.e - falling[after]) / (falling[after - 1] - falling[after])


def ours(patch: tuple[int, int, int], spacing: tuple[float, float, float], elastic: tuple[float, float]) -> np.ndarray:
    """Displacements along x in pixels, (patches, y, x), of many draws."""
    asked = spec("elastic", elastic_mm=elastic[0], elastic_smoothness_mm=elastic[1])
    augment = Augment(asked, patch, spacing, dims=2 if patch[0] == 1 else 3)
    still = np.arange(patch[2], dtype=np.float32) - (patch[2] - 1) / 2
    drawn = augment.draw(5, FIELDS)
    return np.asarray(augment.coordinates(drawn, ops.zeros((FIELDS, 3)))[2])[:, patch[0] // 2] - still


def classic(side: int, alpha: float, sigma: float) -> np.ndarray:
    """Simard's displacement fields of a picture, in pixels."""
    draw = np.random.default_rng(2)
    margin = int(4 * sigma)
    noise = draw.uniform(-1, 1, (FIELDS, side + 2 * margin, side + 2 * margin))
    smooth = np.stack([gaussian_filter(one, sigma) for one in noise]) * alpha
    return smooth[:, margin:-margin, margin:-margin]


def test_the_preset_is_as_strong_and_as_smooth_as_blurred_noise() -> None:
    """At a quarter of 512 pixels the classic field is a quarter as wide and as strong: alpha / 16 and sigma / 4."""
    side = 128
    theirs = classic(side, 720 / 16, 24 / 4)
    found = ours((1, side, side), (1.0, 1.0, 1.0), classic_elastic((1.0, 1.0, 1.0), (1, side, side)))
    rms = np.sqrt((theirs**2).mean())
    assert rms == pytest.approx(720 / (2 * np.sqrt(3 * np.pi) * 24) / 4, rel=0.1)
    assert np.sqrt((found**2).mean()) == pytest.approx(rms, rel=0.15)
    assert correlation_length(found) == pytest.approx(correlation_length(theirs), rel=0.15)


def test_control_points_root_three_sigma_apart_are_a_gaussian_of_sigma() -> None:
    """In three dimensions and for any spacing: autocorrelation exp(-d²/4σ²), with its 1/e at 2σ."""
    sigma_mm = 6.0
    found = ours((24, 64, 64), (2.0, 1.5, 1.5), (3.0, np.sqrt(3) * sigma_mm))
    assert correlation_length(found) * 1.5 == pytest.approx(2 * sigma_mm, rel=0.15)


def test_strength_means_what_is_documented() -> None:
    """Over all draws a displacement along one axis has a deviation of about a tenth of the largest, in 3-D."""
    found = ours((24, 48, 48), (1.0, 1.0, 1.0), (10.0, 12.0))
    assert np.abs(found).max() <= 10.0
    assert np.sqrt((found**2).mean()) == pytest.approx(1.1, rel=0.15)


def test_the_classic_values_at_512_pixels_and_their_copies() -> None:
    whole = classic_elastic((1.0, 1.0, 1.0), (1, 512, 512))
    assert whole.elastic_smoothness_mm == pytest.approx(41.57, abs=0.01)
    assert whole.elastic_mm == pytest.approx(43.2, rel=0.02)
    half = classic_elastic((1.0, 1.0, 1.0), (1, 256, 256))
    finer = classic_elastic((1.0, 0.5, 0.5), (1, 512, 512))
    assert list(half) == pytest.approx(list(finer), rel=1e-3)
    assert np.asarray(half) * 2 == pytest.approx(np.asarray(whole), rel=0.02)


def test_presets_change_what_they_name_and_nothing_else() -> None:
    plan = tiny_models.plan(training__augmentation__mirror_axes=[2], inference__mirror_axes=[2])
    none = with_preset(plan, "none").training.augmentation
    assert none.mirror_axes == ()
    assert not any(value for name, value in none.model_dump().items() if name.endswith("_probability"))
    classic = with_preset(plan, "classic-elastic")
    expected = classic_elastic(plan.preparation.spacing_mm or (1.0, 1.0, 1.0), plan.training.patch)
    changed = classic.training.augmentation
    assert (changed.elastic_mm, changed.elastic_smoothness_mm) == expected
    assert changed.model_copy(update={"elastic_mm": 3.0, "elastic_smoothness_mm": 12.0}) == plan.training.augmentation
    assert PRESETS == ("none", "classic-elastic")
    with pytest.raises(ValueError, match="Received: 'x'"):
        with_preset(plan, "x")  # type: ignore[arg-type]
