"""Left stays left: mirrored patches have their lateral labels swapped, and a Plan that forgets it is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from keras import ops

from augment_kit import PATCH, applied, spec
from segloop.data.augment import Augment, Pool, require_sides_kept
from segloop.data.feed import Example, training_feed
from segloop.errors import PlanError
from segloop.plan import LabelSpec, Plan

NUMBERS = (3, 8, 5)
"""Label numbers of the classes 1, 2 and 3: right kidney, left kidney, spine."""
SWAPPED = np.asarray([0, 2, 1, 3], np.uint8)


def patient(count: int = 1) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    return draw.normal(size=(count, *PATCH, 1)).astype(np.float32), draw.integers(0, 4, (count, *PATCH)).astype(
        np.uint8
    )


def mirrored_patient(images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a patient whose body is the mirror image would have: right and left are named by the body."""
    return images[:, :, :, ::-1], SWAPPED[labels[:, :, :, ::-1]]


def plan(names: tuple[str, ...], axes: tuple[int, ...], pairs: tuple[tuple[int, int], ...] = ()) -> Plan:
    labels = [LabelSpec(value=v, name=n).model_dump() for v, n in zip(NUMBERS, names, strict=False)]
    network = {"classes": len(labels) + 1, "features": (4, 8), "kernels": ((3, 3, 3),) * 2}
    return Plan.parse(
        {
            "name": "sides",
            "labels": labels,
            "network": {**network, "strides": ((1, 1, 1), (2, 2, 2)), "deep_supervision": 1},
            "training": {"patch": (8, 8, 8), "augmentation": {"mirror_axes": axes, "swap_labels": pairs}},
            "inference": {"patch": (8, 8, 8)},
        }
    )


def test_a_mirrored_patch_with_swapped_labels_is_a_patch_of_the_mirrored_patient() -> None:
    asked = spec(mirror_axes=(0, 2), swap_labels=((3, 8),))
    augment = Augment(asked, PATCH, numbers=NUMBERS)
    images, labels = patient()
    kinds = set()
    for seed in range(16):
        drawn = augment.draw(seed, 1)
        z, _, x = np.diagonal(np.asarray(drawn.matrix)[0])
        expected = mirrored_patient(images, labels) if x < 0 else (images, labels)
        image, label = applied(augment, seed, images, labels)
        turn = slice(None, None, -1 if z < 0 else 1)
        np.testing.assert_array_equal(image, expected[0][:, turn])
        np.testing.assert_array_equal(label, expected[1][:, turn])
        kinds.add((z, x))
    assert len(kinds) == 4


def test_rotation_and_bending_swap_just_as_well() -> None:
    """The same draw from the mirrored patient, unmirrored, reads the same voxels."""
    asked = spec("rotation", "scale", mirror_axes=(2,), swap_labels=((3, 8),))
    augment = Augment(asked, PATCH, numbers=NUMBERS)
    images, labels = patient(8)
    drawn = augment.draw(4, 8)
    turned = np.asarray(drawn.swapped)
    assert 0 < turned.sum() < 8
    image, label = augment.apply(drawn, ops.convert_to_tensor(images), ops.convert_to_tensor(labels))
    # M = R F mirrors x and then turns; reading the mirror image at F R F' needs F R instead, without the swap.
    flip = np.diag([1.0, 1.0, -1.0]).astype(np.float32)
    matrix = np.where(turned[:, None, None], flip @ np.asarray(drawn.matrix), np.asarray(drawn.matrix))
    other = replace(drawn, matrix=ops.convert_to_tensor(matrix), swapped=ops.zeros((8,), "bool"))
    theirs = [
        np.where(turned.reshape(-1, *[1] * (a.ndim - 1)), b, a)
        for a, b in zip((images, labels), mirrored_patient(images, labels), strict=True)
    ]
    expected = augment.apply(other, *(ops.convert_to_tensor(np.ascontiguousarray(part)) for part in theirs))
    np.testing.assert_allclose(np.asarray(image), np.asarray(expected[0]), atol=1e-4)
    assert (np.asarray(label) == np.asarray(expected[1])).mean() > 0.999


def test_without_pairs_labels_stay() -> None:
    images, labels = patient(6)
    _, label = applied(Augment(spec(mirror_axes=(2,)), PATCH, numbers=NUMBERS), 1, images, labels)
    same = (label == labels).all((1, 2, 3))
    turned = (label == labels[:, :, :, ::-1]).all((1, 2, 3))
    assert (same | turned).all()
    assert turned.any()


def test_beyond_the_image_and_ignored_voxels_are_not_swapped() -> None:
    asked = spec(mirror_axes=(2,), swap_labels=((3, 8),))
    pool = Pool.of([np.ones((2, 2, 2, 1), np.float32)], [np.full((2, 2, 2), 255, np.uint8)], 3)
    augment = Augment(asked, PATCH, numbers=NUMBERS)
    centre = ops.convert_to_tensor(np.full((4, 3), 0.5, np.float32))
    _, label = augment.sample(augment.draw(0, 4), pool, ops.zeros((4,), "int32"), centre)
    assert set(np.unique(np.asarray(label))) == {0, 255}


@pytest.mark.parametrize(
    ("names", "axes", "pairs"),
    [
        (("Right kidney", "Left kidney", "Spine"), (2,), ()),
        (("Right kidney", "Left kidney", "Left lung"), (0, 2), ((3, 8),)),
        (("右肾", "左肾", "脊柱"), (2,), ()),
    ],
)
def test_mirroring_left_and_right_without_swapping_is_refused(
    names: tuple[str, ...], axes: tuple[int, ...], pairs: tuple[tuple[int, int], ...]
) -> None:
    recipe = plan(names, axes, pairs)
    with pytest.raises(PlanError, match="wrong side") as fault:
        require_sides_kept(recipe)
    assert fault.value.code == "plan.invalid"
    example = Example("a", np.zeros((8, 8, 8, 1), np.float32), np.zeros((8, 8, 8), np.uint8))
    with pytest.raises(PlanError, match="wrong side"):
        training_feed([example], recipe, 0)


@pytest.mark.parametrize(
    ("names", "axes", "pairs"),
    [
        (("Right kidney", "Left kidney", "Spine"), (2,), ((3, 8),)),
        (("Right kidney", "Left kidney", "Spine"), (0, 1), ()),
        (("Liver", "Spleen", "Spine"), (0, 1, 2), ()),
    ],
)
def test_mirroring_that_keeps_sides_is_allowed(
    names: tuple[str, ...], axes: tuple[int, ...], pairs: tuple[tuple[int, int], ...]
) -> None:
    require_sides_kept(plan(names, axes, pairs))


@pytest.mark.parametrize("pairs", [((3, 9),), ((3, 8), (8, 5)), ((3, 3),)])
def test_pairs_that_are_none_are_refused_by_the_plan(pairs: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(PlanError, match="swap_labels"):
        plan(("Right kidney", "Left kidney", "Spine"), (2,), pairs)


def test_pairs_are_label_numbers_and_not_classes() -> None:
    with pytest.raises(PlanError, match="labels that the model does not have"):
        Augment(spec(mirror_axes=(2,), swap_labels=((1, 2),)), PATCH, numbers=NUMBERS)
