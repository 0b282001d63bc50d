from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from segloop.data import Dataset, fingerprint, make_plan
from segloop.errors import InputError
from segloop.infer.bundle import Bundle
from segloop.io import files
from segloop.plan import Provenance
from segloop.train.crossval import evaluate
from segloop.volume import Geometry, Labels, Volume

GRID = Geometry((16, 16, 16), (1.0, 1.0, 1.0))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    root = tmp_path_factory.mktemp("set")
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir()
    random = np.random.default_rng(0)
    for case in ("a", "b", "c"):
        mask = np.zeros(GRID.shape, np.uint8)
        mask[4:12, 3:9, 5:13] = 1
        image = mask * 100 + random.normal(size=GRID.shape)
        files.write(Volume(image.astype(np.float32), GRID), root / "imagesTr" / f"{case}.nii.gz")
        files.write(Labels(mask, GRID), root / "labelsTr" / f"{case}.nii.gz")
    (root / "dataset.json").write_text(json.dumps({"name": "cubes", "labels": {"1": "cube"}, "modality": {"0": "MRI"}}))
    return Dataset.load(root)


@pytest.fixture(scope="module")
def bundle(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """An untrained network, exported like any other; it has seen case a."""
    from segloop.infer.export import export_bundle
    from segloop.nets import build_unet

    plan = make_plan(fingerprint(dataset))
    seen = dataset.cases[0]
    return export_bundle(
        tmp_path_factory.mktemp("out") / "bundle",
        plan,
        build_unet(plan.network, seed=1),
        provenance=Provenance(dataset=dataset.name, training_images={seen.id: dataset.digest(seen)}),
        card="Made for a test.",
        version="0.0.1",
        selftest=[dataset.read(seen)[0]],
    )


def test_unseen_cases_are_scored_on_their_own_grid(bundle: Bundle, dataset: Dataset) -> None:
    done: list[tuple[int, int]] = []
    scores = evaluate(
        bundle, dataset, ["b", "c"], runtime="openvino", progress=lambda n, total: done.append((n, total))
    )
    assert done == [(1, 2), (2, 2)]
    assert [case.id for case in scores.cases] == ["b", "c"]
    assert (scores.model.digest, scores.model.runtime, scores.dataset) == (bundle.digest, "openvino", "cubes")
    for case in scores.cases:
        assert case.seconds > 0
        assert not case.training_case
        assert case.labels["1"].reference_volume_ml == pytest.approx(8 * 6 * 8 / 1000)
    json.loads(scores.to_json(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_a_training_case_is_refused_or_marked(bundle: Bundle, dataset: Dataset) -> None:
    with pytest.raises(InputError, match="1 of 2 cases were used to train") as caught:
        evaluate(bundle, dataset, ["a", "b"], runtime="openvino")
    assert (caught.value.code, caught.value.exit_status, caught.value.found) == ("bundle.training_case", 2, ["a"])
    scores = evaluate(bundle, dataset, ["a", "b"], allow_training_cases=True, runtime="openvino")
    assert [case.training_case for case in scores.cases] == [True, False]


def test_a_dataset_with_other_labels_is_refused(bundle: Bundle, dataset: Dataset, tmp_path: Path) -> None:
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / folder).symlink_to(dataset.root / folder)
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"1": "ball"}}))
    with pytest.raises(InputError, match="'ball'") as caught:
        evaluate(bundle, Dataset.load(tmp_path), ["b"], runtime="openvino")
    assert caught.value.code == "labels.mismatch"
