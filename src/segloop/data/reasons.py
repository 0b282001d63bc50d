"""Sizes in words: what a researcher is told of patch, batch, network and cost."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from segloop.data.sizing import COVERED, Budget, Fit, Need, epochs
from segloop.volume import Shape


def about_size(need: Need, fit: Fit, budget: Budget) -> list[str]:
    """One sentence each on patch, batch, depth, width and cost."""
    return [_patch(need, fit, budget), _batch(need, fit, budget), *_network(fit), _cost(fit, budget)]


def about_coverage(need: Need, fit: Fit) -> str:
    """How much of the median image one patch shows."""
    return f"{min(prod(fit.patch) / prod(need.median), 1):.0%} of the median image ({by(need.median)} voxels)"


def by(shape: Sequence[int]) -> str:
    """`40×56×40`."""
    return "×".join(str(int(n)) for n in shape)


def _patch(need: Need, fit: Fit, budget: Budget) -> str:
    if need.dims == 2:
        return f"Patch {by(fit.patch[1:])} pixels, {_square(need, fit, budget)}."
    pairs = list(zip(fit.patch, need.median, fit.network.divisor, strict=True))
    if all(p > m - d for p, m, d in pairs) and any(p < m for p, m, _ in pairs) and budget.device == "cpu":
        return (
            f"Patch {by(fit.patch)} voxels: nearly the whole median image ({by(need.median)}), rounded to multiples of "
            f"{by(fit.network.divisor)} that the network can halve; down where little is lost, for short steps."
        )
    if all(p >= m for p, m, _ in pairs):
        return (
            f"Patch {by(fit.patch)} voxels: the whole median image ({by(need.median)}), rounded up to multiples of "
            f"{by(fit.network.divisor)} that the network can halve."
        )
    bound = "memory allows" if budget.device == "gpu" or fit.step_s < 0.7 * budget.step_s else "a short step allows"
    return f"Patch {by(fit.patch)} voxels, as large as {bound}: it shows {about_coverage(need, fit)}."


def _square(need: Need, fit: Fit, budget: Budget) -> str:
    if budget.size is not None:
        return f"the edge of {budget.size} that was asked for"
    image = by(need.median[1:])
    if max(need.median[1:]) <= max(fit.patch[1:]):
        return f"the whole median image ({image})"
    if max(fit.patch) > budget.square(need.median) - fit.network.divisor[2] and budget.device == "cpu":
        return f"a part of the median image ({image}): on a processor many small squares teach more than few large ones"
    return f"as large a part of the median image ({image}) as leaves memory for a batch"


def _batch(need: Need, fit: Fit, budget: Budget) -> str:
    if budget.device == "gpu" and fit.batch > 2:
        return (
            f"Batch {fit.batch}: as many patches as memory holds, but few enough that one step does not show a large "
            "part of all cases, which the network would learn by heart."
        )
    if need.dims == 2 and budget.device == "cpu":
        why = (
            f"on a processor many small steps teach more than few large ones ({epochs(2, fit, budget)} epochs of them)"
        )
    else:
        why = "enough for a steady gradient" if fit.batch > 2 else "two, so that the patch may be larger"
    return f"Batch {fit.batch}: {why}; the images normalise one by one, so a small batch does no harm."


def _network(fit: Fit) -> list[str]:
    spec = fit.network
    axes = [(name, axis) for axis, name in enumerate("zyx") if axis >= 3 - spec.dims]
    halvings = {name: sum(stride[axis] == 2 for stride in spec.strides) for name, axis in axes}
    times = ", ".join(f"{name} {count}×" for name, count in halvings.items())
    bottom = by([p // d for p, d in zip(fit.patch, spec.divisor, strict=True)][3 - spec.dims :])
    uneven = len(set(halvings.values())) > 1 and any(1 in kernel[3 - spec.dims :] for kernel in spec.kernels)
    depth = (
        f"Depth {len(spec.features)} stages: an axis is halved while at least 4 voxels are left ({times}), down to "
        f"maps of {bottom}"
    )
    depth += "; coarse axes join, and get kernels, once the fine ones are as coarse." if uneven else "."
    kind = (
        "residual blocks on the way down, which train deeper networks better where memory allows"
        if spec.block == "residual"
        else "two convolutions at each stage"
    )
    return [depth, f"Width {spec.features[0]} to {max(spec.features)} feature maps, doubled at each halving; {kind}."]


def _cost(fit: Fit, budget: Budget) -> str:
    memory = f"about {fit.bytes / 2**30:.1f} of {budget.memory_bytes / 2**30:.1f} GiB"
    if budget.device == "gpu":
        return f"Cost: training occupies {memory} of the GPU's memory (reckoned for float32; bfloat16 needs less)."
    return (
        f"Cost: training occupies {memory} of memory, and a step takes about {fit.step_s:.1f} s on two processor cores."
    )


def about_cascade(need: Need, fit: Fit, coarse: Shape) -> str:
    """Why a coarser network goes first."""
    return (
        f"Cascade: a patch at full resolution shows only {about_coverage(need, fit)}, less than {COVERED:.0%}, so a "
        f"network on coarser voxels, whose patch shows a quarter or more of {by(coarse)} voxels, segments first and "
        "its labels become further input channels."
    )
