"""What a batch needs of cases that are too many for memory: around each patch, as far as augmentation reaches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Protocol

import numpy as np
from jaxtyping import Float, Int, UInt8

from segloop.data.augment import BLOCK
from segloop.data.shelf import fits
from segloop.errors import PlanError
from segloop.plan import Plan, Size


class Case(Protocol):
    """A prepared image and the class of each voxel, wherever they lie."""

    @property
    def image(self) -> Float[np.ndarray, "z y x c"]:
        """Prepared voxels."""

    @property
    def labels(self) -> UInt8[np.ndarray, "z y x"]:
        """0 background, 1 the Plan's first label, and so on."""


def surroundings(cases: Sequence[Case], plan: Plan, reach: Size) -> Surroundings | None:
    """What batches of these cases are made from where they are too many for memory; None where they are not.

    Raises:
        PlanError: `plan.memory` when a batch would be larger than it can be counted.
    """
    if fits(array for case in cases for array in (case.image, case.labels)):
        return None
    around = Surroundings(cases, reach, plan.network.dims)
    voxels = plan.training.batch * prod(around.shape)
    if voxels >= 2**31:
        raise PlanError(
            f"A batch of {plan.training.batch} patches reads {voxels:.1e} voxels around them.",
            code="plan.memory",
            found=voxels,
            expected=2**31 - 1,
            hint="Plan a smaller training.batch or training.patch, or less rotation and scaling.",
        )
    return around


@dataclass(frozen=True, eq=False)
class Surroundings:
    """Reads the surroundings of patches, so that augmenting them gives what it gives on whole cases.

    Args:
        cases: At least one, with equal channels.
        reach: Voxels along z, y, x from a patch's middle to the furthest that augmentation may read
            (`Augment.reach`); 0 along z in 2-D.
        dims: 2 or 3.
    """

    cases: Sequence[Case]
    reach: Size
    dims: int

    @property
    def border(self) -> Size:
        """Voxels of 0 before it along z, y, x, as a `Pool` has them."""
        return (1 if self.dims == 3 else 0, 1, 1)

    @property
    def shape(self) -> Size:
        """Voxels of what is read for a patch along z, y, x, border included; a multiple of `BLOCK` along x."""
        z, y, x = (int(n) for n in self._read + 2 * np.asarray(self.border))
        return (z, y, -(-x // BLOCK) * BLOCK)

    @property
    def _wanted(self) -> np.ndarray:
        """Voxels along z, y, x within reach of a middle that may lie between voxels."""
        return np.asarray([1 if self.dims == 2 and axis == 0 else 2 * far + 2 for axis, far in enumerate(self.reach)])

    @cached_property
    def _read(self) -> np.ndarray:
        """Those that are read: no more than the largest case has."""
        largest = np.max([case.labels.shape for case in self.cases], axis=0)
        taken: np.ndarray = np.minimum(self._wanted, largest)
        return taken

    @property
    def channels(self) -> int:
        """Of the images."""
        return int(self.cases[0].image.shape[-1])

    @property
    def bytes(self) -> int:
        """Memory of what is read for one patch."""
        return prod(self.shape) * (4 * self.channels + 1)

    def read(
        self, case: Int[np.ndarray, " b"], centre: Float[np.ndarray, "b 3"]
    ) -> tuple[Float[np.ndarray, "b z y x c"], UInt8[np.ndarray, "b z y x"], Float[np.ndarray, "b 3"]]:
        """What lies around each of b patches.

        Args:
            case: Which one each patch comes from.
            centre: Middle of each patch in voxels of its case.

        Returns:
            Images and classes, 0 beyond the case and in the border, and the middle of each patch in voxels of what
            is read for it, border not counted.
        """
        batch, shape, border = len(case), self.shape, np.asarray(self.border)
        images = np.zeros((batch, *shape, self.channels), np.float32)
        labels = np.zeros((batch, *shape), np.uint8)
        # Where no case is longer than what is read, that is the whole of the case.
        near = np.floor(centre).astype(np.int64) - np.asarray(self.reach)
        first = np.where(self._read < self._wanted, 0, near)
        inner = self._read
        for i, number in enumerate(case):
            source = self.cases[int(number)]
            low, high = np.maximum(first[i], 0), np.minimum(first[i] + inner, source.labels.shape)
            if (low >= high).any():
                continue
            taken = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
            place = tuple(
                slice(int(a), int(b)) for a, b in zip(low - first[i] + border, high - first[i] + border, strict=True)
            )
            images[i][place] = source.image[taken]
            labels[i][place] = source.labels[taken]
        return images, labels, (centre - first).astype(np.float32)


__all__ = ["Surroundings", "surroundings"]
