from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny_models
from segloop.plan import Normalisation
from segloop.prep import Chain
from segloop.prep.values import body, normalise
from segloop.volume import Geometry, Volume

BODY = Normalisation(kind="body")


def head(air: int = 12, gain: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Grey tissue with bright fat and dark fluid in noisy air, and where the tissue is."""
    draw = np.random.default_rng(0)
    size = 20 + 2 * air
    inside = np.zeros((size,) * 3, bool)
    inside[air:-air, air:-air, air:-air] = True
    values = np.abs(draw.normal(0, 8, inside.shape))
    values[inside] = draw.normal(300, 40, int(inside.sum()))
    values[air + 5 : air + 8, air:-air, air:-air] = draw.normal(1000, 50, (3, 20, 20))
    values[air + 10 : air + 13, air:-air, air:-air] = draw.normal(150, 20, (3, 20, 20))
    return (values * gain).astype(np.float32), inside


def test_air_is_told_from_dark_tissue_even_where_fat_is_bright() -> None:
    values, inside = head()
    assert (body(values) == inside).mean() > 0.999


@pytest.mark.parametrize("air", [4, 12, 24])
def test_tissue_looks_the_same_however_much_air_is_around_it(air: int) -> None:
    values, inside = head(air)
    tissue = normalise(values, BODY)[inside]
    assert tissue.mean() == pytest.approx(0, abs=0.05)
    assert tissue.std() == pytest.approx(1, abs=0.05)
    whole = normalise(values, Normalisation())[inside]
    assert air == 4 or whole.mean() > 0.5


def test_the_unit_of_the_scanner_does_not_matter() -> None:
    np.testing.assert_allclose(normalise(head(gain=1e4)[0], BODY), normalise(head()[0], BODY), atol=1e-3)


@settings(max_examples=30, deadline=None)
@given(orientation=st.sampled_from(tiny_models.ORIENTATIONS), seed=st.integers(0, 1000))
def test_the_body_does_not_depend_on_how_the_image_is_stored(
    orientation: tuple[tuple[int, ...], tuple[bool, ...]], seed: int
) -> None:
    array = np.abs(tiny_models.image((9, 11, 7), seed=seed)) ** 3
    volume = Volume(array, Geometry((9, 11, 7)))
    turned = tiny_models.stored(volume, *orientation)
    np.testing.assert_array_equal(
        body(turned.array), tiny_models.stored(Volume(body(array), volume.geometry), *orientation).array
    )
    chain = Chain(tiny_models.plan(preparation__normalisation=[BODY.model_dump(mode="json")]))
    assert chain.prepare(turned).array.tobytes() == chain.prepare(volume).array.tobytes()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=2, max_size=50))
def test_a_body_is_some_but_not_all_of_an_image_that_is_not_constant(values: list[float]) -> None:
    array = np.asarray(values, np.float32)
    share = body(array).mean()
    # A range that float32 cannot divide into bins is no contrast.
    assert share == 1 if array.max() - array.min() < 1e-30 else 0 < share < 1
    assert np.isfinite(normalise(array, BODY)).all()


@pytest.mark.parametrize("value", [0, 7, -1e6])
@pytest.mark.parametrize("kind", ["zscore", "body"])
def test_a_constant_image_becomes_zeros(value: float, kind: str) -> None:
    assert not normalise(np.full((3, 4, 5), value, np.float32), Normalisation(kind=kind)).any()  # type: ignore[arg-type]


def test_uptake_below_zero_and_above_the_window_is_clipped_before_the_logarithm() -> None:
    rule = Normalisation(kind="log", window=(0, np.e**2 - 1), mean=1, sd=0.5)
    values = np.array([-3, 0, np.e - 1, np.e**2 - 1, 500], np.float32)
    np.testing.assert_allclose(normalise(values, rule), [-2, -2, 0, 2, 2], atol=1e-6)
    with pytest.raises(ValueError, match="begins at 0"):
        Normalisation(kind="log", window=(-1, 5))
