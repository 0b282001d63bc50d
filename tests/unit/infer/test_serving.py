"""`--runtime serving:URL`: the labels of `segloop predict` from a server, and nothing from the wrong one."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import tiny_models
from his_kit import Web
from segloop.cli import main
from segloop.errors import InputError, ModelError, ServiceError
from segloop.infer import Bundle, Runtime, Segmenter, load_network, open_runtime
from segloop.infer.artefacts import export_artefact
from segloop.infer.runtimes.tensorflow import TensorFlow
from segloop.io import files
from segloop.volume import Volume
from serving_kit import TfServing


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return tiny_models.bundle(3, 1)


@pytest.fixture(scope="module")
def base(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model base path with one version."""
    folder = tmp_path_factory.mktemp("served")
    export_artefact(bundle, folder, "saved-model")
    return folder


@pytest.fixture
def served(base: Path) -> Iterator[TfServing]:
    server = TfServing(tiny=base)
    yield server
    server.stop()


def _float32(bundle: Bundle) -> Runtime:
    """The network here, in the arithmetic of the export."""
    return TensorFlow(load_network(bundle))


@pytest.fixture
def answering() -> Iterator[Callable[[int, bytes], Web]]:
    running: list[Web] = []

    def begin(status: int, body: bytes) -> Web:
        running.append(Web(lambda *_: (status, body)))
        return running[-1]

    yield begin
    for one in running:
        one.stop()


def test_predict_gives_the_labels_of_the_network_here(bundle, served, tmp_path, capsys):
    array = tiny_models.image((20, 26, 18))
    volume = Volume(array, tiny_models.oblique(array.shape, (1.3, 1.0, 0.7), 3))
    files.write(volume, tmp_path / "image.nii.gz")
    command = ["predict", str(bundle.path), str(tmp_path / "image.nii.gz"), "--probabilities", "--json"]
    assert main([*command, "-o", str(tmp_path / "there"), "--runtime", f"serving:{served.url}"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["cases"]
    assert (told["runtime"], told["precision"]) == ("serving", "float32")
    here = Segmenter(bundle, _float32(bundle))(volume, keep_probabilities=True)
    there = files.read(tmp_path / "there" / "image.nii.gz")
    np.testing.assert_array_equal(there.array, here.labels.array)
    assert len(np.unique(there.array)) == 3
    probabilities = files.read(tmp_path / "there" / "image_probabilities.nii.gz")
    np.testing.assert_allclose(probabilities.array, here.probabilities, atol=1e-5)
    # The server has seen prepared windows and nothing else.
    assert {path for path, _ in served.questions} == {"/v1/models/tiny:predict"}
    assert {key for _, question in served.questions for key in question["inputs"]} == {"windows", "shape"}


def test_the_self_test_of_a_bundle_runs_on_a_server(bundle, served, capsys):
    assert main(["models", "selftest", str(bundle.path), "--runtime", f"serving:{served.url}", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["selftests"][0]["runtime"] == "serving"


def test_a_name_in_chinese_is_sent_as_the_web_writes_it(bundle, answering):
    server = answering(200, _outputs(_scores((1, 2, 2, 2, 3)), bundle.digest))
    open_runtime(bundle, f"serving:{server.url}/v1/models/肝 脏/versions/2")
    open_runtime(bundle, f"serving:{server.url}/v1/models/a%20b/")
    paths = [path for path, _, _ in server.requests]
    assert paths == ["/v1/models/%E8%82%9D%20%E8%84%8F/versions/2:predict", "/v1/models/a%20b:predict"]


def test_names_and_versions_are_those_of_the_address(bundle, base):
    server = TfServing(liver=base)
    try:
        named = open_runtime(bundle, f"serving:{server.url}/v1/models/liver")
        assert named(np.zeros((2, 4, 4, 4, 1), np.float32)).shape == (2, 4, 4, 4, 3)
        open_runtime(bundle, f"serving:{server.url}/v1/models/liver/versions/1")
        with pytest.raises(ServiceError, match=r"Specific\(liver, 7\)") as caught:
            open_runtime(bundle, f"serving:{server.url}/v1/models/liver/versions/7")
        assert caught.value.code == "peer.refused"
        with pytest.raises(ServiceError, match="Servable not found"):
            open_runtime(bundle, f"serving:{server.url}")
    finally:
        server.stop()


def test_a_server_with_another_model_is_refused(served, tmp_path, capsys):
    other = tiny_models.export(tmp_path / "other", version="2.0")
    with pytest.raises(ModelError, match="another model") as caught:
        open_runtime(other, f"serving:{served.url}")
    assert caught.value.code == "model.mismatch"
    assert caught.value.expected == other.digest


def test_a_model_that_is_changed_between_two_windows_is_found_out(bundle, base, tmp_path):
    place = tmp_path / "served"
    export_artefact(bundle, place, "saved-model")
    server = TfServing(tiny=place)
    try:
        runtime = open_runtime(bundle, f"serving:{server.url}")
        runtime(np.zeros((1, 4, 4, 4, 1), np.float32))
        export_artefact(tiny_models.export(tmp_path / "other", version="2.0"), place, "saved-model")
        with pytest.raises(ModelError, match="another model"):
            runtime(np.zeros((1, 4, 4, 4, 1), np.float32))
    finally:
        server.stop()


def test_no_server_is_said(bundle):
    with pytest.raises(ServiceError) as caught:
        open_runtime(bundle, "serving:http://127.0.0.1:9")
    assert caught.value.code == "peer.unavailable"


def _scores(shape: tuple[int, ...], dtype: str = "float32") -> bytes:
    return tf.io.serialize_tensor(tf.zeros(shape, dtype)).numpy()


def _outputs(scores: bytes, digest: str) -> bytes:
    encoded = {"b64": base64.b64encode(scores).decode()}
    return json.dumps({"outputs": {"logits_bytes": encoded, "digest": digest}}).encode()


GARBLED = {
    "no JSON": b"<html>",
    "another form": b'{"outputs": [1, 2]}',
    "row format": b'{"predictions": []}',
    "no base64": b'{"outputs": {"logits_bytes": {"b64": "***"}, "digest": "sha256:0"}}',
    "another shape": (2, 2, 2, 2, 3),
    "another type": "float64",
    "axes exchanged": (3, 2, 2, 2, 1),
    "cut short": -1,
}


@pytest.mark.parametrize("kind", GARBLED)
def test_an_answer_to_something_else_is_refused(kind, bundle, answering):
    given = GARBLED[kind]
    if isinstance(given, tuple):
        given = _outputs(_scores(given), bundle.digest)
    elif isinstance(given, str):
        given = _outputs(_scores((1, 2, 2, 2, 3), given), bundle.digest)
    elif isinstance(given, int):
        given = _outputs(_scores((1, 2, 2, 2, 3))[:given], bundle.digest)
    with pytest.raises(ServiceError) as caught:
        open_runtime(bundle, f"serving:{answering(200, given).url}")
    assert caught.value.code == "peer.garbled"


def test_the_right_answer_is_taken(bundle, answering):
    """What the garbled ones differ from."""
    open_runtime(bundle, f"serving:{answering(200, _outputs(_scores((1, 2, 2, 2, 3)), bundle.digest)).url}")


@pytest.mark.parametrize(
    ("status", "code"),
    [(302, "peer.refused"), (400, "peer.refused"), (429, "peer.unavailable"), (503, "peer.unavailable")],
)
def test_a_server_that_says_no(status, code, bundle, answering):
    server = answering(status, b'{"error": "Serving signature name: \\"windows\\" not found in signature def"}')
    with pytest.raises(ServiceError, match="not found in signature def") as caught:
        open_runtime(bundle, f"serving:{server.url}")
    assert caught.value.code == code
    assert len(server.requests) == 1  # nothing is followed elsewhere


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8501",
        "ftp://localhost/v1/models/a",
        "http://localhost:8501/v1/models",
        "http://localhost:8501/v1/models/a:predict/x",
        "http://localhost:8501/v1/models/a/versions/new",
        "http://localhost:8501/v2/models/a",
        "http://me:secret@localhost:8501",
        "http://localhost:8501?x=1",
        "http://localhost:port",
        "http://[::1",
        "http://localhost:8501/v1/models/a/versions/１",
        "http://localhost:8501/v1/models/a\nb",
        "http://医院:8501",
        "",
    ],
)
def test_addresses_that_are_none(url, bundle):
    with pytest.raises(InputError, match="no address of TensorFlow Serving") as caught:
        open_runtime(bundle, f"serving:{url}")
    assert caught.value.code == "usage"


def test_images_do_not_leave_the_machine_unencrypted(bundle):
    with pytest.raises(InputError, match="unencrypted"):
        open_runtime(bundle, "serving:http://192.0.2.1:8501")


def test_several_networks_are_not_asked_of_one_export(bundle, tmp_path):
    from segloop.infer.ensemble import export_ensemble

    both = export_ensemble(tmp_path / "both", [bundle, bundle])
    for ask in (open_runtime, Segmenter):
        with pytest.raises(ModelError, match="several networks") as caught:
            ask(both, "serving:http://127.0.0.1:9")
        assert caught.value.code == "runtime.unavailable"


def test_what_a_server_repeats_of_the_image_is_not_said_again(bundle, answering):
    server = answering(400, json.dumps({"error": "Bad \x1b[31minput. JSON Value: [0.25, 0.5] is no"}).encode())
    with pytest.raises(ServiceError) as caught:
        open_runtime(bundle, f"serving:{server.url}")
    assert "Bad [31minput." in caught.value.message
    assert "0.25" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_a_runtime_that_there_is_not(bundle, capsys):
    assert main(["predict", str(bundle.path), "x", "-o", "out", "--runtime", "onnx"]) == 2
    assert "serving:URL" in capsys.readouterr().err
