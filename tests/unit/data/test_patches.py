"""Batches depend on seed and number alone, are shared evenly, and every case has its turn."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from segloop.data.feed import Example, Memory
from segloop.data.patches import Patches, turns
from training_kit import plan


@pytest.mark.parametrize(("batch", "cases"), [(3, 7), (4, 4), (5, 2), (1, 3), (2, 1)])
def test_each_case_has_its_turn_once_before_any_has_it_again(batch: int, cases: int) -> None:
    row = np.concatenate([ops.convert_to_numpy(turns(n, batch, cases, seed=3)) for n in range(12)])
    for deck in range(len(row) // cases):
        assert sorted(row[deck * cases : (deck + 1) * cases]) == list(range(cases))


def test_decks_differ_from_each_other_and_between_seeds() -> None:
    decks = [tuple(ops.convert_to_numpy(turns(n, 9, 9, seed)).tolist()) for seed in (0, 1) for n in range(4)]
    assert len(set(decks)) == len(decks)


def test_the_parts_of_two_workers_are_the_batch_of_one() -> None:
    recipe = plan(batch=4)
    draw = np.random.default_rng(1)
    labels = [(draw.random((14, 12, 18)) < 0.02).astype(np.uint8) for _ in range(3)]
    examples = [Example(str(i), draw.normal(size=(14, 12, 18, 1)).astype(np.float32), m) for i, m in enumerate(labels)]
    memory = Memory.of(examples, recipe)
    whole = Patches(recipe, 8, 3)(5, memory.pool, memory.places)
    parts = [Patches(recipe, 8, 3, share)(5, memory.pool, memory.places) for share in ((0, 2), (2, 4))]
    for kind in range(2):
        together = np.concatenate([ops.convert_to_numpy(part[kind]) for part in parts])
        np.testing.assert_array_equal(together, ops.convert_to_numpy(whole[kind]))
