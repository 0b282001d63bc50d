"""Uncompressed grey pixels, straight from their place in the file."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int16, Shaped
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from segloop.io.dicom.header import Header, text, transfer_syntax, value_of


@dataclass(frozen=True, slots=True)
class Native:
    """Where the pixels of a single-frame grey file lie, and what they mean.

    Attributes:
        offset: Bytes before them.
        kind: NumPy's name of how one is stored: `<u2`, `<i2`, `u1` or `i1`.
        shape: Rows and columns.
        below: Bits under the value's lowest one.
        above: Bits over its highest one.
        slope: RescaleSlope.
        intercept: RescaleIntercept.
        inverse: Whether they are MONOCHROME1.
    """

    offset: int
    kind: str
    shape: tuple[int, int]
    below: int
    above: int
    slope: float
    intercept: float
    inverse: bool

    def read(self, path: Path) -> Shaped[np.ndarray, "y x"]:
        """The stored values, without the bits around them.

        Raises:
            ValueError: The file is shorter than it was.
        """
        rows, columns = self.shape
        values = np.fromfile(path, self.kind, rows * columns, offset=self.offset).reshape(rows, columns)
        self._clear(values)
        return values

    def read_into(self, path: Path, out: Int16[np.ndarray, "y x"]) -> bool:
        """Read and rescale in place, with no second array; False, and `out` undefined, where int16 cannot hold it.

        Raises:
            ValueError: The file is shorter than it was.
        """
        shift = round(self.intercept) if math.isfinite(self.intercept) else 0
        if (
            self.inverse
            or self.slope != 1
            or shift != self.intercept
            or self.kind[0] != "<"
            or sys.byteorder != "little"
        ):
            return False
        if out.shape != self.shape or not out.flags.c_contiguous:
            return False
        with path.open("rb", buffering=0) as stream:
            stream.seek(self.offset)
            if stream.readinto(out.data.cast("B")) != out.nbytes:
                raise ValueError(f"{out.nbytes} bytes of pixels are expected")
        stored = out.view(self.kind)
        self._clear(stored)
        bits = 16 - self.above - self.below
        low, high = (0, 2**bits - 1) if self.kind[1] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        if not _fits(low + shift, high + shift) and not _fits(int(stored.min()) + shift, int(stored.max()) + shift):
            return False
        # Modulo 2 to the 16th, which is no matter where the result fits.
        out += np.array(shift).astype(np.int16)
        return True

    def _clear(self, stored: Shaped[np.ndarray, "y x"]) -> None:
        if self.above and not self.below and stored.dtype.kind == "u":
            stored &= stored.dtype.type((1 << stored.dtype.itemsize * 8 - self.above) - 1)
        elif self.above or self.below:
            stored <<= self.above
            stored >>= self.above + self.below


def _fits(low: int, high: int) -> bool:
    return low >= np.iinfo(np.int16).min and high <= np.iinfo(np.int16).max


def native_of(header: Header) -> Native | None:
    """How to read a file's pixels without decoding; None for any but plain single-frame grey ones."""
    dataset = header.dataset
    if not header.pixels_at or transfer_syntax(dataset) not in (ImplicitVRLittleEndian, ExplicitVRLittleEndian):
        return None
    colours = text(dataset, "PhotometricInterpretation")
    if colours not in ("MONOCHROME1", "MONOCHROME2") or value_of(dataset, "ModalityLUTSequence"):
        return None
    # An enhanced object of one frame says in its functional groups what its values mean.
    if value_of(dataset, "PerFrameFunctionalGroupsSequence") or value_of(dataset, "SharedFunctionalGroupsSequence"):
        return None
    try:
        return _native(header.pixels_at, dataset, colours == "MONOCHROME1")
    # A malformed number: the general way says what is wrong with it.
    except (AttributeError, TypeError, ValueError):
        return None


def _native(offset: int, dataset: Dataset, inverse: bool) -> Native | None:
    allocated, used, high, signed = (
        int(value_of(dataset, name)) for name in ("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation")
    )
    samples, frames = (int(value_of(dataset, name) or 1) for name in ("SamplesPerPixel", "NumberOfFrames"))
    if (
        samples != 1
        or frames != 1
        or allocated not in (8, 16)
        or not 0 < used <= high + 1 <= allocated
        or signed not in (0, 1)
    ):
        return None
    slope, intercept = value_of(dataset, "RescaleSlope"), value_of(dataset, "RescaleIntercept")
    return Native(
        offset,
        f"{'<' if allocated == 16 else ''}{'iu'[1 - signed]}{allocated // 8}",
        (int(value_of(dataset, "Rows")), int(value_of(dataset, "Columns"))),
        high + 1 - used,
        allocated - 1 - high,
        1.0 if slope in (None, "") else float(slope),
        0.0 if intercept in (None, "") else float(intercept),
        inverse,
    )
