"""Prepared cases: in memory while they fit, beyond that in a file that no other process can see."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np

from segloop.errors import ServiceError

MEMORY_BYTES = 2**30
"""Most that images and labels of the cases may take in memory together."""


class Shelf:
    """Arrays side by side, read-only once they are taken down.

    The file has no name, so that it is gone with the process however that ends.

    Args:
        folder: Where the file lies once there is one, and is made then; the system's place for temporary files if None.
        most_bytes: Beyond so many all arrays are in the file.
    """

    def __init__(self, folder: Path | None = None, most_bytes: int | None = None) -> None:
        self.folder, self.most_bytes = folder, MEMORY_BYTES if most_bytes is None else most_bytes
        self._held: list[np.ndarray] = []
        self._file: IO[bytes] | None = None
        self._shapes: list[tuple[tuple[int, ...], np.dtype[Any], int]] = []
        self._bytes = 0

    def put(self, array: np.ndarray) -> None:
        """One more array.

        Raises:
            ServiceError: `disk.full` when it cannot be written.
        """
        array = np.ascontiguousarray(array)
        self._bytes += array.nbytes
        if self._file is None and self._bytes <= self.most_bytes:
            self._held.append(array)
            return
        try:
            if self._file is None:
                if self.folder is not None:
                    self.folder.mkdir(parents=True, exist_ok=True)
                # It lives as long as the arrays that are read from it, not as long as a block of code.
                self._file = TemporaryFile(dir=self.folder)  # noqa: SIM115
                held, self._held = self._held, []
                for one in held:
                    self._write(self._file, one)
            self._write(self._file, array)
            # Nothing is left in a buffer, which a full disk would only refuse later.
            self._file.flush()
        except OSError as fault:
            raise ServiceError(
                f"The prepared cases, {self._bytes / 2**30:.1f} GiB so far, do not fit into memory and cannot be "
                f"written: {fault.strerror}.",
                code="disk.full",
                found=fault.strerror,
                hint="Give the run's folder room, or plan with a coarser preparation.spacing_mm.",
            ) from fault

    def arrays(self) -> list[np.ndarray]:
        """All of them, in the order in which they came."""
        if self._file is None:
            return self._held
        # One mapping for all: each of its own would keep a file open.
        whole = np.memmap(self._file, np.uint8, mode="r")
        parts = [
            np.asarray(whole[start : start + prod(shape) * kind.itemsize]).view(kind).reshape(shape)
            for shape, kind, start in self._shapes
        ]
        self._file.close()
        return parts

    def _write(self, file: IO[bytes], array: np.ndarray) -> None:
        start = file.tell()
        file.write(array.data)
        # Whatever comes next begins where any number may.
        file.write(bytes(-array.nbytes % 8))
        self._shapes.append((array.shape, array.dtype, start))


def fits(arrays: Iterable[np.ndarray]) -> bool:
    """Whether arrays are few enough to be held in memory."""
    return sum(array.nbytes for array in arrays) <= MEMORY_BYTES


__all__ = ["MEMORY_BYTES", "Shelf", "fits"]
