"""One file's frames as stored values, and how these become real ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from jaxtyping import Float, Shaped
from pydicom import Dataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
from pydicom.pixels.utils import iter_pixels, pixel_array
from pydicom.uid import DeflatedExplicitVRLittleEndian

from segloop.io.dicom.display import displayed
from segloop.io.dicom.refs import InstanceRef

_WITH_UNIT = frozenset({"CT", "PT", "NM"})
"""Modalities whose values are measurements: MONOCHROME1 only says how to show them."""


@dataclass(frozen=True, slots=True)
class Plane:
    """Stored values of one slice and how they become real ones: times `slope`, plus `intercept`.

    Attributes:
        z: Which of the series' slices it is.
        stored: Rows, columns and, for colour, three channels.
        slope: Factor.
        intercept: Summand.
    """

    z: int
    stored: Shaped[np.ndarray, "y x ..."]
    slope: float = 1.0
    intercept: float = 0.0

    def real(self) -> Float[np.ndarray, "y x"]:
        """Real values in double precision, because large integers times a slope lose digits in single precision."""
        real: np.ndarray = self.stored.astype(np.float64) * self.slope + self.intercept
        return real


@dataclass(frozen=True, slots=True)
class Part:
    """What one thread decodes at a time.

    Attributes:
        file: A file.
        frames: Some of its frame numbers; empty for a single-frame file.
        slices: Which of the series' slices these are.
    """

    file: InstanceRef
    frames: tuple[int, ...]
    slices: tuple[int, ...]


def parts(files: Sequence[InstanceRef], pieces: int) -> list[Part]:
    """Every slice of the files; a file of many frames in so many pieces, since its long header is read for each."""
    found: list[Part] = []
    for file in files:
        size = -(-len(file.slices) // pieces)
        for begin in range(0, len(file.slices), size):
            end = begin + size
            found.append(Part(file, file.frames[begin:end], file.slices[begin:end]))
    return found


def planes_of(part: Part, modality: str, display: bool) -> Iterator[Plane]:
    """The slices of one part; only its own frames are read from a multi-frame file.

    Args:
        part: From `parts`.
        modality: Of the series.
        display: Give values between 0 (black) and 1 (white), as a viewer shows them.

    Raises:
        Exception: Whatever the decoder of the file's transfer syntax raises for damaged pixels.
    """
    path, native = part.file.path, part.file.native
    if native is not None and not display:
        stored = native.read(path)
        if native.inverse and modality not in _WITH_UNIT:
            stored = _inverted(stored, stored.dtype.itemsize * 8 - native.above - native.below)
        yield Plane(part.slices[0], stored, native.slope, native.intercept)
        return
    if not part.frames:
        dataset = _whole(path)
        yield _plane(part.slices[0], _pixels(dataset), dataset, _rescale(dataset), modality, display)
        return
    dataset = pydicom.dcmread(path, stop_before_pixels=True, force=True)
    indices = [number - 1 for number in part.frames]
    syntax = getattr(dataset, "file_meta", Dataset()).get("TransferSyntaxUID")
    # The library finds single frames neither in a deflated file nor in one that does not say how it is encoded.
    by_itself = syntax not in (None, DeflatedExplicitVRLittleEndian)
    decoded = iter_pixels(path if by_itself else _whole(path), indices=indices)
    for number, z, stored in zip(part.frames, part.slices, decoded, strict=True):
        stated = _frame_header(dataset, number)
        yield _plane(z, stored, stated, _rescale(stated), modality, display)


def _whole(path: Path) -> Dataset:
    """A file with its pixels; one that does not say how it is encoded is taken as the standard's default."""
    dataset = pydicom.dcmread(path, force=True)
    if "TransferSyntaxUID" not in getattr(dataset, "file_meta", Dataset()):
        dataset.ensure_file_meta()
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    return dataset


def _plane(
    z: int,
    stored: Shaped[np.ndarray, "y x ..."],
    dataset: Dataset,
    rescale: tuple[float, float],
    modality: str,
    display: bool,
) -> Plane:
    stored = stored.astype(stored.dtype.newbyteorder("="), copy=False)
    colours = dataset.get("PhotometricInterpretation")
    if colours == "PALETTE COLOR":
        return Plane(z, _eight_bits(apply_color_lut(stored, dataset)))
    if stored.ndim == 3:
        return Plane(z, stored)
    inverse = colours == "MONOCHROME1"
    bits = int(dataset.get("BitsStored") or stored.dtype.itemsize * 8)
    lut = dataset.get("ModalityLUTSequence")
    if lut:
        stored, rescale = apply_modality_lut(stored, dataset), (1.0, 0.0)
        bits = int(lut[0].LUTDescriptor[2])
    if display:
        shown = displayed(Plane(z, stored, *rescale).real(), dataset)
        return Plane(z, 1 - shown if inverse else shown)
    if inverse and modality not in _WITH_UNIT and stored.dtype.kind in "ui":
        stored = _inverted(stored, bits)
    return Plane(z, stored, *rescale)


def _inverted(stored: Shaped[np.ndarray, "y x"], bits: int) -> Shaped[np.ndarray, "y x"]:
    """The lowest value of so many bits becomes the highest and the other way round."""
    return ~stored if stored.dtype.kind == "i" else stored.dtype.type(2**bits - 1) - stored


def _rescale(dataset: Dataset) -> tuple[float, float]:
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    return (1.0 if slope in (None, "") else float(slope), 0.0 if intercept in (None, "") else float(intercept))


def _frame_header(dataset: Dataset, number: int) -> Dataset:
    """What the header states about pixels, with what holds for one frame alone: its rescale and its window."""
    stated = dataset.group_dataset(0x0028)
    groups = (*dataset.get("SharedFunctionalGroupsSequence", ()), dataset.PerFrameFunctionalGroupsSequence[number - 1])
    for group in groups:
        for macro in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            items: Any = group.get(macro)
            if items:
                stated.update(items[0])
    return stated


def _pixels(dataset: Dataset) -> Shaped[np.ndarray, "y x ..."]:
    """Stored values without what stands in the bits around them.

    pydicom clears the bits above BitsStored. Where the value stands higher than that (HighBit), as old files have it,
    those below are shifted out here.

    Source: DICOM PS3.5 8.1.1, Pixel data encoding of related data elements.
    """
    used, high = int(dataset.get("BitsStored") or 0), int(dataset.get("HighBit") or 0)
    # What does not say how many bits it uses pydicom refuses.
    if not used or high < used or dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        return pixel_array(dataset)
    dataset.BitsStored = high + 1
    stored = pixel_array(dataset)
    dataset.BitsStored = used
    return stored >> (high + 1 - used)


def _eight_bits(colour: Shaped[np.ndarray, "y x 3"]) -> Shaped[np.ndarray, "y x 3"]:
    """Colours of a 16-bit palette as the 8 bits that other colour images have."""
    return colour if colour.dtype == np.uint8 else (colour >> 8).astype(np.uint8)
