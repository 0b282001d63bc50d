"""Clean-up is chosen where it helps on held-out cases, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from held_out_kit import ball, predictions, scores_of
from segloop.plan import PostStep
from segloop.train.postchoice import LARGEST_COST, choose

BODY = ball((10, 10, 10), 5)
SPECK = ball((3, 3, 3), 1.5)
HOLE = ball((10, 10, 10), 1.5)


def expert() -> np.ndarray:
    return np.where(BODY > 0, 1, 0)


def union(*parts: np.ndarray) -> np.ndarray:
    return np.max(parts, axis=0)


def test_specks_are_removed_and_the_reason_is_told(tmp_path: Path) -> None:
    found = choose(predictions(tmp_path, lambda n: (scores_of(4 * union(BODY, SPECK)), expert())), 1.0)
    accepted = [trial for trial in found.trials if trial.accepted]
    assert [(trial.label, trial.kind, trial.value) for trial in accepted] == [("one", "largest_component", True)]
    assert found.plan.post.steps == (PostStep(label=1, largest_component=True),)
    assert found.after > found.before
    assert found.after == pytest.approx(1.0)
    assert accepted[0].better == found.cases == 12
    (reason,) = found.plan.reasons[-1:]
    assert "one: largest part only, chosen on 12 out-of-fold predictions" in reason


def test_what_makes_no_difference_is_left_out(tmp_path: Path) -> None:
    found = choose(predictions(tmp_path, lambda n: (scores_of(4 * BODY), expert())), 1.0)
    assert not any(trial.accepted for trial in found.trials)
    assert found.plan.post.steps == ()
    assert found.plan.inference.logit_bias == ()
    assert found.before == found.after
    assert {trial.kind for trial in found.trials} == {"bias", "largest_component", "fill_holes"}
    assert "none of" in found.plan.reasons[-1]


def test_what_helps_one_case_and_harms_others_is_refused(tmp_path: Path) -> None:
    def mixed(number: int) -> tuple[np.ndarray, np.ndarray]:
        # In case 0 a large part is wrong; in the others a small second part is the expert's too.
        false_part = ball((3.5, 3.5, 3.5), 4.5)
        if number == 0:
            return scores_of(4 * union(BODY, false_part)), expert()
        return scores_of(4 * union(BODY, SPECK)), np.where(union(BODY, SPECK) > 0, 1, 0)

    found = choose(predictions(tmp_path, mixed), 1.0)
    trial = next(t for t in found.trials if t.kind == "largest_component" and t.label == "one")
    assert trial.after > trial.before
    assert trial.ci95[0] < 0
    assert (trial.better, trial.worse) == (1, 11)
    assert not trial.accepted


def test_holes_are_filled_and_false_parts_sized(tmp_path: Path) -> None:
    def make(number: int) -> tuple[np.ndarray, np.ndarray]:
        two = ball((15, 15, 4), 3)
        model = np.where(HOLE > 0, -HOLE, union(BODY, two, SPECK))
        return scores_of(4 * model), np.where(union(BODY, two) > 0, 1, 0)

    found = choose(predictions(tmp_path, make), 1.0)
    (step,) = found.plan.post.steps
    assert step.fill_holes
    assert not step.largest_component
    assert 0 < step.min_component_ml < 0.1
    assert found.after == pytest.approx(1.0)


def test_a_threshold_is_moved_for_a_model_that_sees_too_little(tmp_path: Path) -> None:
    found = choose(predictions(tmp_path, lambda n: (scores_of(0.5 * (BODY - 1.2)), expert())), 1.0)
    assert found.plan.inference.logit_bias[0] == pytest.approx(0.5)
    assert found.plan.inference.logit_bias[1] == 0
    assert found.after > found.before


def test_thresholds_are_taken_of_calibrated_probabilities(tmp_path: Path) -> None:
    # Scores twice too certain: at temperature 2 the same border needs half the bias.
    found = choose(predictions(tmp_path, lambda n: (scores_of(1.0 * (BODY - 1.2)), expert())), 2.0)
    assert found.plan.inference.temperature == 2.0
    assert found.plan.inference.logit_bias[0] == pytest.approx(0.5)


def test_a_planned_clean_up_that_harms_is_taken_back(tmp_path: Path) -> None:
    both = np.where(union(BODY, SPECK) > 0, 1, 0)
    planned = {"steps": [{"label": 1, "largest_component": True}]}
    found = choose(predictions(tmp_path, lambda n: (scores_of(4 * union(BODY, SPECK)), both), post=planned), 1.0)
    assert found.plan.post.steps == ()
    assert "largest part only no longer" in found.plan.reasons[-1]


def test_of_lesions_the_largest_is_never_chosen(tmp_path: Path) -> None:
    changes = {"labels__0__components": True}
    found = choose(predictions(tmp_path, lambda n: (scores_of(4 * union(BODY, SPECK)), expert()), **changes), 1.0)
    assert not [t for t in found.trials if t.kind == "largest_component" and t.label == "one"]
    assert found.plan.post.steps[0].min_component_ml > 0


def test_finding_nothing_where_there_is_nothing_counts_as_right(tmp_path: Path) -> None:
    def absent(number: int) -> tuple[np.ndarray, np.ndarray]:
        return scores_of(4 * (SPECK if number % 2 else union(BODY, SPECK))), expert() * (number % 2 == 0)

    found = choose(predictions(tmp_path, absent), 1.0)
    assert found.plan.post.steps[0].min_component_ml > 0
    assert found.after == pytest.approx(1.0)


def test_of_regions_each_has_its_own_threshold(tmp_path: Path) -> None:
    regions = [{"name": "all", "labels": [1, 5], "paints": 1}, {"name": "core", "labels": [5], "paints": 5}]
    inner = ball((10, 10, 10), 3)

    def make(number: int) -> tuple[np.ndarray, np.ndarray]:
        return np.stack([4 * BODY, 0.5 * (inner - 1.2)]), np.where(inner > 0, 5, np.where(BODY > 0, 1, 0))

    found = choose(predictions(tmp_path, make, regions=regions, network__classes=2), 1.0)
    assert found.plan.inference.logit_bias == (0.0, 0.5)
    assert found.after > found.before


def test_a_label_that_few_cases_have_is_not_silenced(tmp_path: Path) -> None:
    def mostly_empty(number: int) -> tuple[np.ndarray, np.ndarray]:
        # As unsure of the one true finding as of the false ones: what drops these drops it as well.
        unsure = scores_of(np.minimum(BODY, 0.6))
        return unsure, expert() if number == 0 else np.zeros_like(expert())

    found = choose(predictions(tmp_path, mostly_empty), 1.0)
    silent = [trial for trial in found.trials if trial.label == "one" and trial.after > 0.9]
    assert silent
    assert all(trial.after > trial.before and trial.ci95[0] >= 0 and trial.cost > 0.5 for trial in silent)
    assert not any(trial.accepted for trial in silent)


def test_false_findings_are_dropped_where_the_true_ones_stay(tmp_path: Path) -> None:
    def mostly_empty(number: int) -> tuple[np.ndarray, np.ndarray]:
        certain = 60 * BODY if number == 0 else np.minimum(BODY, 0.6)
        return scores_of(certain), expert() if number == 0 else np.zeros_like(expert())

    found = choose(predictions(tmp_path, mostly_empty), 1.0)
    assert found.after > 0.9
    assert any(trial.accepted and trial.cost <= LARGEST_COST for trial in found.trials)
