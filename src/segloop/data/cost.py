"""What a training costs: memory and time of a step of a network, before anything is trained.

The constants were fitted to measured steps (`benchmarks/results/training_memory.json`). An ImageNet encoder is not
reckoned here; the planner never chooses one.
"""

from __future__ import annotations

from math import prod

from segloop.plan import LossSpec, NetworkSpec
from segloop.volume import Shape

FRAMEWORK_BYTES = 600 * 2**20
"""Resident memory of a process that has TensorFlow loaded, or of a GPU's context with its libraries."""

# A step's graph, its threads and its buffers, whatever the network.
_STEP_BYTES = 128 * 2**20
# What a step keeps at once over what its layers must remember: gradients on their way back and convolution workspaces.
_WORKSPACE = 1.5
# Each weight with its gradient, two moments of the optimiser and the moving average.
_COPIES = 5
_FLOAT = 4
# Seconds per thousand million multiply-adds and per million remembered numbers, on one core with bf16 instructions.
_S_PER_GMAC, _S_PER_MILLION = 0.0086, 0.0050
# Seconds per voxel, label and erosion of a soft skeleton, forward and back, on one core.
_S_PER_EROSION = 3.3e-7
_CORES = 2


def parameters(spec: NetworkSpec) -> int:
    """Weights of the network, near enough for memory: kernels of convolutions and of up-sampling."""
    return sum(weights for weights, _ in _layers(spec))


def remembered(spec: NetworkSpec, patch: Shape, batch: int) -> int:
    """Numbers that the layers of one training step keep for the way back."""
    total, voxels = 0, prod(patch) * batch
    for stage, (features, stride) in enumerate(zip(spec.features, spec.strides, strict=True)):
        voxels //= prod(stride)
        bottom = stage == len(spec.features) - 1
        # Per convolution its output, the normalised and the activated one; a residual block also keeps its sum.
        down = 3 * _convolutions(spec, stage) + (_blocks(spec, stage) if spec.block == "residual" else 0)
        # The decoder starts from two tensors joined.
        up = 0 if bottom else 3 * spec.convolutions + 2 + (2 if spec.attention else 0)
        total += voxels * features * (down + up)
    return total + prod(patch) * batch * (spec.channels + 2 * spec.classes)


def activation_bytes(spec: NetworkSpec, patch: Shape, batch: int) -> int:
    """Bytes of activations that one float32 training step keeps; weights and temporary buffers come on top."""
    return remembered(spec, patch, batch) * _FLOAT


def step_bytes(spec: NetworkSpec, patch: Shape, batch: int) -> int:
    """Bytes that training occupies beyond a process with the framework loaded, at the height of a float32 step."""
    weights = parameters(spec) * _COPIES * _FLOAT
    return _STEP_BYTES + weights + int(_WORKSPACE * activation_bytes(spec, patch, batch))


def step_seconds(spec: NetworkSpec, patch: Shape, batch: int) -> float:
    """Seconds of one training step on two processor cores with bf16 instructions; about 1.5 times that without."""
    voxels, products = prod(patch) * batch, 0.0
    for weights, shrink in _layers(spec):
        products += weights * voxels / shrink
    # One way forward and two back: for the inputs and for the weights.
    return (3e-9 * products * _S_PER_GMAC + 1e-6 * remembered(spec, patch, batch) * _S_PER_MILLION) / _CORES


def loss_seconds(loss: LossSpec, labels: int, patch: Shape, batch: int) -> float:
    """Seconds that a loss takes beyond Dice and cross-entropy, which cost next to nothing, on the same two cores."""
    if loss.extra != "cldice":
        return 0.0
    # Thinning a mask voxel by voxel passes over it some times for each of the iterations.
    return _S_PER_EROSION * loss.iterations * labels * prod(patch) * batch / _CORES


def _layers(spec: NetworkSpec) -> list[tuple[int, int]]:
    """(weights, voxels of the patch per voxel of the layer) of every layer that multiplies."""
    layers: list[tuple[int, int]] = []
    shrink, before = 1, spec.channels
    for stage, (features, kernel, stride) in enumerate(zip(spec.features, spec.kernels, spec.strides, strict=True)):
        shrink *= prod(stride)
        for _ in range(_convolutions(spec, stage)):
            layers.append((prod(kernel) * before * features, shrink))
            before = features
        if stage < len(spec.features) - 1:
            below = spec.features[stage + 1]
            # Each voxel of the stage below becomes a block of voxels here.
            layers.append((below * features * prod(spec.strides[stage + 1]), shrink * prod(spec.strides[stage + 1])))
            layers.append((prod(kernel) * 2 * features * features, shrink))
            layers += [(prod(kernel) * features * features, shrink)] * (spec.convolutions - 1)
            layers.append((features * spec.classes, shrink))
    return layers


def _blocks(spec: NetworkSpec, stage: int) -> int:
    return spec.blocks[stage] if spec.blocks else 1


def _convolutions(spec: NetworkSpec, stage: int) -> int:
    """Convolutions of an encoder stage; a residual block has two."""
    return 2 * _blocks(spec, stage) if spec.block == "residual" else spec.convolutions
