import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny_models
from segloop.errors import InputError, PlanError
from segloop.infer import Segmenter
from segloop.infer.engine import EMPTY, run_network, segment
from segloop.volume import Geometry, Reorientation, Volume

SHAPE = (20, 22, 18)


def _planted(geometry):
    """An asymmetric pattern that is a function of patient position only: 1 in a long arm, 2 in a ball at one end."""
    points = geometry.to_lps(np.moveaxis(np.indices(geometry.shape), 0, -1))
    offset = points - geometry.to_lps((np.asarray(geometry.shape, float) - 1) / 2)
    arm = (np.abs(offset - [3, 0, 0]) < [6, 2, 3]).all(axis=-1)
    ball = np.linalg.norm(offset - [6, -4, 2], axis=-1) < 3.2
    return np.where(ball, 2.0, np.where(arm, 1.0, 0.0)).astype(np.float32)


def _expected(array):
    return np.array([0, 1, 5], np.uint8)[array.astype(int)]


@pytest.mark.parametrize(("permutation", "flips"), tiny_models.ORIENTATIONS)
def test_what_is_seen_in_the_patient_is_marked_there_however_it_is_stored(permutation, flips):
    geometry = Geometry(SHAPE, (1.0, 1.0, 1.0), (5.0, -7.0, 30.0)).transposed(permutation, flips)
    volume = Volume(_planted(geometry), geometry)
    labels, _, _ = segment(tiny_models.plan(), tiny_models.Thresholds(), volume)
    assert labels.geometry is geometry
    np.testing.assert_array_equal(labels.array, _expected(volume.array))


@settings(max_examples=40, deadline=None)
@given(
    orientation=st.sampled_from(tiny_models.ORIENTATIONS),
    seed=st.integers(0, 100_000),
    spacing=st.sampled_from(((1.0, 1.0, 1.0), (1.0, 0.8, 0.7), (2.0, 1.0, 1.0))),
)
def test_the_same_holds_for_oblique_images_and_other_spacings(orientation, seed, spacing):
    geometry = tiny_models.oblique((24, 30, 32), spacing, seed).transposed(*orientation)
    volume = Volume(_planted(geometry), geometry)
    labels, _, _ = segment(tiny_models.plan(), tiny_models.Thresholds(), volume)
    expected = _expected(volume.array)
    for value in (1, 5):
        one, other = labels.array == value, expected == value
        assert 2 * (one & other).sum() / (one.sum() + other.sum()) > (0.999 if spacing == (1, 1, 1) else 0.75)


@pytest.fixture(scope="module")
def segmenter(bundle):
    return Segmenter(bundle, "openvino")


@pytest.fixture(scope="module")
def volume():
    return Volume(tiny_models.image(SHAPE), Geometry(SHAPE, (1.0, 0.8, 1.3), (1.0, 2.0, 3.0)), "MR")


class TestRealNetwork:
    """Convolutions with random weights answer differently to a turned or mirrored image, so they notice a lost turn."""

    @pytest.mark.parametrize(("permutation", "flips"), tiny_models.ORIENTATIONS)
    def test_the_48_ways_to_store_one_patient_give_one_answer(self, segmenter, volume, permutation, flips):
        expected = segmenter(volume).labels.array
        turned = tiny_models.stored(volume, permutation, flips)
        got = segmenter(turned).labels
        assert got.geometry == turned.geometry
        np.testing.assert_array_equal(got.reoriented(volume.geometry.axis_codes).array, expected)

    def test_without_the_turn_the_answers_differ(self, segmenter, volume, monkeypatch):
        """The test above would catch an engine that feeds arrays as they are stored."""
        expected = segmenter(volume).labels.array
        stay = Reorientation((0, 1, 2), (False, False, False))
        monkeypatch.setattr(Reorientation, "between", classmethod(lambda cls, geometry, codes: stay))
        mirrored = tiny_models.stored(volume, (0, 1, 2), (False, False, True))
        got = segmenter(mirrored).labels.array[:, :, ::-1]
        assert (got != expected).mean() > 0.01

    def test_a_prediction_says_how_it_came_about(self, segmenter, volume, bundle):
        prediction = segmenter(volume, keep_probabilities=True)
        assert set(prediction.seconds) == {"prepare", "network", "restore", "post"}
        assert min(prediction.seconds.values()) >= 0
        assert (prediction.runtime, prediction.precision) == ("openvino", segmenter.runtime.precision)
        assert prediction.provenance == bundle.manifest.provenance
        assert dict(prediction.labels.names) == {1: "one", 5: "five"}
        assert prediction.labels.array.dtype == np.uint8
        assert prediction.labels.array.flags.c_contiguous
        assert prediction.probabilities.dtype == np.float32
        most = np.array([0, 1, 5])[prediction.probabilities.argmax(-1)]
        np.testing.assert_array_equal(most, prediction.labels.array)
        assert set(np.unique(prediction.labels.array)) == {0, 1, 5}

    def test_an_image_of_another_modality_is_refused(self, segmenter, volume):
        with pytest.raises(InputError) as caught:
            segmenter(Volume(volume.array, volume.geometry, "CT"))
        assert caught.value.code == "input.not_applicable"

    def test_windows_agree_with_the_whole_image_in_the_inside_of_windows(self, bundle, segmenter):
        array = tiny_models.image((32, 32, 32))[..., None]
        plan = bundle.plan
        whole = run_network(plan, segmenter.runtime, array)
        tiled = run_network(plan.changed({"inference.mode": "window"}), segmenter.runtime, array)
        # Instance normalisation sees each window by itself, so agreement is close and not exact.
        assert np.corrcoef(whole.ravel(), tiled.ravel())[0, 1] > 0.9


def test_windows_of_a_pointwise_function_give_that_function():
    plan = tiny_models.plan(inference__mode="window", inference__overlap=0.6)
    array = tiny_models.image((37, 16, 21))[..., None]
    runtime = tiny_models.Thresholds()
    got = run_network(plan, runtime, array)
    assert set(runtime.shapes) == {(1, 16, 16, 16, 1)}
    assert len(runtime.shapes) > 4
    np.testing.assert_allclose(got, tiny_models.Thresholds()(array), atol=1e-2, rtol=1e-4)


@pytest.mark.parametrize(("axes", "runs"), [([], 1), ([2], 2), ([0, 2], 4), ([0, 1, 2], 8)])
def test_mirroring_averages_over_every_combination_of_axes(axes, runs):
    plan = tiny_models.plan(training__augmentation__mirror_axes=axes, inference__mirror_axes=axes)
    runtime = tiny_models.Thresholds()
    array = tiny_models.image((17, 20, 15))[..., None]
    got = run_network(plan, runtime, array)
    assert len(runtime.shapes) == runs
    np.testing.assert_allclose(got, tiny_models.Thresholds()(array), rtol=1e-5, atol=1e-4)


def test_a_mirrored_image_gives_the_mirrored_answer_when_mirroring_is_asked_for(segmenter):
    plan = tiny_models.plan(training__augmentation__mirror_axes=[2], inference__mirror_axes=[2])
    array = tiny_models.image((16, 16, 16))[..., None]
    got = run_network(plan, segmenter.runtime, array)
    turned = run_network(plan, segmenter.runtime, np.ascontiguousarray(array[:, :, ::-1]))
    np.testing.assert_allclose(turned[:, :, ::-1], got, atol=1e-5)


def test_an_image_over_the_limit_is_cut_into_windows():
    runtime = tiny_models.Thresholds()
    plan = tiny_models.plan(inference__whole_voxels=20 * 20 * 20)
    run_network(plan, runtime, np.zeros((20, 20, 20, 1), np.float32))
    assert runtime.shapes == [(1, 20, 20, 20, 1)]
    run_network(plan, runtime, np.zeros((22, 20, 20, 1), np.float32))
    assert runtime.shapes[-1] == (1, 16, 16, 16, 1)


def test_little_memory_means_windows_and_too_little_a_named_error():
    runtime = tiny_models.Thresholds()
    array = np.zeros((32, 32, 32, 1), np.float32)
    run_network(tiny_models.plan(), runtime, array, memory=2**22)
    assert set(runtime.shapes) == {(1, 16, 16, 16, 1)}
    with pytest.raises(PlanError) as caught:
        run_network(tiny_models.plan(), runtime, array, memory=1000)
    assert caught.value.code == "plan.memory"


@pytest.mark.parametrize("mode", ["whole", "window"])
def test_slices_of_a_two_dimensional_plan_pass_in_batches(mode):
    runtime = tiny_models.Thresholds()
    array = tiny_models.image((11, 25, 30), channels=3)
    got = run_network(tiny_models.plan(2, 3, inference__mode=mode), runtime, array)
    assert {len(shape) for shape in runtime.shapes} == {4}
    assert max(shape[0] for shape in runtime.shapes) <= 8
    np.testing.assert_allclose(got, tiny_models.Thresholds()(array), atol=1e-2, rtol=1e-4)


@pytest.mark.parametrize("depth", [1, 3])
def test_colour_pictures_through_a_real_network(flat_bundle, depth):
    array = np.clip(tiny_models.image((depth, 33, 41), 3) * 40 + 128, 0, 255).astype(np.uint8)
    labels = Segmenter(flat_bundle, "openvino")(Volume(array, Geometry((depth, 33, 41)))).labels
    assert labels.array.shape == (depth, 33, 41)
    assert labels.array.any()


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 30, 30), (40, 3, 5)])
def test_tiny_and_flat_volumes_pass_a_three_dimensional_network(bundle, shape):
    volume = Volume(tiny_models.image(shape), Geometry(shape, (5.0, 1.0, 1.0)))
    assert Segmenter(bundle, "openvino")(volume).labels.array.shape == shape


def test_an_empty_result_is_a_warning(bundle):
    volume = Volume(np.zeros(SHAPE, np.float32), Geometry(SHAPE))
    prediction = Segmenter(bundle, tiny_models.Thresholds())(volume)
    assert prediction.warnings == (EMPTY,)
    assert Segmenter(bundle, tiny_models.Thresholds()).choice == "thresholds was given"


def test_clean_up_does_not_depend_on_how_the_image_is_stored():
    """Of two parts of equal size the same one stays."""
    plan = tiny_models.plan(post__steps=[{"label": 1, "largest_component": True}])
    array = np.zeros(SHAPE, np.float32)
    array[3:6, 3:6, 3:6] = 1
    array[12:15, 12:15, 12:15] = 1
    volume = Volume(array, Geometry(SHAPE))
    expected = segment(plan, tiny_models.Thresholds(), volume)[0]
    assert expected.array.sum() == 27
    for orientation in tiny_models.ORIENTATIONS[::5]:
        got = segment(plan, tiny_models.Thresholds(), tiny_models.stored(volume, *orientation))[0]
        np.testing.assert_array_equal(got.reoriented("SPL").array, expected.array)
