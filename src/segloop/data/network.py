"""The U-Net that suits a patch: pooling and kernels per axis, and as many feature maps as the machine is for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from segloop.plan import NetworkSpec, Size
from segloop.volume import Shape, Vector

_SMALLEST_MAP = 4
# An axis left alone by the others is halved once more only while it stays this long.
_SMALLEST_SINGLE = 3 * _SMALLEST_MAP
# Of nnU-Net's residual encoder, from the finest stage down.
_BLOCKS = (1, 3, 4, 6, 6, 6, 6, 6)


@dataclass(frozen=True, slots=True)
class Scale:
    """How large a network may become.

    Args:
        first: Feature maps at full resolution; each stage below has twice as many.
        most: Most feature maps of a stage, in 2-D and in 3-D.
        stages: Most stages.
        residual: With nnU-Net's residual encoder.
    """

    first: int
    most: tuple[int, int]
    stages: int
    residual: bool = False


PROCESSOR = Scale(16, (256, 128), 6)
"""Small enough to train on processor cores: half of nnU-Net's width costs a quarter of its time."""

GRAPHICS = Scale(32, (512, 320), 8)
"""nnU-Net's width."""

LARGE_GRAPHICS = Scale(32, (512, 320), 8, residual=True)
"""nnU-Net's residual encoder, which its authors advise where there is memory for it (arXiv 2404.09556)."""


def network(
    patch: Shape,
    spacing_mm: Vector,
    dims: Literal[2, 3],
    *,
    channels: int,
    classes: int,
    scale: Scale = PROCESSOR,
) -> NetworkSpec:
    """A U-Net for this patch.

    An axis is halved while its feature map keeps at least 4 voxels (6 when it is halved alone) and its spacing is less
    than twice the finest one's, so that voxels become isotropic before the coarse axis is touched. A kernel is 1 along
    an axis that is still coarse, but at the bottom.

    Source: nnU-Net, `get_pool_and_conv_props`.
    """
    size, spacing = list(map(float, patch)), list(spacing_mm)
    axes = [0, 1, 2] if dims == 3 else [1, 2]
    strides: list[Size] = [(1, 1, 1)]
    kernels: list[Size] = [_kernel(spacing, axes)]
    while len(strides) < scale.stages:
        large = [axis for axis in axes if size[axis] >= 2 * _SMALLEST_MAP]
        if not large:
            break
        finest = min(spacing[axis] for axis in large)
        halved = [axis for axis in large if spacing[axis] < 2 * finest]
        if len(halved) == 1 and size[halved[0]] < _SMALLEST_SINGLE:
            break
        strides.append(_size(2 if axis in halved else 1 for axis in range(3)))
        for axis in halved:
            size[axis] /= 2
            spacing[axis] *= 2
        kernels.append(_size(max(pair) for pair in zip(_kernel(spacing, axes), kernels[-1], strict=True)))
    if len(strides) == 1:
        # A U-Net needs one pooling: the smallest patches are padded up to it.
        strides.append(_size(2 if axis in axes else 1 for axis in range(3)))
        kernels.append(_size(3 if axis in axes else 1 for axis in range(3)))
    kernels[-1] = _size(3 if axis in axes else 1 for axis in range(3))
    features = tuple(min(scale.first * 2**stage, scale.most[dims - 2]) for stage in range(len(strides)))
    return NetworkSpec(
        dims=dims,
        channels=channels,
        classes=classes,
        features=features,
        kernels=tuple(kernels),
        strides=tuple(strides),
        deep_supervision=min(3, len(strides) - 1),
        block="residual" if scale.residual else "plain",
        blocks=_BLOCKS[: len(strides)] if scale.residual else (),
    )


def _kernel(spacing: list[float], axes: list[int]) -> Size:
    finest = min(spacing[axis] for axis in axes)
    return _size(3 if axis in axes and spacing[axis] < 2 * finest else 1 for axis in range(3))


def _size(values: Iterable[int]) -> Size:
    z, y, x = values
    return (z, y, x)
