import hashlib
import json
import shutil
import sys

import numpy as np
import pytest

import tiny_models
from segloop.errors import InputError, ModelError
from segloop.infer import Bundle, export_bundle, load_network, selftest
from segloop.infer.bundle import RESEARCH_USE
from segloop.infer.runtimes import open_runtime
from segloop.infer.selftest import LOWEST_DICE
from segloop.plan import Provenance
from segloop.volume import Geometry, Labels, Volume


@pytest.fixture
def copy(bundle, tmp_path):
    """A bundle folder to damage."""
    return shutil.copytree(bundle.path, tmp_path / "tiny")


def _files(folder):
    return sorted(f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file())


def test_a_bundle_holds_what_the_interfaces_promise(bundle):
    assert _files(bundle.path) == [
        "card.md",
        "manifest.json",
        "plan.json",
        "selftest/case0-image.nii.gz",
        "selftest/case0-labels.nii.gz",
        "weights/openvino.bin",
        "weights/openvino.xml",
        "weights/weights.npz",
    ]
    manifest = bundle.manifest
    assert (manifest.name, manifest.version, manifest.intended_use) == ("tiny", "1.0", RESEARCH_USE)
    assert manifest.labels == bundle.plan.labels
    assert manifest.provenance.training_images == {"a": "0" * 64}
    assert manifest.metrics == {"mean_dice": 0.5}
    assert bundle.card == "# Tiny\n"
    content = (bundle.path / "manifest.json").read_bytes()
    assert bundle.digest == "sha256:" + hashlib.sha256(content).hexdigest()
    assert bundle.size_bytes < 2**20


@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_a_flipped_bit_in_any_file_is_found_and_named(bundle, copy, place):
    for name in _files(bundle.path):
        content = bytearray((copy / name).read_bytes())
        position = {"first": 0, "middle": len(content) // 2, "last": len(content) - 1}[place]
        content[position] ^= 1
        (copy / name).write_bytes(content)
        # A changed letter can leave the manifest valid; its digest, which the registry keeps, is then another.
        if name == "manifest.json":
            assert _digest(copy) != bundle.digest
        else:
            with pytest.raises(ModelError) as caught:
                Bundle(copy)
            assert caught.value.code == "bundle.corrupt"
            assert name in caught.value.message
        (copy / name).write_bytes((bundle.path / name).read_bytes())
    assert Bundle(copy).digest == bundle.digest


def _digest(folder):
    try:
        return Bundle(folder).digest
    except ModelError as fault:
        return fault.code


def test_missing_and_additional_files_are_named(bundle, copy):
    for name in _files(bundle.path):
        (copy / name).rename(copy.parent / "aside")
        with pytest.raises(ModelError) as caught:
            Bundle(copy)
        assert caught.value.code == "bundle.corrupt"
        assert name in caught.value.message
        (copy.parent / "aside").rename(copy / name)
    opened = Bundle(copy)
    (copy / "weights" / "more.bin").write_bytes(b"x")
    for act in (opened.check, lambda: Bundle(copy)):
        with pytest.raises(ModelError, match=r"weights/more\.bin"):
            act()


def test_a_link_instead_of_a_file_is_refused(bundle, copy):
    (copy / "card.md").unlink()
    (copy / "card.md").symlink_to(bundle.path / "card.md")
    with pytest.raises(ModelError, match=r"card\.md is a link"):
        Bundle(copy)


@pytest.mark.parametrize("name", ["../card.md", "/etc/hostname", "manifest.json", "a\\b"])
def test_a_manifest_cannot_list_files_elsewhere(copy, name):
    document = json.loads((copy / "manifest.json").read_text())
    document["files"][name] = "0" * 64
    (copy / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(ModelError) as caught:
        Bundle(copy)
    assert caught.value.found["file"] == "manifest.json"


def test_a_plan_that_is_not_the_manifests_is_refused(copy):
    plan = tiny_models.plan().changed({"labels.0.name": "other"})
    (copy / "plan.json").write_text(plan.to_json())
    document = json.loads((copy / "manifest.json").read_text())
    document["files"]["plan.json"] = hashlib.sha256(plan.to_json().encode()).hexdigest()
    (copy / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(ModelError, match=r"plan\.json"):
        Bundle(copy)


def test_a_folder_that_is_not_there_is_an_unknown_model(tmp_path):
    with pytest.raises(ModelError) as caught:
        Bundle(tmp_path / "none")
    assert caught.value.code == "model.unknown"


def test_exporting_and_running_report_to_nobody(bundle):
    """OpenVINO sends statistics over the network as soon as it is imported, unless its converter is kept out."""
    assert open_runtime(bundle, "openvino").name == "openvino"
    assert "openvino" in sys.modules
    assert "openvino_telemetry" not in sys.modules


def test_weights_are_half_precision_and_come_back_into_the_network(bundle):
    with np.load(bundle.path / "weights/weights.npz", allow_pickle=False) as archive:
        assert {archive[name].dtype for name in archive.files} == {np.dtype(np.float16)}
    trained = {v.path: np.asarray(v.numpy()) for v in tiny_models.network().weights}
    loaded = load_network(bundle)
    assert {v.path for v in loaded.weights} <= set(trained)
    for variable in loaded.weights:
        np.testing.assert_array_equal(variable.numpy(), trained[variable.path].astype(np.float16).astype(np.float32))


def test_weights_that_float16_cannot_hold_are_not_exported(tmp_path):
    from segloop.nets import build_unet

    network = build_unet(tiny_models.plan().network, seed=1)
    network.weights[0].assign(np.full(network.weights[0].shape, 1e6))
    with pytest.raises(ModelError, match="float16"):
        _export(tmp_path / "b", network)
    assert list(tmp_path.iterdir()) == []


def test_a_network_of_another_plan_is_not_exported(tmp_path):
    from segloop.nets import build_unet

    deeper = tiny_models.plan().network.model_copy(update={"convolutions": 2})
    other = tiny_models.plan().model_copy(update={"network": deeper})
    with pytest.raises(ModelError) as caught:
        export_bundle(
            tmp_path / "b",
            other,
            build_unet(tiny_models.plan().network),
            provenance=Provenance(),
            card="",
            version="1",
            selftest=[],
        )
    assert caught.value.code == "bundle.corrupt"


def test_what_is_no_bundle_is_never_replaced(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError) as caught:
        _export(tmp_path / "b", tiny_models.network())
    assert caught.value.code == "usage"
    assert (tmp_path / "b" / "thesis.txt").exists()


def test_a_bundle_replaces_an_older_one_and_too_large_ones_are_refused(tmp_path, bundle):
    place = shutil.copytree(bundle.path, tmp_path / "b")
    newer = _export(place, tiny_models.network())
    assert newer.manifest.version == "2"
    assert [p.name for p in tmp_path.iterdir()] == ["b"]
    with pytest.raises(ModelError) as caught:
        _export(place, tiny_models.network(), max_bytes=1000)
    assert caught.value.code == "bundle.too_large"
    assert Bundle(place).digest == newer.digest


def _export(path, network, **options):
    array = tiny_models.image((16, 16, 16))
    case = Volume(array, Geometry((16, 16, 16)))
    labels = Labels((array > 1).astype(np.uint8), Geometry((16, 16, 16)), {1: "one"})
    return export_bundle(
        path,
        tiny_models.plan(),
        network,
        provenance=Provenance(),
        card="",
        version="2",
        selftest=[(case, labels)],
        **options,
    )


def test_selftest_passes_here_and_says_how_well(bundle):
    result = selftest(bundle, open_runtime(bundle, "tensorflow"))
    assert result.cases == 1
    assert result.lowest_dice >= LOWEST_DICE


def test_selftest_of_another_networks_answers_fails(bundle):
    with pytest.raises(ModelError) as caught:
        selftest(bundle, tiny_models.Thresholds())
    assert caught.value.code == "bundle.selftest"
    assert caught.value.found < LOWEST_DICE


def test_colour_selftest_cases_come_back_without_loss(flat_bundle):
    (image, labels), *_ = flat_bundle.selftest_cases()
    assert image.array.shape == (1, 24, 20, 3)
    assert image.array.dtype == np.uint8
    assert labels.array.any()
    selftest(flat_bundle, open_runtime(flat_bundle, "openvino"))
