"""What every network must do, whatever its blocks, gates and encoder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import tiny_models
from segloop.infer import export_bundle, load_network, open_runtime
from segloop.nets import build_unet, deploy
from segloop.nets.encoders import stage_of
from segloop.nets.imagenet import NAME, application_of, copy_weights
from segloop.plan import Encoder, NetworkSpec, Plan, Provenance, imagenet_network, with_network
from segloop.train.transfer import transfer
from segloop.volume import Geometry, Volume

CLASSES = 3


def _small(dims: int, **changes: object) -> NetworkSpec:
    """Three stages; in 3-D the first pooling leaves z alone."""
    first = (1, 2, 2)
    settings = {
        "dims": dims,
        "classes": CLASSES,
        "features": (4, 6, 8),
        "kernels": ((1, 3, 3), *(((3, 3, 3) if dims == 3 else (1, 3, 3)),) * 2),
        "strides": ((1, 1, 1), first, (2, 2, 2) if dims == 3 else first),
        "deep_supervision": 2,
    }
    return NetworkSpec.model_validate({**settings, **changes})


def _imagenet(encoder: Encoder, channels: int) -> NetworkSpec:
    """With a thin decoder: the encoder is large enough."""
    spec = imagenet_network(encoder, channels=channels, classes=CLASSES)
    return spec.model_copy(update={"features": (4, 4, 8, 8, 8, spec.features[-1]), "convolutions": 1})


SMALL = {
    f"{name}-{dims}d": _small(dims, **changes)
    for dims in (2, 3)
    for name, changes in {
        "plain": {},
        "residual": {"block": "residual", "blocks": (1, 2, 1)},
        "attention": {"attention": True, "channels": 3},
        "residual-attention": {"block": "residual", "attention": True},
    }.items()
}
ENCODERS = {
    "resnet50": _imagenet("resnet50", 3),
    "efficientnetv2-b0": _imagenet("efficientnetv2-b0", 1),
    "efficientnetv2-s": _imagenet("efficientnetv2-s", 3),
    "convnext-tiny": _imagenet("convnext-tiny", 1).model_copy(update={"attention": True}),
}
KINDS = SMALL | ENCODERS
_MEAN, _DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
_NORMALISED = {"efficientnetv2-b0", "convnext-tiny"}
# Shares its code paths with the smaller one.
_LONG = {"efficientnetv2-s"}
_TRAINED = [*SMALL, pytest.param("efficientnetv2-b0", marks=pytest.mark.long)]
_EXPORTED = [*SMALL, *(pytest.param(name, marks=pytest.mark.long) for name in ENCODERS)]


@pytest.fixture(
    scope="module", params=[pytest.param(n, marks=pytest.mark.long) if n in _LONG else n for n in KINDS], ids=str
)
def kind(request: pytest.FixtureRequest) -> tuple[NetworkSpec, keras.Model]:
    """One build of each network, of which the tests change nothing."""
    spec = KINDS[request.param]
    return spec, build_unet(spec, seed=5)


def _size(spec: NetworkSpec) -> tuple[int, ...]:
    """Three, five and three times the divisor: odd multiples, no two axes alike."""
    factors = (3, 5, 3) if spec.encoder is None else (1, 1, 3)
    return tuple(d * f for d, f in zip(spec.divisor, factors, strict=True))[3 - spec.dims :]


def _image(spec: NetworkSpec, size: tuple[int, ...] | None = None) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2, *(size or _size(spec)), spec.channels)).astype(np.float32)


def test_outputs_are_logits_at_each_supervised_resolution(kind: tuple[NetworkSpec, keras.Model]) -> None:
    spec, model = kind
    size = _size(spec)
    outputs = model(_image(spec))
    assert len(outputs) == spec.deep_supervision
    for stage, output in enumerate(outputs):
        passed = [np.prod([s[axis] for s in spec.strides[: stage + 1]]) for axis in range(3)][3 - spec.dims :]
        assert tuple(output.shape) == (2, *(n // p for n, p in zip(size, passed, strict=True)), CLASSES)
        assert keras.backend.standardize_dtype(output.dtype) == "float32"
        assert np.isfinite(np.asarray(output)).all()


def test_a_deployed_network_gives_the_full_resolution_alone(kind: tuple[NetworkSpec, keras.Model]) -> None:
    spec, model = kind
    used, image = deploy(model), _image(spec)
    np.testing.assert_array_equal(np.asarray(used(image)), np.asarray(model(image)[0]))
    assert {v.path for v in used.weights} < {v.path for v in model.weights}


def test_an_image_does_not_depend_on_its_neighbour_in_the_batch(kind: tuple[NetworkSpec, keras.Model]) -> None:
    spec, model = kind
    image = _image(spec)
    together, alone = np.asarray(model(image)[0]), np.asarray(model(image[1:])[0])
    np.testing.assert_allclose(together[1:], alone, atol=1e-3 * np.abs(alone).max())


def test_gradients_reach_every_trainable_variable(kind: tuple[NetworkSpec, keras.Model]) -> None:
    spec, model = kind
    with tf.GradientTape() as tape:
        outputs = model(_image(spec))
        loss = sum(tf.reduce_mean(tf.square(output - 1.0)) for output in outputs)
    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
    without = [
        v.path
        for v, g in zip(model.trainable_variables, gradients, strict=True)
        if g is None or not np.any(np.asarray(g))
    ]
    assert not without


def test_paths_are_unique_and_tell_the_stage_of_the_way_down(kind: tuple[NetworkSpec, keras.Model]) -> None:
    spec, model = kind
    paths = [v.path for v in model.weights]
    assert len(set(paths)) == len(paths)
    stages = {stage_of(path, spec) for path in paths} - {None}
    first = {None: 0, "convnext-tiny": 2}.get(spec.encoder, 1)
    assert stages == set(range(first, len(spec.features)))


@pytest.mark.parametrize("name", [*SMALL, "efficientnetv2-b0"])
def test_weights_depend_on_the_seed_and_paths_on_the_spec_alone(name: str) -> None:
    spec = KINDS[name]
    one, same, other = (
        build_unet(spec, seed=s, dtype=d) for s, d in ((5, "float32"), (5, "mixed_bfloat16"), (6, None))
    )
    assert [v.path for v in one.weights] == [v.path for v in same.weights] == [v.path for v in other.weights]
    assert all(np.array_equal(a, b) for a, b in zip(one.get_weights(), same.get_weights(), strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one.get_weights(), other.get_weights(), strict=True))
    assert keras.backend.standardize_dtype(same(_image(spec))[0].dtype) == "float32"


@pytest.mark.parametrize("name", _TRAINED)
def test_training_steps_lower_the_loss(name: str) -> None:
    spec = KINDS[name]
    model = deploy(build_unet(spec, seed=1))
    image = _image(spec)
    labels = (image[..., 0] > 0).astype(np.uint8)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(1e-3), loss=loss, jit_compile=False)
    losses = [float(model.train_on_batch(image, labels)) for _ in range(3)]
    assert losses[2] < losses[1] < losses[0]


@pytest.mark.parametrize("name", _EXPORTED)
def test_a_bundle_keeps_the_network_and_both_runtimes_agree_on_it(name: str, tmp_path: Path) -> None:
    spec = KINDS[name]
    plan: Plan = with_network(tiny_models.plan(spec.dims, spec.channels), spec, "under test")
    model = build_unet(spec, seed=2)
    shape = (1, *_size(spec)) if spec.dims == 2 else _size(spec)
    values = tiny_models.image((shape[0], shape[1], shape[2]), spec.channels)
    case = Volume(values, Geometry((shape[0], shape[1], shape[2])))
    bundle = export_bundle(
        tmp_path / "b", plan, model, provenance=Provenance(), card="# x\n", version="1", selftest=[case]
    )
    network = load_network(bundle)
    for variable in network.weights:
        half = np.float16(np.asarray({v.path: v for v in model.weights}[variable.path]))
        np.testing.assert_array_equal(np.asarray(variable), half.astype(np.float32))
    started = build_unet(spec, seed=9)
    report = transfer(started, plan, bundle)
    assert {e.path for e in report.entries if e.outcome == "taken"} == {v.path for v in network.weights}
    image = _image(spec)
    expected = np.asarray(network(image))
    np.testing.assert_array_equal(np.asarray(started(image)[0]), expected)
    for runtime in ("tensorflow", "openvino"):
        opened = open_runtime(bundle, runtime)
        tolerance = 0.1 if opened.precision == "bfloat16" else 1e-2
        assert np.abs(opened(image) - expected).max() <= tolerance * np.abs(expected).max(), runtime


@pytest.fixture
def double() -> Iterator[None]:
    """Double precision, in which rounding does not grow to anything on its way through a hundred drawn layers."""
    before = keras.config.dtype_policy()
    application_of.cache_clear()
    keras.config.set_dtype_policy("float64")
    keras.config.set_floatx("float64")  # of what a network is given
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy(before)
    application_of.cache_clear()


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.long) if n in _LONG else n for n in ENCODERS])
def test_an_encoder_computes_what_the_application_computes(name: Encoder) -> None:
    given = np.random.default_rng(1).normal(size=(2, 96, 64, 3))
    application = application_of(name)
    # The application's own scaling of pixels, which the U-Net does before its encoder.
    pixels = {"efficientnetv2-s": 128 * (given + 1), "resnet50": given}.get(name, 255 * (_MEAN + _DEVIATION * given))
    _liven(application, pixels)
    if name in _NORMALISED:
        # Keras rounds these layers' mean and variance to single precision; what follows must not pay for it.
        # Found by its kind: where a layer has no name of its own, Keras counts those of the whole process.
        scaling = next(layer for layer in application.layers if isinstance(layer, keras.layers.Normalization))
        scaled = keras.Model(application.input, scaling.output)(pixels)
        np.testing.assert_allclose(np.asarray(scaled), given, rtol=0, atol=1e-6)
        given = np.asarray(scaled)
    encoder = build_unet(_imagenet(name, 3), seed=1, dtype="float64").get_layer(NAME)
    copy_weights(application, encoder, name)
    stages = encoder(given)
    expected = np.asarray(application(pixels, training=False))
    size = np.abs(expected).max()
    assert 1 < size < 1e6
    # Forty blocks with drawn weights let even this rounding grow.
    tolerance = 1e-6 if name == "efficientnetv2-s" else 1e-9
    np.testing.assert_allclose(np.asarray(stages[-1]), expected, rtol=0, atol=tolerance * size)
    assert [t.shape[1:3] for t in stages] == [(96 // d, 64 // d) for d in (2, 4, 8, 16, 32)[-len(stages) :]]


def _liven(application: keras.Model, given: np.ndarray) -> None:
    """Statistics as a trained network has them, and scales and shifts none of which is neutral.

    With statistics of another origin values grow from layer to layer, and rounding with them.
    """
    for layer in application.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    application(given, training=True)
    draw = np.random.default_rng(2)
    for layer in application.layers:
        for variable in layer.trainable_variables:
            if len(variable.shape) == 1:
                variable.assign(np.asarray(variable) + draw.uniform(-0.1, 0.1, variable.shape))
