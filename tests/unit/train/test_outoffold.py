"""Nothing is chosen from what a model says of its own training cases."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import tiny_models
from held_out_kit import GRID, ball, model, predictions, scores_of
from segloop.data.dataset import Dataset
from segloop.errors import InputError
from segloop.infer import Segmenter, open_runtime, reissue, selftest
from segloop.io import files
from segloop.prep import Decision
from segloop.train.outoffold import Predictions, decided, keep_prediction, recalibrated
from segloop.volume import Geometry, Labels, Volume


def made(number: int) -> tuple[np.ndarray, np.ndarray]:
    inside = ball((9, 9, 9), 5)
    return scores_of(inside), np.where(inside > 0, 1, 0)


def test_held_out_cases_come_back_as_they_were_kept(tmp_path: Path) -> None:
    found = predictions(tmp_path, made, cases=5)
    assert len(found) == 5
    first = next(iter(found))
    assert (first.case, first.fold, first.image) == ("c00", 0, "image0")
    assert first.geometry == GRID
    np.testing.assert_array_equal(first.reference, made(0)[1])
    np.testing.assert_allclose(first.probabilities.sum(axis=0), 1, atol=2e-3)
    assert [case.case for case in found] == [case.case for case in found]


def test_a_case_that_its_model_was_trained_on_is_refused(tmp_path: Path) -> None:
    predictions(tmp_path, made, cases=4, folds=2)
    honest = Predictions(tiny_models.plan(), [(model(0, ("image1",)), tmp_path / "fold0")])
    assert [case.case for case in honest] == ["c00", "c02"]
    cheating = Predictions(tiny_models.plan(), [(model(0, ("image2",)), tmp_path / "fold0")])
    with pytest.raises(InputError, match="c02 was used to train") as caught:
        list(cheating)
    assert caught.value.code == "bundle.training_case"


def test_predictions_of_another_model_and_damaged_files_are_refused(tmp_path: Path) -> None:
    predictions(tmp_path, made, cases=2, folds=1)
    other = Predictions(tiny_models.plan(), [(model(7), tmp_path / "fold0")])
    with pytest.raises(InputError, match="made by sha256:0000"):
        list(other)
    file = tmp_path / "fold0" / "c00.npz"
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(InputError, match=r"c00\.npz cannot be used"):
        list(Predictions(tiny_models.plan(), [(model(0), tmp_path / "fold0")]))


def test_another_temperature_changes_certainty_and_not_the_answer(tmp_path: Path) -> None:
    (found,) = predictions(tmp_path, made, cases=1, folds=1)
    plan = tiny_models.plan()
    colder, hotter = (recalibrated(found, plan, t).probabilities for t in (0.5, 3.0))
    sure = found.probabilities.max(axis=0)
    assert (colder.max(axis=0) >= sure - 1e-4).all()
    assert (hotter.max(axis=0) <= sure + 1e-4).all()
    for p in (colder, hotter):
        np.testing.assert_array_equal(Decision.of(plan).labels(p), Decision.of(plan).labels(found.probabilities))
    assert recalibrated(found, plan, 1.0) is found


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    root = tmp_path_factory.mktemp("set")
    # The first lies on the network's own grid, the second on another.
    grids = [Geometry((20, 22, 18), spacing, (4.0, 5.0, 6.0)) for spacing in ((1.0, 1.0, 1.0), (1.0, 0.8, 1.3))]
    for name in ("imagesTr", "labelsTr"):
        (root / name).mkdir()
    for number, geometry in enumerate(grids):
        array = tiny_models.image(seed=number)
        labels = np.zeros(array.shape, np.uint8)
        labels[5:9, 10:14, 3:8] = 1
        files.write(Volume(array, geometry), root / "imagesTr" / f"c{number}.nii.gz")
        files.write(Labels(labels, geometry), root / "labelsTr" / f"c{number}.nii.gz")
    (root / "dataset.json").write_text(json.dumps({"labels": {"1": "one", "5": "five"}, "modality": {"0": "MRI"}}))
    return Dataset.load(root)


def test_what_is_chosen_from_kept_cases_is_what_production_then_does(dataset: Dataset, tmp_path: Path) -> None:
    bundle = tiny_models.bundle()
    keep_prediction(Segmenter(bundle, "openvino"), dataset, dataset.cases[0], 0, tmp_path / "kept" / "c0.npz")
    (found,) = Predictions(bundle.plan, [(bundle, tmp_path / "kept")])
    plan = bundle.plan.changed({"inference.temperature": 2.5, "inference.logit_bias": [0.4, -0.3]})
    final = reissue(bundle, tmp_path / "final", card="", metrics={}, plan=plan)
    volume, _ = dataset.read(dataset.cases[0])
    production = Segmenter(final, "openvino")(volume, keep_probabilities=True)
    tempered = recalibrated(found, bundle.plan, 2.5)
    start = np.round(volume.geometry.to_index(found.geometry.to_lps(np.zeros(3)))).astype(int)
    box = tuple(slice(s, s + n) for s, n in zip(start, found.geometry.shape, strict=True))
    np.testing.assert_allclose(tempered.probabilities, np.moveaxis(production.probabilities[box], -1, 0), atol=2e-3)
    chosen = decided(tempered, Decision.of(plan), plan.label_names).array
    plain = decided(found, Decision.of(bundle.plan), plan.label_names).array
    assert (chosen == production.labels.array[box]).mean() > 0.995
    assert (plain != production.labels.array[box]).mean() > 0.02
    assert selftest(final, open_runtime(final, "openvino")).cases == 1


def test_what_is_kept_is_what_the_production_segmenter_gives(dataset: Dataset, tmp_path: Path) -> None:
    bundle = tiny_models.bundle()
    segmenter, case = Segmenter(bundle, "openvino"), dataset.cases[1]
    keep_prediction(segmenter, dataset, case, 2, tmp_path / "c1.npz")
    (found,) = Predictions(bundle.plan, [(bundle, tmp_path)])
    volume, reference = dataset.read(case)
    whole = segmenter(volume, keep_probabilities=True).probabilities
    start = np.round(volume.geometry.to_index(found.geometry.to_lps(np.zeros(3)))).astype(int)
    box = tuple(slice(s, s + n) for s, n in zip(start, found.geometry.shape, strict=True))
    np.testing.assert_allclose(found.probabilities, np.moveaxis(whole[box], -1, 0), atol=5e-4)
    np.testing.assert_array_equal(found.reference, reference.array[box])
    left_out = np.ones(volume.geometry.shape, bool)
    left_out[box] = False
    assert not reference.array[left_out].any()
    assert (whole[left_out][:, 0] >= 0.99).all()
