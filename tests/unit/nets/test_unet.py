"""One builder for 2-D and 3-D networks, whose weights move between precisions and between training and use."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from segloop.nets import DiceCrossEntropy, build_unet, deep_supervision, deploy
from segloop.plan import NetworkSpec

SMALL_3D = NetworkSpec(
    classes=3,
    features=(4, 8, 8),
    kernels=((1, 3, 3), (3, 3, 3), (3, 3, 3)),
    strides=((1, 1, 1), (1, 2, 2), (2, 2, 2)),
    deep_supervision=2,
)
SMALL_2D = NetworkSpec(
    dims=2,
    channels=3,
    features=(4, 8, 8),
    kernels=((1, 3, 3),) * 3,
    strides=((1, 1, 1), (1, 2, 2), (1, 2, 2)),
    deep_supervision=2,
)


@pytest.mark.parametrize(
    ("spec", "size", "half"), [(SMALL_3D, (6, 8, 12), (6, 4, 6)), (SMALL_2D, (8, 12), (4, 6))], ids=["3d", "2d"]
)
def test_outputs_are_float32_logits_at_each_supervised_resolution(
    spec: NetworkSpec, size: tuple[int, ...], half: tuple[int, ...]
) -> None:
    image = np.zeros((2, *size, spec.channels), np.float32)
    full, coarse = build_unet(spec, dtype="mixed_bfloat16")(image)
    assert tuple(full.shape) == (2, *size, spec.classes)
    assert tuple(coarse.shape) == (2, *half, spec.classes)
    assert keras.backend.standardize_dtype(full.dtype) == "float32"


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    one, same, other = (build_unet(SMALL_3D, seed=s).get_weights() for s in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_variable_paths_do_not_depend_on_precision_or_on_what_was_built_before() -> None:
    first = [v.path for v in build_unet(SMALL_2D, dtype="mixed_bfloat16").weights]
    assert [v.path for v in build_unet(SMALL_2D).weights] == first
    assert len(set(first)) == len(first)


def test_a_deployed_network_shares_the_weights_and_gives_full_resolution_only() -> None:
    model = build_unet(SMALL_3D, seed=4)
    used = deploy(model)
    image = np.random.default_rng(0).normal(size=(1, 6, 8, 8, 1)).astype(np.float32)
    np.testing.assert_array_equal(np.asarray(used(image)), np.asarray(model(image)[0]))
    assert {v.path for v in used.weights} < {v.path for v in model.weights}


@pytest.mark.parametrize(("spec", "size"), [(SMALL_3D, (6, 8, 8)), (SMALL_2D, (16, 16))], ids=["3d", "2d"])
def test_a_network_learns_one_case_by_heart(spec: NetworkSpec, size: tuple[int, ...]) -> None:
    draw = np.random.default_rng(0)
    labels = np.zeros((1, *size), np.uint8)
    labels[(0, *(slice(2, 6) for _ in size))] = 1
    image = draw.normal(size=(1, *size, spec.channels)).astype(np.float32) * 0.1 + labels[..., None]
    model = build_unet(spec, seed=0)
    loss = [DiceCrossEntropy(spec.classes) for _ in model.outputs]
    weights = list(deep_supervision(len(model.outputs)))
    model.compile(keras.optimizers.AdamW(1e-2), loss=loss, loss_weights=weights, jit_compile=False)
    model.fit(image, [labels] * len(model.outputs), epochs=40, verbose=0)
    found = np.argmax(deploy(model).predict_on_batch(image), -1)
    overlap = 2 * (found * labels == 1).sum() / ((found == 1).sum() + labels.sum())
    assert overlap > 0.97
