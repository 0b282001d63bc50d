"""A batch that training saw can be made again, also one from after a resume."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

from segloop.data.feed import Example, training_feed
from segloop.data.replay import replay
from segloop.train.compiling import compiled
from segloop.train.examples import load_examples
from segloop.train.stepping import TensorFlowStep
from training_kit import plan, write_dataset

LOUD = {"mirror_axes": (2,), "rotation_probability": 1.0, "elastic_probability": 0.5, "bias_field_probability": 0.5}


def recorded(feed: tf.data.Dataset, kept: list[tuple[np.ndarray, np.ndarray]]) -> tf.data.Dataset:
    """The feed, of which every batch that is taken is also kept."""

    def keep(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
        kept.append((image.copy(), labels.copy()))
        return image

    def through(image: tf.Tensor, labels: tuple[tf.Tensor]) -> tuple[tf.Tensor, tuple[tf.Tensor]]:
        return tf.ensure_shape(tf.numpy_function(keep, [image, labels[0]], tf.float32), image.shape), labels

    return feed.map(through)


def test_a_recorded_training_batch_is_its_replay_also_after_a_resume(tmp_path: Path) -> None:
    dataset, recipe = write_dataset(tmp_path / "balls"), plan(augmentation=LOUD)
    examples = load_examples(recipe, dataset, tuple(case.id for case in dataset.cases))
    model = compiled(recipe, 4, "float32")
    seen: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for start, end in ((0, 2), (2, 4)):  # the second as a resumed run begins
        kept: list[tuple[np.ndarray, np.ndarray]] = []
        step = TensorFlowStep(model, recorded(training_feed(examples, recipe, 4, start=start), kept))
        for _ in range(start, end):
            step()
        seen |= {start + i: batch for i, batch in enumerate(kept[: end - start])}
    for number in (1, 3):
        again = replay(recipe, examples, 4, number)
        np.testing.assert_array_equal(again.image, seen[number][0])
        np.testing.assert_array_equal(again.labels, seen[number][1])
    assert (seen[1][0] != seen[3][0]).any()
    assert (replay(recipe, examples, 5, 1).image != seen[1][0]).any()


def test_it_names_the_case_and_the_round_of_every_patch() -> None:
    values = {f"case {i}": float(i + 1) for i in range(3)}
    examples = [
        Example(name, np.full((16, 16, 16, 1), value, np.float32), np.zeros((16, 16, 16), np.uint8))
        for name, value in values.items()
    ]
    recipe = plan(
        augmentation={name: 0.0 for name in type(plan().training.augmentation).model_fields if "prob" in name}
    )
    for step in (0, 3):
        again = replay(recipe, examples, 0, step)
        assert again.image[:, 0, 0, 0, 0].tolist() == [values[name] for name in again.cases]
        assert again.rounds == tuple((2 * step + place) // 3 for place in range(2))
