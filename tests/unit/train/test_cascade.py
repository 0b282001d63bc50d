"""A cascade from files to a bundle whose coarse network goes first in the production `Segmenter`."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from segloop.data.dataset import Dataset
from segloop.errors import ModelError, PlanError
from segloop.infer.artefacts import export_artefact
from segloop.infer.bundle import Bundle, load_network
from segloop.infer.cascade import Cascade
from segloop.infer.engine import Segmenter, segment
from segloop.infer.explain import Explainer
from segloop.infer.export import exactly
from segloop.infer.selftest import selftest
from segloop.plan import Plan
from segloop.train import FitResult, fit
from segloop.train.cascade import first_stage
from training_kit import plan, write_dataset


def cascade(**training: object) -> Plan:
    """Balls on voxels of 2 mm first, then on those of 1 mm."""
    coarse = plan(patch=(8, 8, 8), **training).changed(
        {"preparation.spacing_mm": (2.0, 2.0, 2.0), "inference.patch": (8, 8, 8)}
    )
    document = plan(**training).model_dump(mode="json", by_alias=True)
    document["network"]["channels"] = 2
    document["training"]["augmentation"]["doubt_probability"] = 0.5
    return Plan.parse({**document, "coarse": coarse.model_dump(mode="json", by_alias=True)})


@pytest.fixture(scope="module")
def balls(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write_dataset(tmp_path_factory.mktemp("balls"))


@pytest.fixture(scope="module")
def trained(balls: Dataset, tmp_path_factory: pytest.TempPathFactory) -> FitResult:
    return fit(cascade(), balls, tmp_path_factory.mktemp("run"), fold=0)


class Nothing:
    """A coarse network that never finds anything."""

    name, precision = "nothing", "float32"

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        return np.stack([np.ones(batch.shape[:-1], np.float32), np.zeros(batch.shape[:-1], np.float32)], -1)


def test_both_networks_are_trained_on_the_same_cases_and_stand_in_one_bundle(
    trained: FitResult, balls: Dataset
) -> None:
    bundle = Bundle(trained.bundle)
    first = bundle.coarse()
    assert first.plan == bundle.plan.coarse
    assert first.plan.preparation.spacing_mm == (2.0, 2.0, 2.0)
    assert first.manifest.provenance.training_images == bundle.manifest.provenance.training_images
    assert set(first.manifest.provenance.training_images) == set(balls.split(5)[0][0])
    assert "coarse/weights/weights.npz" in bundle.manifest.files


@pytest.mark.parametrize("runtime", ["tensorflow", "openvino"])
def test_the_production_segmenter_runs_one_after_the_other(trained: FitResult, balls: Dataset, runtime: str) -> None:
    bundle = Bundle(trained.bundle)
    segmenter = Segmenter(bundle, runtime)
    volume, labels = balls.read(balls.case(balls.split(5)[0][1][0]))
    found = segmenter(volume).labels.array
    assert 2 * (found & labels.array).sum() / (found.sum() + labels.array.sum()) > 0.8
    assert selftest(bundle, segmenter.runtime).cases == 2
    # What the coarse network says matters to the second one.
    assert isinstance(segmenter.runtime, Cascade)
    blind = replace(segmenter.runtime, coarse=Nothing())
    seen, unseen = (segment(bundle.plan, r, volume, keep_probabilities=True)[1] for r in (segmenter.runtime, blind))
    assert seen is not None
    assert unseen is not None
    assert np.abs(seen - unseen).max() > 0.02
    with pytest.raises(ModelError, match="two networks"):
        segment(bundle.plan, Nothing(), volume)


def test_it_can_be_explained_and_exported(trained: FitResult, balls: Dataset, tmp_path: Path) -> None:
    bundle = Bundle(trained.bundle)
    volume, labels = balls.read(balls.cases[0])
    heat = Explainer(bundle)(volume, 1).heat.array
    assert heat.shape == labels.array.shape
    folder, described = export_artefact(bundle, tmp_path / "served", "saved-model")
    assert any("first network" in sentence for sentence in described.does)
    found = tf.saved_model.load(str(folder)).signatures["serving_default"](
        voxels=tf.constant(volume.array, tf.float32),
        spacing_mm=tf.constant(volume.geometry.spacing_mm, tf.float64),
        direction=tf.constant(volume.geometry.direction, tf.float64),
    )
    runtime = exactly(load_network(bundle), bundle.coarse())
    expected = segment(bundle.plan.changed({"post.steps": []}), runtime, volume)[0].array
    assert expected.any()
    assert (found["labels"].numpy() == expected).mean() >= 0.9999


def test_a_bundle_without_its_first_network_is_damaged(trained: FitResult, tmp_path: Path) -> None:
    shutil.copytree(trained.bundle, tmp_path / "bundle")
    shutil.rmtree(tmp_path / "bundle" / "coarse")
    with pytest.raises(ModelError, match="coarse"):
        Bundle(tmp_path / "bundle")


def test_resuming_keeps_the_first_network_and_refuses_another_plan(trained: FitResult) -> None:
    out = trained.bundle.parent
    kept = first_stage(lambda *_, **__: pytest.fail("trained again"), cascade(), out, resume=True, budget_s=None)
    assert kept.bundle.digest == Bundle(trained.bundle).coarse().digest
    with pytest.raises(PlanError, match="another plan"):
        first_stage(lambda *_, **__: None, cascade(batch=1), out, resume=True, budget_s=None)


def test_the_first_network_has_a_share_of_the_time(trained: FitResult, tmp_path: Path) -> None:
    told: dict[str, object] = {}

    def train(plan: Plan, out: Path, **options: object) -> None:
        told.update(options, spacing=plan.preparation.spacing_mm)
        shutil.copytree(trained.bundle.parent / "coarse" / "bundle", out / "bundle")

    first_stage(train, cascade(), tmp_path, resume=False, budget_s=600, fold=3)
    assert told == {"resume": False, "time_budget_s": 180, "fold": 3, "spacing": (2.0, 2.0, 2.0)}


def test_what_is_no_cascade_is_refused() -> None:
    whole = cascade()
    again = {**whole.model_dump(mode="json", by_alias=True), "preparation": {"spacing_mm": (2.0, 2.0, 2.0)}}
    for change, match in (
        ({"network.channels": 1}, "1 labels come from"),
        ({"coarse": again}, "not more"),
        ({"training.folds": 4}, "both networks need the same"),
        ({"coarse.labels": [{"value": 2, "name": "cube"}]}, r"coarse\.labels"),
    ):
        with pytest.raises(PlanError, match=match):
            whole.changed(change)
