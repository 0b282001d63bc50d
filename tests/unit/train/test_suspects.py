"""Wrong expert labels, planted in a dataset, come out on top."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from held_out_kit import GRID, ball, predictions, scores_of
from segloop.train.suspects import suspects

CASES = 24


def made(wrong: dict[int, str]):
    def make(number: int) -> tuple[np.ndarray, np.ndarray]:
        random = np.random.default_rng(number)
        centre = random.uniform(8, 11, 3)
        one, five = ball(tuple(centre), 4.5), ball(tuple(centre + np.array([0, 0, 5])), 3.0)
        truth = np.where(five > 0, 5, np.where(one > 0, 1, 0))
        # Unsure along every border, as models are; case 0 is a hard one: the model is wrong there, and knows it.
        noise = random.normal(0, 0.4, GRID.shape)
        scores = scores_of(2 * one + noise, 2 * five + noise)
        if number == 0:
            scores = scores_of(0.3 * ball(tuple(centre + np.array([2, 2, 0])), 5.0), 0.3 * five)
        kind = wrong.get(number)
        if kind == "shifted":
            truth = np.roll(truth, 3, axis=1)
        elif kind == "missing":
            truth = np.where(truth == 5, 0, truth)
        elif kind == "exchanged":
            truth = np.array([0, 5, 0, 0, 0, 1])[truth]
        return scores, truth

    return make


def test_planted_label_errors_are_ranked_first(tmp_path: Path) -> None:
    wrong = {5: "shifted", 11: "missing", 17: "exchanged"}
    found = suspects(predictions(tmp_path, made(wrong), cases=CASES), 1.0)
    assert {suspect.case for suspect in found[:4]} == {"c05", "c11", "c17"}
    assert [s.score for s in found] == sorted((s.score for s in found), reverse=True)
    missing = next(s for s in found if s.case == "c11")
    assert missing.label == "five"
    assert missing.dice is None
    assert "where the expert drew none" in missing.reason
    assert "c00" not in {suspect.case for suspect in found[:5]}


def test_a_clean_dataset_has_hardly_any(tmp_path: Path) -> None:
    assert {suspect.case for suspect in suspects(predictions(tmp_path, made({}), cases=CASES), 1.0)} <= {"c00"}
