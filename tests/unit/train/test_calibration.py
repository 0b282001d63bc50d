from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from held_out_kit import GRID, ball, predictions, probabilities, scores_of
from segloop.train.calibration import band, calibrate


def overconfident(factor: float):
    """Experts who follow the honest probabilities, and a model that multiplies its scores by `factor`."""

    def make(number: int) -> tuple[np.ndarray, np.ndarray]:
        honest = scores_of(0.5 * ball((9, 9, 9), 5), 0.5 * ball((9, 9, 15), 3))
        draw = np.random.default_rng(number).random(GRID.shape)
        chosen = (np.cumsum(probabilities(honest), axis=0) < draw).sum(axis=0)
        return factor * honest, np.array([0, 1, 5])[np.minimum(chosen, 2)]

    return make


@pytest.mark.parametrize("factor", [2.5, 0.5, 1.0])
def test_the_temperature_undoes_what_was_done_to_the_scores(tmp_path: Path, factor: float) -> None:
    found = calibrate(predictions(tmp_path, overconfident(factor)))
    assert found.curve.temperature == pytest.approx(factor, rel=0.05)
    assert found.curve.held_out
    assert found.curve.ece_after < 0.02
    assert found.nll_after <= found.nll + 1e-3
    if factor != 1:
        assert found.curve.ece > 0.04
        assert [label.name for label in found.labels] == ["one", "five"]
        assert found.labels[0].ece > found.labels[0].ece_after
    assert sum(b.share for b in found.curve.bins) == pytest.approx(1)


def test_a_temperature_the_plan_has_already_is_replaced_and_not_multiplied(tmp_path: Path) -> None:
    plain = calibrate(predictions(tmp_path / "a", overconfident(2.0)))
    # Kept probabilities are those after the Plan's own temperature.
    tempered = calibrate(predictions(tmp_path / "b", overconfident(1.0), inference__temperature=2.0))
    assert tempered.curve.temperature == pytest.approx(plain.curve.temperature, rel=0.03)


def test_with_one_fold_the_error_is_said_to_be_from_the_same_cases(tmp_path: Path) -> None:
    assert not calibrate(predictions(tmp_path, overconfident(2.0), cases=3, folds=1)).curve.held_out


def test_the_band_lies_around_borders_of_both_and_between_labels() -> None:
    one, other = np.zeros((2, 30, 30, 30), np.uint8)
    one[10:20] = 1
    other[:5] = 2
    found = band((one, other), (1.0, 1.0, 1.0))
    depth = np.flatnonzero(found.all(axis=(1, 2)))
    np.testing.assert_array_equal(depth, [*range(1, 14), *range(16, 24)])
    # Three voxels of the finest axis: 3 mm here, so one and a half voxels of 2 mm along z.
    coarse = band((one,), (2.0, 1.0, 1.0))
    np.testing.assert_array_equal(np.flatnonzero(coarse.all(axis=(1, 2))), [8, 9, 10, 11, 18, 19, 20, 21])
    assert not band((one * 0,), (1.0, 1.0, 1.0)).any()


def test_a_model_and_experts_without_any_structure_are_calibrated(tmp_path: Path) -> None:
    nothing = calibrate(
        predictions(tmp_path, lambda number: (scores_of(np.full(GRID.shape, -9.0)), np.zeros(GRID.shape)), cases=2)
    )
    assert nothing.curve.ece == 0


def test_regions_are_calibrated_each_by_itself(tmp_path: Path) -> None:
    regions = [{"name": "all", "labels": [1, 5], "paints": 1}, {"name": "core", "labels": [5], "paints": 5}]

    def make(number: int) -> tuple[np.ndarray, np.ndarray]:
        honest = np.stack([0.5 * ball((9, 9, 9), 6), 0.5 * ball((9, 9, 9), 3)])
        everything, core = probabilities(honest, regions=True)
        draw = np.random.default_rng(number).random(GRID.shape)
        return 3 * honest, np.where(draw < core, 5, np.where(draw < everything, 1, 0))

    found = calibrate(predictions(tmp_path, make, regions=regions, network__classes=2))
    assert found.curve.temperature == pytest.approx(3, rel=0.05)
    assert [label.name for label in found.labels] == ["all", "core"]
    assert all(label.ece_after < 0.03 < label.ece for label in found.labels)
