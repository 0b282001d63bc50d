from __future__ import annotations

import json
from math import inf, nan
from pathlib import Path

import numpy as np
import pytest

from segloop.errors import GeometryMismatch, InputError
from segloop.plan import LabelSpec
from segloop.train.crossval import score_labels
from segloop.train.scores import CaseScore, LabelScore, ScoredModel, Scores, paired_difference, read_scores
from segloop.volume import Geometry, Labels

SPECS = (LabelSpec(value=1, name="Anterior"), LabelSpec(value=2, name="Posterior"))
MODEL = ScoredModel(name="m", version="1", digest="sha256:0", runtime="openvino", precision="bf16")
GRID = Geometry((4, 5, 6), (2.0, 1.0, 1.0))


def case(name: str, dice: tuple[float, float], hd: float = 1.0) -> CaseScore:
    labels = {
        str(spec.value): LabelScore.of({"dice": d, "hd95_mm": hd, "surface_dice": d}, 1.0, 1.0)
        for spec, d in zip(SPECS, dice, strict=True)
    }
    return CaseScore(id=name, labels=labels, seconds=0.5)


def scores(*cases: CaseScore) -> Scores:
    return Scores.of(cases, SPECS, model=MODEL, dataset="d", tolerance_mm=1.0)


def test_the_document_is_the_one_of_the_interfaces() -> None:
    document = json.loads(scores(case("a", (0.8, 0.9)), case("b", (0.9, 0.9))).to_json())
    assert document["schema"] == 1
    assert document["mean_dice"] == pytest.approx(0.875)
    assert document["labels"]["1"]["name"] == "Anterior"
    assert document["labels"]["1"]["dice"]["mean"] == pytest.approx(0.85)
    assert document["labels"]["1"]["dice"]["sd"] == pytest.approx(np.std([0.8, 0.9], ddof=1))
    low, high = document["labels"]["1"]["dice"]["ci95"]
    assert 0.8 <= low <= 0.85 <= high <= 0.9
    assert document["cases"][0]["labels"]["1"].keys() >= {"dice", "hd95_mm", "volume_ml", "reference_volume_ml"}


def test_undefined_is_null_with_a_reason_and_left_out_of_the_mean() -> None:
    text = scores(case("a", (nan, 0.9), nan), case("b", (0.0, 0.8), inf)).to_json()
    assert "NaN" not in text
    assert "Infinity" not in text
    document = json.loads(text)
    assert document["cases"][0]["labels"]["1"]["dice"] is None
    assert document["cases"][0]["labels"]["1"]["reason"] == "the label occurs in neither mask"
    assert document["cases"][1]["labels"]["1"]["reason"] == "one of the two masks is empty"
    summary = document["labels"]["1"]
    assert (summary["dice"]["mean"], summary["dice"]["cases"], summary["dice"]["sd"]) == (0.0, 1, None)
    assert summary["hd95_mm"]["mean"] is None
    assert "2 of 2 cases left out" in summary["hd95_mm"]["reason"]


def test_labels_of_one_case_are_scored_on_the_patients_grid() -> None:
    expert, ours = np.zeros(GRID.shape, np.uint8), np.zeros(GRID.shape, np.uint8)
    expert[1, 1:3, 1:3] = 1
    ours[2, 1:3, 1:3] = 1
    found = score_labels(Labels(expert, GRID), Labels(ours, GRID), SPECS)
    assert (found["1"].dice, found["1"].hd95_mm, found["1"].surface_dice) == (0.0, 2.0, 0.0)
    assert found["1"].volume_ml == pytest.approx(0.008)
    assert found["2"].dice is None
    with pytest.raises(GeometryMismatch):
        score_labels(Labels(expert, GRID), Labels(ours, Geometry(GRID.shape)), SPECS)


def test_a_paired_difference_compares_the_cases_both_have() -> None:
    ours = scores(case("a", (0.8, 0.9)), case("b", (0.9, 0.9)), case("c", (0.5, 0.5)))
    found = paired_difference(ours, {"a": 0.86, "b": 0.88, "z": 0.1})
    assert (found.cases, found.better) == (2, 1)
    assert found.difference == pytest.approx((-0.01 + 0.02) / 2)
    assert found.ci95[0] <= found.difference <= found.ci95[1]
    with pytest.raises(InputError, match="No case"):
        paired_difference(ours, {"z": 0.1})


def test_voxels_that_nobody_could_tell_count_nowhere() -> None:
    reference, prediction = np.zeros((2, 1, 4, 4), np.uint8)
    reference[0, 0] = [1, 1, 9, 9]
    prediction[0, :2] = [1, 1, 1, 1]
    grid = Geometry((1, 4, 4))
    specs = (LabelSpec(value=1, name="one"),)
    maps = Labels(reference, grid), Labels(prediction, grid)
    counted = score_labels(*maps, specs, ignore_label=9)["1"]
    assert counted.dice == pytest.approx(2 * 2 / (2 + 6))
    assert (counted.volume_ml, counted.reference_volume_ml) == (pytest.approx(0.006), pytest.approx(0.002))
    assert score_labels(*maps, specs)["1"].dice == pytest.approx(2 * 2 / (2 + 8))


def test_only_metrics_are_read_as_metrics(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("{}")
    for name in ("other.json", "absent.json"):
        with pytest.raises(InputError, match="holds no metrics"):
            read_scores(tmp_path / name)
