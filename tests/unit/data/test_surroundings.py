"""Cases that are too many for memory: the same patches from a file, read no further than augmentation reaches."""

from __future__ import annotations

import gc
import weakref
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny_models
from segloop.data import shelf
from segloop.data.augment import Augment
from segloop.data.feed import Example, training_feed
from segloop.data.shelf import Shelf
from segloop.data.surroundings import Surroundings, surroundings
from segloop.errors import PlanError, ServiceError
from segloop.plan import AugmentationSpec

ALL = {
    "training.augmentation.rotation_probability": 0.7,
    "training.augmentation.rotation_degrees": [30, 20, 45],
    "training.augmentation.scale_probability": 0.7,
    "training.augmentation.scale": [0.7, 1.4],
    "training.augmentation.elastic_probability": 0.5,
    "training.augmentation.elastic_mm": 3.0,
    "training.augmentation.noise_probability": 0.0,
    "training.augmentation.mirror_axes": [0, 1, 2],
}
NONE = {"training.augmentation.rotation_probability": 0, "training.augmentation.scale_probability": 0}


def examples(shapes, channels=1) -> list[Example]:
    draw = np.random.default_rng(1)
    found = []
    for number, shape in enumerate(shapes):
        # Smooth, so that a rounding of coordinates is no difference.
        grid = np.stack(np.meshgrid(*(np.linspace(0, 3, n) for n in shape), indexing="ij"))
        image = np.stack([np.sin(grid * (number + c + 1)).sum(axis=0) for c in range(channels)], -1).astype(np.float32)
        labels = np.zeros(shape, np.uint8)
        labels[tuple(slice(int(a), int(a) + 5) for a in draw.integers(0, np.maximum(np.asarray(shape) - 5, 1)))] = 1
        found.append(Example(f"case{number}", image, labels))
    return found


def recipe(dims: int, changes: dict, batch: int = 3):
    patch = [1, 16, 24] if dims == 2 else [8, 12, 16]
    return tiny_models.plan(dims).changed({"training.patch": patch, "training.batch": batch} | changes)


@pytest.mark.parametrize(
    ("dims", "changes", "share"), [(2, ALL, None), (3, ALL, None), (3, ALL, (1, 3)), (2, NONE, None), (3, NONE, None)]
)
def test_patches_from_a_file_are_those_from_memory(monkeypatch, dims, changes, share):
    plan = recipe(dims, changes)
    # One smaller than the patch, one larger than anything that is read around it.
    shapes = [(1, 9, 40), (1, 70, 90)] if dims == 2 else [(5, 30, 9), (40, 44, 48)]
    cases = examples(shapes, plan.network.channels)
    held = list(islice(training_feed(cases, plan, 5, share=share).as_numpy_iterator(), 6))
    monkeypatch.setattr(shelf, "MEMORY_BYTES", 100)
    read = list(islice(training_feed(cases, plan, 5, share=share).as_numpy_iterator(), 6))
    for (image, (labels,)), (same, (equal,)) in zip(held, read, strict=True):
        assert image.shape == same.shape
        assert np.allclose(image, same, atol=2e-3)
        # Nearest neighbours may tip where a point lies between two voxels.
        assert (labels != equal).mean() < 2e-3
    assert any(labels.any() for _, (labels,) in held)


@settings(max_examples=40, deadline=None)
@given(
    degrees=st.tuples(*[st.floats(0, 180)] * 3),
    scale=st.tuples(*[st.floats(0.3, 1.5)] * 2),
    elastic=st.floats(-20, 20),
    patch=st.tuples(*[st.integers(2, 40)] * 3),
    spacing=st.tuples(*[st.floats(0.3, 6)] * 3),
    dims=st.sampled_from([2, 3]),
    seed=st.integers(0, 2**31),
)
def test_nothing_is_read_beyond_the_reach(degrees, scale, elastic, patch, spacing, dims, seed):
    spec = AugmentationSpec(
        rotation_probability=1.0,
        rotation_degrees=degrees,
        scale_probability=1.0,
        scale=scale,
        elastic_probability=1.0,
        elastic_mm=elastic,
    )
    size = (1, *patch[1:]) if dims == 2 else patch
    augment = Augment(spec, size, spacing, dims)
    centre = np.full((8, 3), 0.5, np.float32) * [dims == 3, 1, 1]
    points = augment.coordinates(augment.draw(seed, 8), centre.astype(np.float32))
    for axis, far in enumerate(augment.reach):
        if dims == 2 and axis == 0:
            assert far == 0
            continue
        at = np.asarray(points[axis])
        # Linear interpolation reads the voxel before and the one after.
        assert np.floor(at.min()) >= -far
        assert np.floor(at.max()) + 1 <= far + 1


def test_the_reach_of_a_patch_that_is_only_mirrored_is_the_patch():
    augment = Augment(AugmentationSpec(rotation_probability=0, scale_probability=0, elastic_probability=0), (8, 16, 24))
    assert augment.reach == (5, 9, 13)


def test_what_is_read_lies_where_it_says_and_is_zero_beyond_the_case():
    image = np.arange(10 * 12 * 14, dtype=np.float32).reshape(10, 12, 14, 1) + 1
    case = Example("a", image, (image[..., 0] % 7).astype(np.uint8))
    around = Surroundings([case], (3, 4, 5), 3)
    assert around.shape == (8 + 2, 10 + 2, 16)
    images, labels, inside = around.read(np.array([0, 0]), np.array([[5, 6, 7.5], [0, 11.5, -40]], np.float32))
    assert images.shape == (2, *around.shape, 1)
    assert inside.tolist() == [[3, 4, 5.5], [3, 4.5, 5]]
    z, y, x = (1 + int(value) for value in inside[0])  # the border before it
    assert images[0, z, y, x, 0] == image[5, 6, 7, 0]
    assert labels[0, z, y, x] == case.labels[5, 6, 7]
    assert not images[1].any()
    assert not images[:, 0].any()
    assert not images[:, :, :, -1].any()


def test_no_more_is_read_than_the_largest_case_has():
    cases = examples([(5, 30, 9), (8, 12, 40)])
    around = Surroundings(cases, (20, 3, 20), 3)
    assert around.shape == (8 + 2, 8 + 2, 48)
    images, _, inside = around.read(np.array([0]), np.array([[2, 15, 4]], np.float32))
    assert inside.tolist() == [[2, 3, 4]]
    assert np.array_equal(images[0, 1:6, 1:9, 1:10], cases[0].image[:, 12:20])


def test_the_file_is_gone_with_the_feed(monkeypatch):
    monkeypatch.setattr(shelf, "MEMORY_BYTES", 100)
    feed = training_feed(examples([(20, 30, 20)]), recipe(3, NONE), 1)
    kept, batches = weakref.ref(feed.around), iter(feed)
    del feed
    gc.collect()
    next(batches)
    del batches
    gc.collect()
    assert kept() is None


def test_a_batch_that_cannot_be_counted_is_refused(monkeypatch):
    monkeypatch.setattr(shelf, "MEMORY_BYTES", 100)
    plan = recipe(3, ALL, batch=2**20)
    with pytest.raises(PlanError) as caught:
        surroundings(examples([(40, 44, 48)]), plan, (20, 20, 20))
    assert caught.value.code == "plan.memory"


@pytest.mark.parametrize("most", [0, 700, 10**9])
def test_a_shelf_gives_back_what_it_was_given_in_memory_or_in_a_file(tmp_path, most):
    given = [np.arange(n, dtype=kind).reshape(1, n) for n, kind in ((5, np.uint8), (90, np.float32), (7, np.uint8))]
    kept = Shelf(tmp_path, most)
    for array in given:
        kept.put(array)
    taken = kept.arrays()
    assert all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(given, taken, strict=True))
    assert not list(tmp_path.iterdir())
    if most == 0:
        with pytest.raises(ValueError, match="read-only"):
            taken[0][:] = 0


def test_a_full_disk_says_what_to_do(monkeypatch):
    # Every write to this device finds it full.
    monkeypatch.setattr(shelf, "TemporaryFile", lambda dir: Path("/dev/full").open("wb", buffering=0))  # noqa: A006, SIM115
    with pytest.raises(ServiceError) as caught:
        Shelf(None, 0).put(np.zeros(5000))
    assert caught.value.code == "disk.full"
    assert "No space left" in caught.value.message
