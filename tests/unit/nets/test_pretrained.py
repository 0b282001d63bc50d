"""Weights files in the formats that Keras offers, found where a person says they are, and put into an encoder."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from keras.src.applications import convnext, efficientnet_v2, resnet
from keras.src.legacy.saving import legacy_h5_format

from segloop.errors import InputError, ModelError
from segloop.nets import build_unet
from segloop.nets.imagenet import NAME
from segloop.nets.pretrained import OFFICIAL, EncoderWeights, OfficialFile, find_weights, load_encoder
from segloop.plan import imagenet_network

ENCODER = "efficientnetv2-b0"  # the smallest
FILE = OFFICIAL[ENCODER].name
SPEC = imagenet_network(ENCODER, channels=1, classes=2).model_copy(
    update={"features": (2, 2, 2, 2, 2, 1280), "convolutions": 1, "deep_supervision": 1}
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with one set of weights in both formats of Keras, and files that are none."""
    folder = tmp_path_factory.mktemp("weights")
    application = keras.applications.EfficientNetV2B0(include_top=False, weights=None, input_shape=(None, None, 3))
    draw = np.random.default_rng(0)
    for variable in application.weights:
        variable.assign(draw.uniform(0.5, 1.5, variable.shape))
    with h5py.File(folder / FILE, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, application)
    application.save_weights(folder / "mine.weights.h5")
    (folder / "broken.h5").write_bytes((folder / FILE).read_bytes()[:5000])
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    with h5py.File(folder / "other.h5", "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, other)
    yield folder
    for path in folder.iterdir():
        path.unlink()


@pytest.fixture(scope="module")
def mirror(files: Path) -> Iterator[str]:
    """The folder behind a web server on this machine."""
    handler = partial(_Quiet, directory=str(files))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return build_unet(SPEC, seed=3)


@pytest.mark.parametrize("name", [FILE, "mine.weights.h5"])
def test_both_formats_of_keras_give_the_same_encoder(files: Path, model: keras.Model, name: str) -> None:
    encoder = model.get_layer(NAME)
    for variable in encoder.weights:
        variable.assign(np.zeros(variable.shape, np.float32))
    load_encoder(model, ENCODER, find_weights(OFFICIAL[ENCODER], str(files / name)))
    application = keras.applications.EfficientNetV2B0(include_top=False, weights=None, input_shape=(None, None, 3))
    application.load_weights(files / name)
    layers = {layer.name.split("_", 1)[1]: layer for layer in encoder.layers if layer.weights}
    assert set(layers) == {layer.name for layer in application.layers if layer.weights}
    for layer in application.layers:
        theirs = {v.name: np.asarray(v) for v in layer.weights}
        ours = {v.name: np.asarray(v) for v in layers[layer.name].weights} if theirs else {}
        if isinstance(layer, keras.layers.BatchNormalization):
            np.testing.assert_allclose(ours.pop("deviation") ** 2, theirs.pop("moving_variance") + 1e-3, rtol=1e-5)
            np.testing.assert_array_equal(ours.pop("mean"), theirs.pop("moving_mean"))
        assert set(ours) == set(theirs)
        assert all(np.array_equal(ours[key], theirs[key]) for key in ours)


def test_the_rest_of_the_network_stays_as_it_was(files: Path, model: keras.Model) -> None:
    before = {v.path: np.array(v) for v in model.weights if not v.path.startswith("encoder")}
    load_encoder(model, ENCODER, find_weights(OFFICIAL[ENCODER], str(files / FILE)))
    assert all(np.array_equal(before[v.path], v) for v in model.weights if v.path in before)


def test_a_mirror_is_asked_for_the_official_name_and_its_file_kept(files: Path, mirror: str, tmp_path: Path) -> None:
    official = OfficialFile(FILE, "http://127.0.0.1:9/", _sha256(files / FILE))
    found = find_weights(official, mirror, tmp_path)
    assert found.path.read_bytes() == (files / FILE).read_bytes()
    assert found.digest == f"sha256:{official.digest}"
    assert found.imagenet
    # Once it is in the cache, nobody is asked.
    assert find_weights(official, "imagenet", tmp_path).path == found.path


def test_another_file_under_the_official_name_is_refused(mirror: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="another file") as caught:
        find_weights(OFFICIAL[ENCODER], mirror, tmp_path)
    assert caught.value.code == "weights.mismatch"
    assert caught.value.expected == OFFICIAL[ENCODER].digest


def test_a_file_of_ones_own_is_compared_with_the_digest_in_its_address(
    files: Path, mirror: str, tmp_path: Path
) -> None:
    right = _sha256(files / "mine.weights.h5")
    for address in ("mine.weights.h5", f"mine.weights.h5#sha256={right}"):
        found = find_weights(OFFICIAL[ENCODER], mirror + address, tmp_path)
        assert (found.digest, found.imagenet) == (f"sha256:{right}", False)
    with pytest.raises(ModelError, match="another file"):
        find_weights(OFFICIAL[ENCODER], f"{mirror}mine.weights.h5#sha256={'0' * 64}", tmp_path)


def test_without_a_network_the_error_says_which_file_to_put_where(tmp_path: Path) -> None:
    official = OfficialFile(FILE, "http://127.0.0.1:9/", "0" * 32)
    for source in ("imagenet", "http://127.0.0.1:9/"):
        with pytest.raises(ModelError) as caught:
            find_weights(official, source, tmp_path)
        assert caught.value.code == "weights.unavailable"
        for needed in (FILE, str(tmp_path / "models"), "0" * 32):
            assert needed in str(caught.value)


def test_a_file_that_is_not_there_or_no_weights_file_is_an_input_error(files: Path, model: keras.Model) -> None:
    with pytest.raises(InputError, match="no weights file"):
        find_weights(OFFICIAL[ENCODER], str(files / "absent.h5"))
    with pytest.raises(InputError, match="damaged"):
        load_encoder(model, ENCODER, find_weights(OFFICIAL[ENCODER], str(files / "broken.h5")))


def test_the_weights_of_another_network_are_refused(files: Path, model: keras.Model) -> None:
    with pytest.raises(ModelError) as caught:
        load_encoder(model, ENCODER, EncoderWeights(files / "other.h5", "", False))
    assert caught.value.code == "weights.mismatch"


def test_names_places_and_digests_are_those_of_keras() -> None:
    expected = {
        "resnet50": (resnet.BASE_WEIGHTS_PATH, resnet.WEIGHTS_HASHES["resnet50"][1]),
        "efficientnetv2-b0": (efficientnet_v2.BASE_WEIGHTS_PATH, efficientnet_v2.WEIGHTS_HASHES["b0"][1]),
        "efficientnetv2-s": (efficientnet_v2.BASE_WEIGHTS_PATH, efficientnet_v2.WEIGHTS_HASHES["-s"][1]),
        "convnext-tiny": (convnext.BASE_WEIGHTS_PATH, convnext.WEIGHTS_HASHES["convnext_tiny"][1]),
    }
    assert {name: (file.folder, file.digest) for name, file in OFFICIAL.items()} == expected
