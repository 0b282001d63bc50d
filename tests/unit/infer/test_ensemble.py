"""An ensemble is a bundle like any other, and what it says is the mean of what its members say."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny_models
from segloop.cli import main
from segloop.errors import InputError, ModelError
from segloop.infer import Bundle, Segmenter, export_ensemble, selftest
from segloop.infer.engine import segment
from segloop.infer.ensemble import together
from segloop.infer.members import given as members_of
from segloop.infer.runtimes import open_runtime
from segloop.plan import Provenance
from segloop.registry import Registry, Stage
from segloop.volume import Geometry, Volume

SHAPE = (20, 22, 18)


@pytest.fixture(scope="module")
def slices(tmp_path_factory):
    """A 2-D model on a grid of its own."""
    path = tmp_path_factory.mktemp("models") / "flat"
    return tiny_models.export(path, 2, 1, version="2.0", preparation__spacing_mm=[1.0, 1.2, 0.9])


@pytest.fixture(scope="module")
def both(bundle, slices, tmp_path_factory):
    """The 3-D model, three times as important, with the 2-D one."""
    return export_ensemble(tmp_path_factory.mktemp("models") / "both", [bundle, slices], (3, 1), version="1.1")


@pytest.fixture(scope="module")
def volume():
    return Volume(tiny_models.image(SHAPE), Geometry(SHAPE, (1.0, 0.8, 1.3), (1.0, 2.0, 3.0)), "MR")


def probabilities(bundle, volume):
    return Segmenter(bundle, "openvino")(volume, keep_probabilities=True).probabilities


def test_probabilities_are_the_weighted_mean_on_the_images_own_grid(both, bundle, slices, volume):
    segmenter = Segmenter(both, "openvino")
    got = segmenter(volume, keep_probabilities=True)
    expected = 0.75 * probabilities(bundle, volume) + 0.25 * probabilities(slices, volume)
    np.testing.assert_allclose(got.probabilities, expected, atol=1e-5)
    np.testing.assert_array_equal(got.labels.array, np.array([0, 1, 5])[got.probabilities.argmax(-1)])
    assert set(np.unique(got.labels.array)) == {0, 1, 5}
    assert (got.labels.array != Segmenter(bundle, "openvino")(volume).labels.array).any()
    assert got.labels.geometry == volume.geometry
    assert (got.runtime, set(got.seconds)) == ("openvino", {"prepare", "network", "restore", "post"})
    assert "openvino" in segmenter.choice


def test_an_ensemble_of_one_is_that_one(bundle, volume, tmp_path):
    alone = export_ensemble(tmp_path / "alone", [bundle])
    one, same = (Segmenter(b, "openvino")(volume, keep_probabilities=True) for b in (alone, bundle))
    np.testing.assert_array_equal(one.labels.array, same.labels.array)
    np.testing.assert_allclose(one.probabilities, same.probabilities, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(
    orientation=st.sampled_from(tiny_models.ORIENTATIONS),
    seed=st.integers(0, 10_000),
    spacings=st.tuples(st.sampled_from([0.8, 1.0, 1.5]), st.sampled_from([0.7, 1.0])),
)
def test_members_of_other_spacings_meet_in_the_same_place_of_the_patient(orientation, seed, spacings):
    geometry = tiny_models.oblique((24, 30, 32), (1.0, 1.0, 1.0), seed).transposed(*orientation)
    points = geometry.to_lps(np.moveaxis(np.indices(geometry.shape), 0, -1))
    middle = geometry.to_lps((np.asarray(geometry.shape, float) - 1) / 2)
    arm = (np.abs(points - middle - [3, 0, 0]) < [6, 2.5, 3.5]).all(axis=-1)
    ball = np.linalg.norm(points - middle - [6, -4, 2], axis=-1) < 3.5
    values = np.where(ball, 2.0, np.where(arm, 1.0, 0.0)).astype(np.float32)
    plans = [tiny_models.plan(preparation__spacing_mm=[s, s, s]) for s in spacings]
    runtime = members_of(plans, [tiny_models.Thresholds()] * 2, (1, 2))
    labels, _, _ = segment(plans[0], runtime, Volume(values, geometry))
    assert labels.geometry is geometry
    for value, inside in ((1, values == 1), (5, values == 2)):
        found = labels.array == value
        assert 2 * (found & inside).sum() / (found.sum() + inside.sum()) > 0.75


def test_the_ensembles_own_bias_and_clean_up_decide(bundle, slices, volume, tmp_path):
    plan = bundle.plan.changed(
        {"inference.logit_bias": [-50.0, 0.0], "post.steps": [{"label": 5, "largest_component": True}]}
    )
    biased = export_ensemble(tmp_path / "biased", [bundle, slices], plan=plan)
    got = Segmenter(biased, "openvino")(volume, keep_probabilities=True)
    assert set(np.unique(got.labels.array)) == {0, 5}
    expected = (probabilities(bundle, volume) + probabilities(slices, volume)) / 2
    np.testing.assert_allclose(got.probabilities, expected, atol=1e-5)


def test_it_passes_its_self_test_and_lives_in_the_registry(both, tmp_path):
    result = selftest(both, open_runtime(both, "tensorflow"))
    assert result.cases == 1
    registry = Registry(tmp_path)
    registry.add(both.path, by="tester", runtime="openvino")
    registry.promote("tiny", "1.1", Stage.production, by="tester", why="test")
    loaded = registry.load("tiny@production")
    assert loaded.digest == both.digest
    assert [(member.plan.network.dims, weight) for member, weight in loaded.members()] == [(3, 0.75), (2, 0.25)]


def test_every_byte_of_every_member_is_covered(both, tmp_path):
    copy = shutil.copytree(both.path, tmp_path / "copy")
    for name in ("members/1/weights/openvino.bin", "members/0/manifest.json", "members/1/plan.json"):
        content = bytearray((copy / name).read_bytes())
        content[len(content) // 2] ^= 1
        (copy / name).write_bytes(content)
        with pytest.raises(ModelError, match=name) as caught:
            Bundle(copy)
        assert caught.value.code == "bundle.corrupt"
        shutil.copyfile(both.path / name, copy / name)
    assert Bundle(copy).digest == both.digest


def test_the_provenance_names_every_image_that_any_member_was_trained_on():
    parts = [
        Provenance(
            dataset="d", training_images={"a": "1", "b": "2"}, training_voxels={"a": "7"}, steps=10, fold=0, seed=3
        ),
        Provenance(dataset="d", training_images={"b": "2", "c": "3"}, steps=20, fold=1, seed=3),
        Provenance(dataset="e", training_images={"a": "f" * 64}, training_voxels={"a": "8" * 64}, seed=3),
    ]
    found = together(parts)
    assert set(found.training_images.values()) == {"1", "2", "3", "f" * 64}
    assert found.training_images["a"] == "1"
    assert found.training_voxels == {"a": "7", f"a@{'8' * 12}": "8" * 64}
    assert (found.dataset, found.steps, found.fold, found.seed) == ("d, e", 30, None, 3)


def test_an_ensemble_of_ensembles_holds_their_members_with_their_shares(both, slices, tmp_path):
    assert main(["ensemble", str(both.path), str(slices.path), "-o", str(tmp_path / "more"), "--weights", "2,1"]) == 0
    more = Bundle(tmp_path / "more")
    assert [weight for _, weight in more.members()] == pytest.approx([0.5, 1 / 6, 1 / 3])
    assert more.manifest.version == "1.1"
    assert "3 models together" in more.card


def test_members_that_do_not_fit_and_weights_that_make_no_mean_are_refused(bundle, flat_bundle, tmp_path, capsys):
    with pytest.raises(InputError, match="channels") as caught:
        export_ensemble(tmp_path / "e", [bundle, flat_bundle])
    assert caught.value.code == "labels.mismatch"
    for weights in ((1, 2), (0,), (-1,)):
        with pytest.raises(InputError, match="positive weight"):
            export_ensemble(tmp_path / "e", [bundle], weights)
    assert main(["ensemble", str(bundle.path), "-o", str(tmp_path / "e"), "--weights", "much", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "usage"
    assert not list(tmp_path.iterdir())


def test_what_needs_one_network_says_so(both):
    with pytest.raises(ModelError) as caught:
        both.weights()
    assert caught.value.code == "bundle.ensemble"
    with pytest.raises(ModelError, match="whole images"):
        open_runtime(both, "openvino")(np.zeros((1, 16, 16, 16, 1), np.float32))
