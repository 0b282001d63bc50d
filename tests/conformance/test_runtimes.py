"""What every runtime must do, the same for all of them."""

import os
import subprocess
import sys

import numpy as np
import pytest

import tiny_models
from segloop.infer import RUNTIMES, load_network, open_runtime
from segloop.infer.artefacts import export_artefact
from segloop.infer.runtimes.base import EDGE, SERVING
from segloop.volume import Geometry, Volume


@pytest.fixture(scope="module", params=[(3, 1), (2, 3)], ids=["3-D", "2-D colour"])
def bundle(request):
    return tiny_models.bundle(*request.param)


@pytest.fixture(scope="module", params=[*RUNTIMES, EDGE, SERVING])
def runtime(request, bundle, tmp_path_factory):
    if request.param != SERVING:
        yield open_runtime(bundle, request.param)
        return
    from serving_kit import TfServing

    base = tmp_path_factory.mktemp("served")
    export_artefact(bundle, base, "saved-model")
    server = TfServing(tiny=base)
    yield open_runtime(bundle, f"serving:{server.url}")
    server.stop()


@pytest.fixture(scope="module")
def reference(bundle):
    """The Keras network in float32."""
    network = load_network(bundle)
    return lambda batch: np.asarray(network([batch], training=False))


def _batch(bundle, count, *sizes):
    dims, channels = bundle.plan.network.dims, bundle.plan.network.channels
    noise = np.random.default_rng(0).normal(size=(count, *sizes[:dims], channels))
    return noise.astype(np.float32)


def test_it_says_what_it_is(runtime):
    assert runtime.name in {*RUNTIMES, EDGE, SERVING}
    assert runtime.precision in {"float32", "bfloat16"}


@pytest.mark.parametrize(("count", "sizes"), [(1, (16, 16, 16)), (3, (8, 24, 10)), (1, (8, 8, 8)), (2, (32, 8, 40))])
def test_logits_are_the_networks_for_any_size_and_batch(bundle, runtime, reference, count, sizes):
    batch = _batch(bundle, count, *sizes)
    got = runtime(batch)
    assert got.shape == (*batch.shape[:-1], 3)
    assert got.dtype == np.float32
    expected = reference(batch)
    # bfloat16 keeps 8 bits: relative errors of some tenths of a percent add up over the layers.
    tolerance = 0.1 if runtime.precision == "bfloat16" else 1e-2
    assert np.abs(got - expected).max() <= tolerance * max(1.0, float(np.abs(expected).max()))


def test_the_same_input_gives_the_same_bytes(bundle, runtime):
    batch = _batch(bundle, 1, 16, 16, 16)
    assert runtime(batch).tobytes() == runtime(batch).tobytes()


def test_an_answer_outlives_the_next_call(bundle, runtime):
    batch = _batch(bundle, 1, 16, 16, 16)
    first = runtime(batch)
    kept = first.copy()
    runtime(batch * 3)
    np.testing.assert_array_equal(first, kept)


def test_answers_are_writeable_and_inputs_stay(bundle, runtime):
    batch = _batch(bundle, 2, 8, 16, 16)
    before = batch.copy()
    runtime(batch)[...] = 0
    np.testing.assert_array_equal(batch, before)


def test_views_are_taken_as_they_look(bundle, runtime):
    batch = _batch(bundle, 2, 16, 16, 16)
    np.testing.assert_array_equal(runtime(batch[:, ::-1]), runtime(np.ascontiguousarray(batch[:, ::-1])))


def test_images_do_not_influence_each_other_within_a_batch(bundle, runtime):
    batch = _batch(bundle, 3, 16, 16, 16)
    together, alone = runtime(batch), runtime(batch[1:2])
    np.testing.assert_allclose(together[1], alone[0], atol=0.05 * np.abs(alone).max())


_WITHOUT_TENSORFLOW = """
import sys
from pathlib import Path
import numpy as np
from segloop.infer import Bundle, Segmenter
from segloop.infer.selftest import selftest
bundle = Bundle(Path(sys.argv[1]))
segmenter = Segmenter(bundle, "openvino")
print(selftest(bundle, segmenter.runtime).cases)
loaded = {"tensorflow", "keras", "jax", "torch"} & set(sys.modules)
assert not loaded, loaded
"""


def test_openvino_needs_no_tensorflow(bundle):
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_TENSORFLOW, str(bundle.path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "KERAS_BACKEND": "nonsense"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "1"


def test_runtimes_agree_on_labels(bundle):
    from segloop.infer import Segmenter

    shape = (1, 40, 40) if bundle.plan.network.dims == 2 else (20, 22, 18)
    array = tiny_models.image(shape, bundle.plan.network.channels)
    volume = Volume(array, Geometry(shape))
    one, other = (Segmenter(bundle, name)(volume).labels.array for name in RUNTIMES)
    assert (one != other).mean() < 0.03
