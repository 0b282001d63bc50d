"""How large patch, batch and network may be on a machine: the largest that memory and patience allow."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, prod
from typing import Literal

import numpy as np
from pydantic import Field

from segloop.data.cost import FRAMEWORK_BYTES, loss_seconds, step_bytes, step_seconds
from segloop.data.network import GRAPHICS, LARGE_GRAPHICS, PROCESSOR, Scale, network
from segloop.data.shelf import MEMORY_BYTES
from segloop.errors import PlanError
from segloop.plan import Frozen, LossSpec, NetworkSpec, TrainingSpec
from segloop.volume import Shape, Vector

SMALLEST_EDGE = 8
SQUARES = (256, 512)
"""Patch edges of 2-D plans."""

COVERED = 0.25
"""Share of the median image that a patch must cover, or a network on coarser voxels goes first (nnU-Net)."""

_COARSER = 1.03
# From here on a GPU has room for the residual encoder, which takes about half as much again.
_LARGE_GPU_BYTES = 16 * 2**30
# Squares of 512 pixels leave a GPU of this size a batch of some images.
_WIDE_GPU_BYTES = 8 * 2**30
# nnU-Net's first guess in 3-D: as many voxels as a cube of this edge, as long along each axis in mm.
_LARGEST_CUBE = 256
# A step that shows the network more than this share of all voxels learns the data by heart (nnU-Net).
_MOST_SEEN = 0.05
_MOST_BATCH = {2: 64, 3: 16}
# On a processor a patch that leaves out a rim is better than one filled up with zeros: its steps are nearly twice as
# fast, it learns more in the same time, and patches from other places show the rim.
_MOST_OF = 7 / 8
# Prepared cases lie in memory as float32 with a byte for the label, or in a file where that would be too much.
_FLOAT = 4
# On a processor a step takes as long as its patches are many, and in the same time many small steps teach a 2-D network
# more than few large ones.
_FIRST_BATCH, _LEAST_BATCH = {2: 2, 3: 4}, 2
# Of few data a GPU takes this many patches all the same.
_FEW = {2: 8, 3: 4}


class Budget(Frozen):
    """What training may cost.

    Attributes:
        memory_bytes: Memory of the machine that training may use: of the GPU, or of the process on a CPU.
        device: A `gpu` trains wider networks on larger patches, bounded by memory; on a `cpu` time bounds them.
        step_s: On a CPU, most seconds that a step may take on two cores with bf16 instructions.
        size: Patch edge in pixels for 2-D plans; None lets the planner choose.
    """

    memory_bytes: int = Field(default=8 * 2**30, ge=1)
    device: Literal["cpu", "gpu"] = "cpu"
    step_s: float = Field(default=2.0, gt=0)
    size: int | None = Field(default=None, ge=32)

    @property
    def scale(self) -> Scale:
        """How large networks become on this machine."""
        if self.device == "cpu":
            return PROCESSOR
        return LARGE_GRAPHICS if self.memory_bytes >= _LARGE_GPU_BYTES else GRAPHICS

    def square(self, median: Shape) -> int:
        """Patch edge in pixels for slices of this size."""
        if self.size is not None:
            return self.size
        wide = self.device == "gpu" and self.memory_bytes >= _WIDE_GPU_BYTES and min(median[1:]) >= SQUARES[1]
        return SQUARES[wide]


@dataclass(frozen=True, slots=True)
class Need:
    """What a network has to suit.

    Args:
        median: Voxels along z, y, x of the median image on the training grid.
        spacing_mm: Of that grid.
        voxels: Of all cases together on that grid.
        channels: Of the network's input.
        outputs: Of the network.
        dims: 2 or 3.
        loss: What training makes small, which takes time as well.
        labels: How many there are.
    """

    median: Shape
    spacing_mm: Vector
    voxels: int
    channels: int
    outputs: int
    dims: Literal[2, 3]
    loss: LossSpec
    labels: int


@dataclass(frozen=True, slots=True)
class Fit:
    """What fits.

    Args:
        patch: Voxels along z, y, x.
        batch: Patches per step.
        network: For this patch.
        bytes: Memory that training is reckoned to occupy.
        step_s: Seconds of a step on two cores with bf16 instructions.
    """

    patch: Shape
    batch: int
    network: NetworkSpec
    bytes: int
    step_s: float


def fit_network(need: Need, budget: Budget) -> Fit:
    """The largest patch, up to the median image, whose step fits the budget, with its network and batch.

    On a GPU the patch grows first, with the smallest batch, and then the batch. On a CPU a 3-D batch of some patches
    comes first, since its steps must be short. A 2-D patch whose edge was asked for keeps it.

    Raises:
        PlanError: `plan.memory` with the smallest budget that would do.
    """
    size, batch = _first_size(need, budget), _LEAST_BATCH if budget.device == "gpu" else _FIRST_BATCH[need.dims]
    cheapest: Fit | None = None
    while True:
        fit = _fit(need, budget, size, batch)
        cheapest = fit if cheapest is None or fit.bytes < cheapest.bytes else cheapest
        small = [a for a in range(3 - need.dims, 3) if size[a] - fit.network.divisor[a] >= SMALLEST_EDGE]
        can = small if budget.size is None or need.dims == 3 else []
        remembers = fit.bytes <= budget.memory_bytes
        if remembers and (budget.device == "gpu" or fit.step_s <= budget.step_s or not (can or batch > _LEAST_BATCH)):
            return _with_more(need, budget, size, fit) if budget.device == "gpu" else fit
        if batch > _LEAST_BATCH or (budget.size and need.dims == 2 and batch > 1):
            batch //= 2
        elif can:
            # The axis that covers most of the image gives way first, so that the patch sees as much as it can of each.
            axis = max(can, key=lambda a: (size[a] / need.median[a], size[a]))
            size[axis] -= fit.network.divisor[axis]
        else:
            raise _too_small(budget, cheapest)


def epochs(dims: int, fit: Fit, budget: Budget) -> int:
    """The usual number, and in 2-D on a CPU, whose steps are small, up to four times as many: as much is seen in all.

    Args:
        dims: Of the network.
        fit: Its patch and batch.
        budget: Of the machine.
    """
    usual = TrainingSpec().epochs
    if dims == 3 or budget.device == "gpu":
        return usual
    return usual * min(_FEW[2] // _LEAST_BATCH, max(1, _FEW[2] * SQUARES[0] ** 2 // (fit.batch * prod(fit.patch))))


def _first_size(need: Need, budget: Budget) -> list[float]:
    if need.dims == 2:
        edge = budget.square(need.median)
        return [1.0, *(float(edge if budget.size else min(n, edge)) for n in need.median[1:])]
    edge = (_LARGEST_CUBE**3 * prod(need.spacing_mm)) ** (1 / 3)
    return [
        float(min(n, max(SMALLEST_EDGE, round(edge / d)))) for n, d in zip(need.median, need.spacing_mm, strict=True)
    ]


def _fit(need: Need, budget: Budget, size: list[float], batch: int) -> Fit:
    rounded = (ceil(size[0]), ceil(size[1]), ceil(size[2]))
    spec = network(
        rounded, need.spacing_mm, need.dims, channels=need.channels, classes=need.outputs, scale=budget.scale
    )
    short = budget.device == "cpu" and need.dims == 3
    z, y, x = (_edge(n, d, short) for n, d in zip(rounded, spec.divisor, strict=True))
    patch = (z, y, x)
    occupied = FRAMEWORK_BYTES + step_bytes(spec, patch, batch)
    if budget.device == "cpu":
        # A GPU leaves the prepared cases in the memory of the machine around it.
        occupied += min(need.voxels * (_FLOAT * need.channels + 1), MEMORY_BYTES)
    seconds = step_seconds(spec, patch, batch) + loss_seconds(need.loss, need.labels, patch, batch)
    return Fit(patch, batch, spec, occupied, seconds)


def _edge(length: int, divisor: int, short: bool) -> int:
    """The next multiple up or, if a short step is worth more than a rim, the one below when most of it fits."""
    below = length // divisor * divisor
    return below if short and below >= _MOST_OF * length else ceil(length / divisor) * divisor


def _with_more(need: Need, budget: Budget, size: list[float], fit: Fit) -> Fit:
    """The same patch with the largest batch that fits, up to a twentieth of all voxels per step, or some patches."""
    most = min(_MOST_BATCH[need.dims], max(_FEW[need.dims], int(_MOST_SEEN * need.voxels / prod(fit.patch))))
    for batch in range(most, fit.batch, -1):
        more = _fit(need, budget, size, batch)
        if more.bytes <= budget.memory_bytes:
            return more
    return fit


def _too_small(budget: Budget, fit: Fit) -> PlanError:
    enough = ceil(fit.bytes / 2**20)
    return PlanError(
        f"No plan fits {budget.memory_bytes / 2**20:.0f} MiB: the smallest, a patch of {'×'.join(map(str, fit.patch))} "
        f"and a batch of {fit.batch}, needs {enough} MiB with the framework itself.",
        code="plan.memory",
        found=budget.memory_bytes,
        expected=enough * 2**20,
        hint=f"Give at least {enough} MiB, as in --memory {enough}MiB.",
    )


def fit_coarser(need: Need, fit: Fit, budget: Budget) -> tuple[Need, Fit] | None:
    """The same on voxels so coarse that a patch covers a quarter of the image; None where the patch does already.

    The spacing grows in steps of 3 %, the finer axes first until no axis is more than twice as coarse as another. None
    as well when the coarser image would still have more than half of the voxels, since little would be won.

    Source: nnU-Net, `plan_experiment`.
    """
    spacing, median = np.array(need.spacing_mm), np.array(need.median, float)
    coarse: tuple[Need, Fit] | None = None
    shrunk = median
    while prod((coarse[1] if coarse else fit).patch) / prod(shrunk) < COVERED:
        fine = spacing.max() / spacing > 2
        spacing = spacing * np.where(fine if fine.any() else True, _COARSER, 1.0)
        shrunk = np.maximum(np.round(median * need.spacing_mm / spacing), 1)
        z, y, x = (float(d) for d in spacing)
        share = prod(shrunk) / prod(median)
        voxels = round(need.voxels * share)
        smaller = replace(need, median=_shape(shrunk), spacing_mm=(z, y, x), voxels=voxels)
        coarse = smaller, fit_network(smaller, budget)
    return coarse if coarse and prod(shrunk) <= prod(median) / 2 else None


def _shape(size: np.ndarray) -> Shape:
    z, y, x = (int(n) for n in size)
    return (z, y, x)


__all__ = ["COVERED", "SMALLEST_EDGE", "SQUARES", "Budget", "Fit", "Need", "fit_coarser", "fit_network"]
