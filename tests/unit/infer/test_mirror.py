from __future__ import annotations

import json

import numpy as np
import pytest

import tiny_models
from segloop.cli import main
from segloop.errors import InputError, PlanError
from segloop.infer import Segmenter
from segloop.infer.engine import run_network, segment
from segloop.infer.mirror import exchanged, with_mirroring
from segloop.io import files
from segloop.volume import Geometry, Volume

SIDES = {"training__augmentation__swap_labels": [[1, 5]], "training__augmentation__mirror_axes": [1, 2]}
REGIONS = [
    {"name": "left", "labels": [1], "paints": 1},
    {"name": "both", "labels": [1, 5], "paints": 1},
    {"name": "right", "labels": [5], "paints": 5},
]


class Halves:
    """A runtime that calls whatever lies at low x left (output 1) and the rest right (output 2)."""

    name, precision = "halves", "float32"

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        low = np.broadcast_to(np.arange(batch.shape[3]) < batch.shape[3] / 2, batch.shape[:4])
        return np.stack([np.full(low.shape, -5.0), 4.0 * low, 4.0 * ~low], -1).astype(np.float32)


def test_every_axis_that_training_mirrored_is_mirrored_and_undone():
    plan = with_mirroring(tiny_models.plan(training__augmentation__mirror_axes=[0, 2]))
    runtime = tiny_models.Thresholds()
    array = tiny_models.image((16, 16, 18))[..., None]
    got = run_network(plan, runtime, array)
    assert len(runtime.shapes) == 4
    np.testing.assert_allclose(got, tiny_models.Thresholds()(array), rtol=1e-5, atol=1e-4)


def test_left_and_right_change_places_in_a_mirrored_image():
    plan = tiny_models.plan(**SIDES)
    volume = Volume(np.zeros((16, 16, 16), np.float32), Geometry((16, 16, 16)))
    plain, probabilities, _ = segment(plan, Halves(), volume, keep_probabilities=True)
    mirrored, averaged, _ = segment(with_mirroring(plan), Halves(), volume, keep_probabilities=True)
    assert set(np.unique(plain.array)) == {1, 5}
    np.testing.assert_array_equal(mirrored.array, plain.array)
    np.testing.assert_allclose(averaged, probabilities, atol=1e-6)
    # Without the pair the two sides would cancel each other.
    unpaired = plan.changed({"training.augmentation.swap_labels": []})
    assert np.ptp(segment(with_mirroring(unpaired), Halves(), volume, keep_probabilities=True)[1][..., 1]) < 1e-6


def test_regions_change_places_as_the_labels_they_are_made_of():
    plan = tiny_models.plan(regions=REGIONS, **SIDES)
    assert exchanged(plan) == (2, 1, 0)
    assert exchanged(tiny_models.plan()) == (0, 1, 2)
    assert exchanged(tiny_models.plan(**SIDES)) == (0, 2, 1)
    one_sided = tiny_models.plan(regions=[*REGIONS[:2], {"name": "again", "labels": [1], "paints": 1}], **SIDES)
    with pytest.raises(PlanError, match=r"\[\[5\], \[5\]\]"):
        exchanged(one_sided)


def test_a_model_trained_without_mirroring_refuses():
    with pytest.raises(InputError, match="trained without mirroring") as caught:
        Segmenter(tiny_models.bundle(), "openvino", tta=True)
    assert caught.value.code == "usage"


def test_the_command_says_that_mirroring_is_not_for_this_model(tmp_path, capsys):
    image = tmp_path / "image.nii.gz"
    files.write(Volume(tiny_models.image(), Geometry((20, 22, 18))), image)
    assert main(["predict", str(tiny_models.bundle().path), str(image), "-o", str(tmp_path), "--tta", "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "usage"
    assert "--tta" in error["hint"]
