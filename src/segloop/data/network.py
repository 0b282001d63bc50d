"""The U-Net that suits a patch: pooling and kernels per axis, feature maps, and what a training step of it costs."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import Literal

from segloop.plan import NetworkSpec, Size
from segloop.volume import Shape, Vector

_SMALLEST_MAP = 4
_FIRST_FEATURES = 16
_MOST_FEATURES = {2: 256, 3: 128}
_MOST_STAGES = 6
# Tensors kept per convolution for the way back: its output, the normalised and the activated one.
_TENSORS = 3
_BYTES = 4


def network(patch: Shape, spacing_mm: Vector, dims: Literal[2, 3], *, channels: int, classes: int) -> NetworkSpec:
    """A plain U-Net for this patch.

    An axis is halved while its feature map keeps at least 4 voxels and its spacing is less than twice the finest one's,
    so that voxels become isotropic before the coarse axis is touched. A kernel is 1 along an axis that is still coarse.

    Source: nnU-Net, `get_pool_and_conv_props`.
    """
    size, spacing = list(map(float, patch)), list(spacing_mm)
    axes = [0, 1, 2] if dims == 3 else [1, 2]
    strides: list[Size] = [(1, 1, 1)]
    kernels: list[Size] = [_kernel(spacing, axes)]
    while len(strides) < _MOST_STAGES:
        large = [axis for axis in axes if size[axis] >= 2 * _SMALLEST_MAP]
        if not large:
            break
        finest = min(spacing[axis] for axis in large)
        halved = [axis for axis in large if spacing[axis] < 2 * finest]
        strides.append(_size(2 if axis in halved else 1 for axis in range(3)))
        for axis in halved:
            size[axis] /= 2
            spacing[axis] *= 2
        kernels.append(_size(max(pair) for pair in zip(_kernel(spacing, axes), kernels[-1], strict=True)))
    if len(strides) == 1:
        # A U-Net needs one pooling: the smallest patches are padded up to it.
        strides.append(_size(2 if axis in axes else 1 for axis in range(3)))
        kernels.append(_size(3 if axis in axes else 1 for axis in range(3)))
    features = tuple(min(_FIRST_FEATURES * 2**stage, _MOST_FEATURES[dims]) for stage in range(len(strides)))
    return NetworkSpec(
        dims=dims,
        channels=channels,
        classes=classes,
        features=features,
        kernels=tuple(kernels),
        strides=tuple(strides),
        deep_supervision=min(3, len(strides) - 1),
    )


def activation_bytes(spec: NetworkSpec, patch: Shape, batch: int) -> int:
    """Bytes of activations that one float32 training step keeps; weights and temporary buffers come on top.

    An upper estimate for planning: bf16 halves it, and a framework that fuses keeps less.
    """
    total = 0
    voxels = prod(patch) * batch
    for stage, (features, stride) in enumerate(zip(spec.features, spec.strides, strict=True)):
        voxels //= prod(stride)
        # Encoder and decoder, and the concatenation that the decoder starts from; the bottom stage has no decoder.
        passes = 1 if stage == len(spec.features) - 1 else 2
        total += voxels * features * spec.convolutions * passes * _TENSORS
        total += voxels * features * 2 if passes == 2 else 0
    return (total + prod(patch) * batch * (spec.channels + 2 * spec.classes)) * _BYTES


def _kernel(spacing: list[float], axes: list[int]) -> Size:
    finest = min(spacing[axis] for axis in axes)
    return _size(3 if axis in axes and spacing[axis] < 2 * finest else 1 for axis in range(3))


def _size(values: Iterable[int]) -> Size:
    z, y, x = values
    return (z, y, x)
