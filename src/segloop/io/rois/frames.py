"""The frames of a DICOM segmentation: where each lies, whose it is, and its pixels, packed or compressed."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Integer
from pydicom import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import ExplicitVRBigEndian, RLELossless

from segloop.io.rois.reference import damaged

_RLE_HEADER = 64


@dataclass(frozen=True, slots=True)
class SegFrame:
    """One frame.

    Attributes:
        index: Place in the file, from 0.
        segment: Number of its segment; None in a label map, whose pixels say it.
        position: Of the first pixel's centre, LPS mm; empty where the source has no place in a patient.
        axes: Unit vectors along a row (growing column) and down a column (growing row).
        spacing: Between rows and between columns, mm.
        between_mm: Stated distance to the next frame; None when unstated.
        sources: Images it was drawn on: SOP instance UID and frame number (0 for a single-frame file).
    """

    index: int
    segment: int | None
    position: tuple[float, ...]
    axes: tuple[float, ...]
    spacing: tuple[float, ...]
    between_mm: float | None
    sources: tuple[tuple[str, int], ...]


def frames_of(dataset: Dataset, path: Path) -> tuple[SegFrame, ...]:
    """The frames as the functional groups describe them, in the order of the file.

    Raises:
        InputError: `input.unreadable` when a group is absent or malformed.
    """
    try:
        count = int(dataset.get("NumberOfFrames") or 1)
        groups = list(dataset.get("PerFrameFunctionalGroupsSequence") or ())
        shared = (dataset.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
        found = tuple(_frame(i, group, shared) for i, group in enumerate(groups))
    except (AttributeError, IndexError, TypeError, ValueError) as fault:
        raise damaged(path, "a number in its functional groups is malformed") from fault
    if len(found) != count or count == 0:
        raise damaged(path, f"it states {count} frames and describes {len(found)}")
    return found


def pixels_of(
    dataset: Dataset, wanted: Sequence[int], path: Path
) -> Iterator[tuple[int, Integer[np.ndarray, "rows columns"]]]:
    """Index and stored values of the wanted frames (rising), decoded one at a time.

    Frames of one bit are unpacked here: they need not begin at a byte, and pydicom decodes no run lengths of bits.

    Raises:
        InputError: `input.unreadable`.
    """
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    try:
        syntax = dataset.file_meta.TransferSyntaxUID
        if int(dataset.BitsAllocated) > 1:
            yield from zip(wanted, iter_pixels(dataset, indices=list(wanted)), strict=True)
            return
        if syntax == ExplicitVRBigEndian:
            raise damaged(path, "single bits in big endian words are not understood")
        size = rows * columns
        if not syntax.is_encapsulated:
            packed = np.frombuffer(dataset.PixelData, np.uint8)
            for index in wanted:
                yield index, _bits(packed, index * size, size).reshape(rows, columns)
            return
        if syntax != RLELossless:
            raise damaged(path, f"single bits compressed as {syntax.name} are not understood")
        compressed = list(generate_frames(dataset.PixelData, number_of_frames=int(dataset.NumberOfFrames)))
        for index in wanted:
            plain = np.frombuffer(_run_lengths(compressed[index], (size + 7) // 8), np.uint8)
            yield index, _bits(plain, 0, size).reshape(rows, columns)
    # Each decoder has exceptions of its own; the file is at fault in all of them.
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError, struct.error) as fault:
        raise damaged(path, f"its pixels do not decode ({type(fault).__name__})") from fault


def _bits(packed: Integer[np.ndarray, " bytes"], begin: int, size: int) -> Integer[np.ndarray, " pixels"]:
    """`size` bits from bit `begin` on, fewer where there are no more; the lowest of a byte first (PS3.5 8.1.1)."""
    first, last = begin // 8, (begin + size + 7) // 8
    return np.unpackbits(packed[first:last], bitorder="little")[begin % 8 : begin % 8 + size]


def _run_lengths(frame: bytes, length: int) -> bytes:
    """The one segment of an RLE frame, decoded to `length` bytes.

    Source: DICOM PS3.5 G.3 and G.5.
    """
    segments, offset = struct.unpack("<2I", frame[:8])
    if segments != 1 or offset < _RLE_HEADER:
        raise ValueError("one RLE segment expected")
    out, i = bytearray(), offset
    while len(out) < length:
        control = frame[i]
        if control < 128:
            out += frame[i + 1 : i + 2 + control]
            i += 2 + control
        elif control > 128:
            out += frame[i + 1 : i + 2] * (257 - control)
            i += 2
        else:
            i += 1
    return bytes(out[:length])


def _frame(index: int, group: Dataset, shared: Dataset) -> SegFrame:
    identification = _item(group, shared, "SegmentIdentificationSequence")
    position = _item(group, shared, "PlanePositionSequence")
    turn = _item(group, shared, "PlaneOrientationSequence")
    measures = _item(group, shared, "PixelMeasuresSequence")
    between = _numbers(measures, "SpacingBetweenSlices")
    return SegFrame(
        index,
        int(identification.ReferencedSegmentNumber) if "ReferencedSegmentNumber" in identification else None,
        _numbers(position, "ImagePositionPatient"),
        _numbers(turn, "ImageOrientationPatient"),
        _numbers(measures, "PixelSpacing"),
        abs(between[0]) if between and between[0] else None,
        tuple(_sources(group)) or tuple(_sources(shared)),
    )


def _item(group: Dataset, shared: Dataset, macro: str) -> Dataset:
    for place in (group, shared):
        items = place.get(macro)
        if items:
            found: Dataset = items[0]
            return found
    return Dataset()


def _numbers(item: Dataset, keyword: str) -> tuple[float, ...]:
    value = item.get(keyword)
    if value is None or value == "":
        return ()
    return tuple(float(v) for v in value) if hasattr(value, "__iter__") else (float(value),)


def _sources(group: Dataset) -> Iterator[tuple[str, int]]:
    for derivation in group.get("DerivationImageSequence") or ():
        for source in derivation.get("SourceImageSequence") or ():
            numbers = _numbers(source, "ReferencedFrameNumber") or (0,)
            yield from ((str(source.get("ReferencedSOPInstanceUID", "")), int(n)) for n in numbers)
