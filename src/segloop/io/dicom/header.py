"""One DICOM file's header: what kind of object it is, and whether its pixels are all there. No pixel is read."""

from __future__ import annotations

import logging
import re
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import pydicom
from pydicom import config
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.errors import InvalidDicomError
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from segloop.errors import InputError
from segloop.io.dicom.quick import quick_header

_DESIGNATION = re.compile(r"\x1b\$?[()\-]?[A-Z]")

TAGS = [
    "SpecificCharacterSet",
    "ImageType",
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "Modality",
    "Manufacturer",
    "ReferringPhysicianName",
    "StudyDescription",
    "SeriesDescription",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "BodyPartExamined",
    "SliceThickness",
    "SpacingBetweenSlices",
    "ImagerPixelSpacing",
    "NominalScannedPixelSpacing",
    "SequenceOfUltrasoundRegions",
    "ContrastBolusAgent",
    "ConcatenationUID",
    "InConcatenationNumber",
    "InConcatenationTotalNumber",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "StudyID",
    "SeriesNumber",
    "InstanceNumber",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "FrameOfReferenceUID",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "PixelSpacing",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "RescaleIntercept",
    "RescaleSlope",
    "ModalityLUTSequence",
    "Units",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]

_WANTED = frozenset(tag for tag in map(tag_for_keyword, TAGS) if tag is not None)

_ONE_SCRIPT = frozenset({"UI", "CS", "DA", "TM", "IS", "DS"})
"""Value representations whose text no character set changes."""

_PREAMBLE = 128
_PIXEL_ELEMENTS = {0x0008, 0x0009, 0x0010}
_PIXEL_DATA = 0x0010
_UNDEFINED = 0xFFFFFFFF
_ITEM, _DELIMITER = 0xE000, 0xE0DD
_LONG_VR = (b"OB", b"OW", b"OF", b"OD", b"UN", b"OV")
_FIRST_ELEMENT = re.compile(rb"[\x02\x08]\x00.\x00", re.DOTALL)
_DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")


@dataclass(frozen=True, slots=True)
class Header:
    """The header of one file.

    Attributes:
        path: The file.
        dataset: The elements of `TAGS` that the file has.
        has_pixels: Whether a pixel element follows the header.
        fault: Why the file is damaged; empty for a sound one.
        pixels_at: Bytes before the first pixel of PixelData in native form; 0 for any other form.
    """

    path: Path
    dataset: pydicom.Dataset
    has_pixels: bool
    fault: str = ""
    pixels_at: int = 0


@dataclass(slots=True)
class _Hush:
    """Who is inside `quiet`: the settings are the whole process's, so the first one in and the last one out count."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    inside: int = 0
    undo: ExitStack = field(default_factory=ExitStack)

    def enter(self) -> None:
        with self.lock:
            self.inside += 1
            if self.inside > 1:
                return
            logger, mode = logging.getLogger("pydicom"), config.settings
            self.undo.enter_context(warnings.catch_warnings())
            self.undo.callback(logger.setLevel, logger.level)
            self.undo.callback(setattr, mode, "reading_validation_mode", mode.reading_validation_mode)
            self.undo.callback(setattr, mode, "writing_validation_mode", mode.writing_validation_mode)
            warnings.simplefilter("ignore")
            logger.setLevel(logging.CRITICAL + 1)
            mode.reading_validation_mode = mode.writing_validation_mode = config.IGNORE

    def leave(self) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                self.undo.close()


_HUSH = _Hush()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep pydicom from printing what it finds odd, because it quotes values, and values may be identity.

    It also keeps pydicom from rejecting values longer than the standard allows, which many archives hold. Several
    threads may be inside at once, and leave in any order.
    """
    _HUSH.enter()
    try:
        yield
    finally:
        _HUSH.leave()


def read_header(path: Path) -> Header | None:
    """The header of a DICOM file; None for a file that is none.

    A file without preamble counts as DICOM when it starts with a data element of group 2 or 8. An unreadable file that
    is DICOM by its name or first bytes comes back with `fault` set.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(_PREAMBLE + 4)
            bare = start[_PREAMBLE:] != b"DICM"
            if bare and not _FIRST_ELEMENT.match(start):
                if path.suffix.lower() in _DICOM_SUFFIXES:
                    return Header(path, pydicom.Dataset(), False, "it does not begin like a DICOM file")
                return None
            stream.seek(0)
            dataset: pydicom.Dataset
            quick = None if bare else quick_header(stream, _WANTED)
            stream.seek(0 if quick is None else quick[1])
            if quick is None:
                dataset = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=TAGS, force=bare)
            else:
                dataset = quick[0]
            if (
                bare
                and not {"SOPClassUID", "Modality"} & set(dataset.dir())
                and path.suffix.lower() not in _DICOM_SUFFIXES
            ):
                return None
            has_pixels, fault, begin = _pixels(stream, dataset, path)
            return Header(path, dataset, has_pixels, fault, begin)
    except OSError as fault:
        return Header(path, pydicom.Dataset(), False, f"it cannot be opened ({fault.strerror})")
    # A damaged header makes pydicom raise almost anything; the file is at fault each time.
    except Exception as fault:
        return Header(path, pydicom.Dataset(), False, f"its header is damaged ({type(fault).__name__})")


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM, or says that it is, with or without a preamble, whatever its name."""
    try:
        with path.open("rb") as stream:
            if stream.read(_PREAMBLE + 4)[_PREAMBLE:] == b"DICM":
                return True
    except OSError:
        return False
    with quiet():
        return read_header(path) is not None


def read_whole_header(path: Path) -> pydicom.Dataset:
    """Every element before the pixels.

    Raises:
        InputError: `input.unreadable`.
    """
    try:
        with quiet():
            return pydicom.dcmread(path, stop_before_pixels=True)
    except (OSError, InvalidDicomError, EOFError, ValueError) as fault:
        raise InputError(f"{path.name} cannot be read: {type(fault).__name__}.") from fault


@cache
def _tag(keyword: str) -> BaseTag:
    return Tag(keyword)


def value_of(dataset: pydicom.Dataset, keyword: str) -> Any:
    """An element's value, None where it is absent: as pydicom's, but that several decimals come as a tuple of floats.

    A scan asks so often that pydicom's look-up and conversion are felt.
    """
    tag = _tag(keyword)
    if tag not in dataset:
        return None
    raw: Any = dataset.get_item(tag)
    if isinstance(raw, RawDataElement) and raw.value:
        if raw.VR == "US" and raw.length == 2:
            return int.from_bytes(raw.value, "little" if raw.is_little_endian else "big")
        if raw.VR == "DS":
            stated = raw.value.decode("latin-1").strip(" \0")
            numbers = tuple(float(part) for part in stated.split("\\")) if stated else (None,)
            return numbers if len(numbers) > 1 else numbers[0]
    return dataset[tag].value


def text(dataset: pydicom.Dataset, keyword: str) -> str:
    """An element as stripped text; empty where it is absent or of the wrong kind."""
    tag = _tag(keyword)
    if tag not in dataset:
        return ""
    raw: Any = dataset.get_item(tag)
    if isinstance(raw, RawDataElement) and raw.VR in _ONE_SCRIPT and raw.value and b"\\" not in raw.value:
        return raw.value.decode("latin-1").strip(" \0")
    try:
        value = dataset[tag].value
    # A malformed value is as good as none for what is only shown or compared.
    except (ValueError, TypeError, AttributeError):
        return ""
    return "" if value is None else plain_text(str(value)).strip().rstrip("\0")


def plain_text(decoded: str) -> str:
    r"""Decoded text without the marks that switched its character set.

    pydicom (3.0) leaves the designation of GB 2312 in names of the character set ISO 2022 IR 58 when it decodes them.

    >>> plain_text("Wang=\x1b$)A王^\x1b$)A小东")
    'Wang=王^小东'

    Source: DICOM PS3.5 K.2, Person Name in Chinese with ISO 2022 IR 58.
    """
    return _DESIGNATION.sub("", decoded)


def number(dataset: pydicom.Dataset, keyword: str) -> int | None:
    """An element as a whole number, None where it is none."""
    try:
        return int(text(dataset, keyword))
    except ValueError:
        return None


def decimal(dataset: pydicom.Dataset, keyword: str) -> float | None:
    """An element as a number, None where it is none."""
    try:
        return float(text(dataset, keyword))
    except ValueError:
        return None


def _pixels(stream: BinaryIO, dataset: pydicom.Dataset, path: Path) -> tuple[bool, str, int]:
    """Whether pixels follow, what is wrong with their length, and where native ones begin.

    `stream` stands where the header ended.
    """
    syntax = transfer_syntax(dataset)
    if syntax == DeflatedExplicitVRLittleEndian:
        return *_deflated(path), 0
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    stated = _pixel_length(stream, order)
    if stated is None:
        return False, "", 0
    begin, length, element = stated
    if length == _UNDEFINED:
        return True, "" if _fragments_complete(stream, begin, order) else "its compressed pixels are cut off", 0
    there = min(length, path.stat().st_size - begin)
    expected = _expected_bytes(dataset)
    needed = length if expected is None else expected
    fault = f"its pixels are cut off: {there:,} of {needed:,} bytes are there" if there < needed else ""
    return True, fault, begin if element == _PIXEL_DATA else 0


def _pixel_length(stream: BinaryIO, order: str) -> tuple[int, int, int] | None:
    """Where the pixels begin, how long they are stated to be, and in which element; None when none comes next."""
    start = stream.tell()
    head = stream.read(12).ljust(12, b"\0")
    group, element = struct.unpack(order + "HH", head[:4])
    if group != 0x7FE0 or element not in _PIXEL_ELEMENTS:
        return None
    explicit = head[4:6] in _LONG_VR
    (length,) = struct.unpack(order + "I", head[8:12] if explicit else head[4:8])
    return start + (12 if explicit else 8), length, element


def transfer_syntax(dataset: pydicom.Dataset) -> UID:
    """How a file is encoded; the default of the standard where it does not say."""
    meta = getattr(dataset, "file_meta", None) or pydicom.Dataset()
    return UID(str(meta.get("TransferSyntaxUID", ImplicitVRLittleEndian)))


def _deflated(path: Path) -> tuple[bool, str]:
    dataset = pydicom.dcmread(path)
    if "PixelData" not in dataset:
        return False, ""
    there, needed = len(dataset.PixelData), _expected_bytes(dataset)
    short = needed is not None and there < needed
    return True, f"its pixels are cut off: {there:,} of {needed:,} bytes are there" if short else ""


def _fragments_complete(stream: BinaryIO, begin: int, order: str) -> bool:
    """Walk from fragment to fragment; False when the file ends before the sequence's end mark."""
    stream.seek(begin)
    end = stream.seek(0, 2)
    position = begin
    while position + 8 <= end:
        stream.seek(position)
        group, element, length = struct.unpack(order + "HHI", stream.read(8))
        if group != 0xFFFE or element not in (_ITEM, _DELIMITER):
            return False
        if element == _DELIMITER:
            return True
        position += 8 + length
    return False


def _expected_bytes(dataset: pydicom.Dataset) -> int | None:
    """Length of uncompressed pixels; None when the header does not say (which reading will find out)."""
    try:
        samples = int(value_of(dataset, "SamplesPerPixel") or 1)
        frames = int(value_of(dataset, "NumberOfFrames") or 1)
        count = int(value_of(dataset, "Rows")) * int(value_of(dataset, "Columns")) * frames * samples
        bits = count * int(value_of(dataset, "BitsAllocated"))
    except (AttributeError, TypeError, ValueError):
        return None
    if text(dataset, "PhotometricInterpretation") == "YBR_FULL_422":
        bits = bits * 2 // 3
    return (bits + 7) // 8
