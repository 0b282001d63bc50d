"""The feed: every case in turn, patches where they should be, the same for the same seed."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest

from segloop.data.feed import Example, training_feed, validation_feed
from segloop.plan import AugmentationSpec, LabelSpec, NetworkSpec, Plan

OFF = dict.fromkeys(
    [
        f"{name}_probability"
        for name in ("rotation", "scale", "elastic", "gamma", "contrast", "brightness", "noise", "blur")
    ],
    0.0,
)


def _plan(patch: tuple[int, int, int], dims: int = 3, **training: object) -> Plan:
    size = 1 if dims == 2 else 3
    pool = (1 if dims == 2 else 2, 2, 2)
    return Plan.parse(
        {
            "name": "t",
            "labels": [LabelSpec(value=5, name="a").model_dump(), LabelSpec(value=9, name="b").model_dump()],
            "network": NetworkSpec(
                dims=dims,  # type: ignore[arg-type]
                classes=3,
                features=(4, 4),
                kernels=((size, 3, 3),) * 2,
                strides=((1, 1, 1), pool),
                deep_supervision=1,
            ).model_dump(),
            "training": {"patch": patch, "batch": 2, "augmentation": OFF, **training},
            "inference": {"patch": patch},
        }
    )


def _example(name: str, shape: tuple[int, int, int], value: float) -> Example:
    labels = np.zeros(shape, np.uint8)
    labels[shape[0] - 1, shape[1] - 1, shape[2] - 1] = 2
    return Example(name, np.full((*shape, 1), value, np.float32), labels)


def test_a_small_image_is_centred_in_zeros() -> None:
    feed = training_feed([_example("a", (3, 4, 5), 7.0)], _plan((6, 8, 8)), seed=0)
    image, (labels,) = next(iter(feed.as_numpy_iterator()))
    expected = np.zeros((6, 8, 8), np.float32)
    expected[1:4, 2:6, 1:6] = 7
    for one in image[..., 0]:
        np.testing.assert_array_equal(one, expected)
    assert labels[0, 3, 5, 5] == 2
    assert labels.sum() == 4


def test_every_case_comes_once_before_any_comes_again() -> None:
    examples = [_example(str(i), (8, 8, 8), float(i + 1)) for i in range(6)]
    batches = training_feed(examples, _plan((8, 8, 8)), seed=1).as_numpy_iterator()
    seen = [float(image.max()) for batch, _ in itertools.islice(batches, 9) for image in batch]
    decks = [seen[i : i + 6] for i in (0, 6, 12)]
    assert all(sorted(deck) == [1, 2, 3, 4, 5, 6] for deck in decks)
    assert decks[0] != decks[1]


def test_focused_patches_hold_the_label_and_stay_on_the_image() -> None:
    feed = training_feed([_example("a", (20, 20, 20), 1.0)], _plan((8, 8, 8), foreground_fraction=1.0), seed=0)
    for image, (labels,) in itertools.islice(feed.as_numpy_iterator(), 5):
        assert (labels == 2).any(axis=(1, 2, 3)).all()
        assert (image == 1).all()


def test_unfocused_patches_reach_every_corner() -> None:
    shape = (9, 9, 9)
    image = np.arange(9**3, dtype=np.float32).reshape(*shape, 1)
    example = Example("a", image, np.zeros(shape, np.uint8))
    feed = training_feed([example], _plan((8, 8, 8), foreground_fraction=0.0), seed=0)
    corners = {float(one[0, 0, 0, 0]) for batch, _ in itertools.islice(feed.as_numpy_iterator(), 40) for one in batch}
    assert corners == {float(image[z, y, x, 0]) for z, y, x in itertools.product((0, 1), repeat=3)}


def test_batch_n_is_the_same_however_the_feed_began() -> None:
    examples = [_example(str(i), (10, 10, 10), float(i)) for i in range(4)]
    plan = _plan((8, 8, 8), augmentation={"mirror_axes": (0, 1, 2), "rotation_probability": 1.0})
    whole = list(itertools.islice(training_feed(examples, plan, seed=3).as_numpy_iterator(), 5))
    later = next(iter(training_feed(examples, plan, seed=3, start=4).as_numpy_iterator()))
    np.testing.assert_array_equal(whole[4][0], later[0])
    np.testing.assert_array_equal(whole[4][1][0], later[1][0])


@pytest.mark.parametrize("copies", [1, 3])
def test_labels_are_repeated_for_each_output_and_2d_has_no_z(copies: int) -> None:
    feed = training_feed([_example("a", (1, 20, 20), 1.0)], _plan((1, 16, 16), dims=2), seed=0, copies=copies)
    image, targets = next(iter(feed.as_numpy_iterator()))
    assert image.shape == (2, 16, 16, 1)
    assert len(targets) == copies
    assert all(target.shape == (2, 16, 16) and target.dtype == np.uint8 for target in targets)


def test_the_graph_is_compiled_for_the_first_batch_and_not_again() -> None:
    chances = {name: 0.5 for name in AugmentationSpec.model_fields if name.endswith("_probability")}
    plan = _plan((8, 8, 8), augmentation={**chances, "mirror_axes": (0, 1, 2)})
    feed = iter(training_feed([_example("a", (12, 12, 12), 1.0)], plan, seed=0))
    seconds = []
    for _ in range(10):
        started = time.process_time()
        next(feed)
        seconds.append(time.process_time() - started)
    assert sum(seconds[3:]) < seconds[0]


def test_validation_patches_lie_around_the_labels() -> None:
    examples = [_example(str(i), (30, 9, 6), 1.0) for i in range(3)]
    batches = validation_feed(examples, _plan((8, 8, 8)))
    assert [len(image) for image, _ in batches] == [2, 1]
    assert all((labels == 2).any(axis=(1, 2, 3)).all() for _, labels in batches)
    assert batches[0][0].shape == (2, 8, 8, 8, 1)
    assert batches[0][0][0, :, :, 0].max() == 0  # padding on the short x axis
