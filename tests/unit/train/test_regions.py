"""Overlapping labels and a number to ignore, from `dataset.json` through training to labels, scores and a bundle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from segloop.data import fingerprint, make_plan
from segloop.data.dataset import Dataset
from segloop.errors import PlanError
from segloop.infer.bundle import Bundle
from segloop.infer.engine import Segmenter
from segloop.plan import IGNORED, Plan
from segloop.train import fit
from segloop.train.evaluation import evaluate, score_labels, score_unions
from segloop.train.examples import load_examples
from segloop.volume import Geometry, Labels
from training_kit import plan, write_cases

STILL = {f"{what}_probability": 0.0 for what in ("rotation", "scale", "elastic", "gamma", "contrast", "brightness")}
NAMES = {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}


@pytest.fixture(scope="module")
def onions(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A bright ball with a brighter core; in a corner nobody could tell, and there it is as bright as a core."""
    draw = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*(np.arange(16),) * 3, indexing="ij"), -1)
    pairs = []
    for _ in range(5):
        far = np.linalg.norm(grid - draw.uniform(7, 9, 3), axis=-1)
        labels = np.where(far < 3.3, 2, far < 6)
        image = 60 * (labels > 0) + 80 * (labels == 2) + draw.normal(0, 8, labels.shape)
        labels[:3, :3, :3] = 3
        image[:3, :3, :3] = 140
        pairs.append((image, labels))
    folder = tmp_path_factory.mktemp("onions") / "d"
    return write_cases(folder, pairs, labels=NAMES, regions_class_order=[1, 2])


@pytest.fixture(scope="module")
def recipe(onions: Dataset) -> Plan:
    planned = make_plan(fingerprint(onions))
    document = plan(epochs=12, learning_rate=4e-2, ignore_label=3, augmentation=STILL).model_dump(
        mode="json", by_alias=True
    )
    document["labels"] = [label.model_dump() for label in planned.labels]
    document["regions"] = [region.model_dump() for region in planned.regions]
    return Plan.parse(document)


def test_the_planner_gives_one_output_per_region_and_leaves_ignored_voxels_alone(onions: Dataset) -> None:
    planned = make_plan(fingerprint(onions))
    assert [(r.name, r.labels, r.paints) for r in planned.regions] == [("whole", (1, 2), 1), ("core", (2,), 2)]
    assert planned.label_names == {1: "whole without core", 2: "core"}
    assert planned.network.classes == 2
    assert planned.training.ignore_label == 3


def test_ignored_voxels_become_their_own_class_and_a_plan_that_does_not_know_them_is_refused(
    onions: Dataset, recipe: Plan
) -> None:
    (example,) = load_examples(recipe, onions, ("c0",))
    assert set(np.unique(example.labels)) == {0, 1, 2, IGNORED}
    assert (example.labels == IGNORED).sum() == 27
    with pytest.raises(PlanError, match="ignore with 3"):
        load_examples(recipe.changed({"training.ignore_label": None}), onions, ("c0",))


def test_regions_are_trained_predicted_and_scored(onions: Dataset, recipe: Plan, tmp_path: Path) -> None:
    result = fit(recipe, onions, tmp_path, fold=0)
    assert set(result.dice) == {"whole", "core"}
    assert min(result.dice.values()) > 0.8
    bundle, (held,) = Bundle(result.bundle), onions.split(5)[0][1]
    assert bundle.plan.regions == recipe.regions
    volume, truth = onions.read(onions.case(held))
    segmenter = Segmenter(bundle, runtime="tensorflow")
    prediction = segmenter(volume, keep_probabilities=True)
    labels, probabilities = prediction.labels.array, prediction.probabilities
    assert set(np.unique(labels)) == {0, 1, 2}
    assert probabilities is not None
    np.testing.assert_array_equal(labels == 2, probabilities[..., 1] > 0.5)
    np.testing.assert_array_equal(labels > 0, (probabilities > 0.5).any(-1))
    known = truth.array != 3
    for values in ((1, 2), (2,)):
        found, wanted = np.isin(labels, values) & known, np.isin(truth.array, values)
        assert 2 * (found & wanted).sum() / (found.sum() + wanted.sum()) > 0.8
    # Nested shapes come out nested.
    assert ((labels == 2) <= (labels > 0)).all()

    scores = evaluate(bundle, onions, [held], runtime="tensorflow")
    assert set(scores.labels) == {"1", "2"}
    assert set(scores.regions) == {"whole", "core"}
    assert scores.regions["core"].dice.mean == scores.labels["2"].dice.mean
    assert scores.regions["whole"].dice.mean > 0.8
    assert f"{held}" == scores.cases[0].id
    # What nobody could tell is bright as a core: it is found there, and costs nothing.
    assert (labels[~known] > 0).any()
    whole = scores.cases[0].regions["whole"]
    assert whole.volume_ml == pytest.approx((np.isin(labels, (1, 2)) & known).sum() / 1000)


def test_scores_leave_out_what_nobody_could_tell() -> None:
    grid = Geometry((2, 4, 4))
    expert, ours = np.zeros((2, 4, 4), np.uint8), np.zeros((2, 4, 4), np.uint8)
    expert[0, :2], expert[1] = 1, 9
    ours[0, :2], ours[1] = 1, 2
    reference, prediction = Labels(expert, grid), Labels(ours, grid)
    specs = plan().labels
    assert score_labels(reference, prediction, specs, ignore_label=9)["1"].dice == 1
    union = {"all": (1, 2)}
    assert score_unions(reference, prediction, union, ignore_label=9)["all"].dice == 1
    assert score_unions(reference, prediction, union)["all"].dice == pytest.approx(16 / 32)
