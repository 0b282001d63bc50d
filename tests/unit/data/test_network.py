from __future__ import annotations

from math import prod

import pytest

from plan_kit import facts
from segloop.data import make_plan
from segloop.data.cost import activation_bytes, loss_seconds, parameters, step_bytes, step_seconds
from segloop.data.network import GRAPHICS, LARGE_GRAPHICS, network
from segloop.plan import LossSpec

FLAT = (1.0, 1.0, 1.0)


def test_a_coarse_axis_is_pooled_later_with_flat_kernels() -> None:
    spec = network((32, 160, 160), (5.0, 0.8, 0.8), 3, channels=1, classes=2)
    assert spec.strides[1] == (1, 2, 2)
    assert spec.kernels[0] == (1, 3, 3)
    assert spec.kernels[-1] == (3, 3, 3)


def test_an_axis_left_alone_is_not_worn_down_to_nothing() -> None:
    """z stays at 8 voxels once y and x can no longer be halved (nnU-Net asks for 12)."""
    spec = network((64, 40, 40), FLAT, 3, channels=1, classes=2)
    assert spec.divisor == (8, 8, 8)
    assert network((96, 40, 40), FLAT, 3, channels=1, classes=2).divisor == (16, 8, 8)


@pytest.mark.parametrize(("dims", "patch", "most"), [(3, (128, 128, 128), 320), (2, (1, 512, 512), 512)])
def test_a_gpu_is_given_nnunets_width_and_a_large_one_its_residual_encoder(
    dims: int, patch: tuple[int, int, int], most: int
) -> None:
    spec = network(patch, FLAT, dims, channels=1, classes=2, scale=GRAPHICS)  # type: ignore[arg-type]
    assert (spec.features[0], spec.features[-1]) == (32, most)
    large = network(patch, FLAT, dims, channels=1, classes=2, scale=LARGE_GRAPHICS)  # type: ignore[arg-type]
    assert large.blocks[:4] == (1, 3, 4, 6)
    assert step_bytes(large, patch, 2) > step_bytes(spec, patch, 2)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("scale", [GRAPHICS, LARGE_GRAPHICS])
def test_the_reckoned_weights_are_those_of_the_network(dims: int, scale: object) -> None:
    from segloop.nets import build_unet

    patch = (16, 16, 16) if dims == 3 else (1, 16, 16)
    spec = network(patch, FLAT, dims, channels=2, classes=3, scale=scale)  # type: ignore[arg-type]
    assert parameters(spec) == pytest.approx(build_unet(spec).count_params(), rel=0.05)


def test_centre_lines_take_time_as_well() -> None:
    patch, thin = (1, 256, 256), LossSpec(extra="cldice", iterations=6)
    assert loss_seconds(LossSpec(), 3, patch, 8) == 0
    assert 0.3 < loss_seconds(thin, 1, patch, 8) < 0.8
    assert loss_seconds(thin, 2, patch, 8) == 2 * loss_seconds(thin, 1, patch, 8)
    eyes = facts(((1, 960, 999),) * 20, photographs=True, channels=3, width=6.0, slenderness=700.0)
    lumps = facts(((1, 960, 999),) * 20, photographs=True, channels=3)
    seconds = [next(r for r in make_plan(f).reasons if r.startswith("Cost")) for f in (eyes, lumps)]
    assert seconds[0] != seconds[1]


def test_cost_grows_with_the_batch_and_the_width() -> None:
    spec = network((64, 64, 64), FLAT, 3, channels=1, classes=2)
    wide = network((64, 64, 64), FLAT, 3, channels=1, classes=2, scale=GRAPHICS)
    patch = (64, 64, 64)
    assert activation_bytes(spec, patch, 4) == pytest.approx(2 * activation_bytes(spec, patch, 2), rel=0.01)
    assert activation_bytes(wide, patch, 2) == pytest.approx(2 * activation_bytes(spec, patch, 2), rel=0.02)
    assert 2.5 < step_seconds(wide, patch, 2) / step_seconds(spec, patch, 2) < 5
    assert activation_bytes(spec, patch, 1) > 4 * prod(patch) * 16
