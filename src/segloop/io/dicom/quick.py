"""The elements of a plain little-endian header, some three times as fast as pydicom finds them.

Whatever is unusual (another byte order, sequences that are wanted, a header that does not end where it should) is left
to pydicom, so that there is one place for oddities; tests compare the two on every file they have.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from typing import BinaryIO, NamedTuple

from pydicom.charset import convert_encodings
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import BaseTag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

_FIRST_BYTES, _MOST_BYTES = 1 << 14, 1 << 22
_META_BEGINS = 132
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_CHARACTER_SET, _SYNTAX = BaseTag(0x00080005), BaseTag(0x00020010)
_LONG = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_SHORT = frozenset(
    {b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS"}
    | {b"ST", b"TM", b"UI", b"UL", b"US"}
)

_tag = struct.Struct("<HH").unpack_from
_short = struct.Struct("<H").unpack_from
_long = struct.Struct("<I").unpack_from


class _UnusualError(Exception):
    """The header is left to pydicom."""


class _Element(NamedTuple):
    tag: int
    vr: bytes
    begin: int
    length: int


def quick_header(stream: BinaryIO, wanted: Collection[int]) -> tuple[Dataset, int] | None:
    """The wanted elements before the pixels, and where the pixel element begins; None for pydicom to look at.

    Args:
        stream: A file with preamble, at its beginning.
        wanted: Tags; a header that has one of them as a sequence is left to pydicom.
    """
    buffer = stream.read(_FIRST_BYTES)
    while True:
        whole = len(buffer) < _FIRST_BYTES
        try:
            return _read(buffer, wanted, whole)
        except _UnusualError:
            return None
        except (struct.error, IndexError):
            # The header is longer than what was read so far.
            more = b"" if whole else stream.read(min(len(buffer) * 7, _MOST_BYTES))
            if not more or len(buffer) > _MOST_BYTES:
                return None
            buffer += more


def _read(buffer: bytes, wanted: Collection[int], whole: bool) -> tuple[Dataset, int]:
    meta: dict[BaseTag, DataElement | RawDataElement] = {}
    at = _META_BEGINS
    while _short(buffer, at)[0] == 2:
        element = _element(buffer, at, False)
        if element.length == _UNDEFINED:
            raise _UnusualError
        meta[BaseTag(element.tag)] = _raw(buffer, element, False)
        at = element.begin + element.length
    if _SYNTAX not in meta:
        raise _UnusualError
    syntax = UID((meta[_SYNTAX].value or b"").decode("ascii", "replace").rstrip("\0 "))
    if syntax in (DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian) or not syntax.startswith("1.2.840.10008.1.2"):
        raise _UnusualError
    implicit = syntax == ImplicitVRLittleEndian
    found: dict[BaseTag, DataElement | RawDataElement] = {}
    size = len(buffer)
    while at < size or not whole:
        element = _element(buffer, at, implicit)
        if element.tag in _PIXELS:
            break
        if element.length == _UNDEFINED:
            if element.tag in wanted or element.vr == b"UN":
                raise _UnusualError
            at = _after_sequence(buffer, element.begin, implicit)
            continue
        if element.tag in wanted:
            if element.vr == b"SQ":
                raise _UnusualError
            found[BaseTag(element.tag)] = _raw(buffer, element, implicit)
        at = element.begin + element.length
    if whole and at > size:
        raise _UnusualError
    dataset = Dataset(found)
    dataset.file_meta = FileMetaDataset(meta)
    charset = found.get(_CHARACTER_SET)
    stated = (charset.value or b"").decode("ascii", "replace").rstrip("\0 ").split("\\") if charset else None
    dataset.set_original_encoding(implicit, True, convert_encodings(stated))
    return dataset, at


def _element(buffer: bytes, at: int, implicit: bool) -> _Element:
    group, number = _tag(buffer, at)
    tag = group << 16 | number
    if implicit:
        return _Element(tag, b"", at + 8, _long(buffer, at + 4)[0])
    vr = buffer[at + 4 : at + 6]
    if vr in _SHORT:
        return _Element(tag, vr, at + 8, _short(buffer, at + 6)[0])
    if vr in _LONG:
        return _Element(tag, vr, at + 12, _long(buffer, at + 8)[0])
    if len(vr) < 2:
        raise IndexError
    raise _UnusualError


def _raw(buffer: bytes, element: _Element, implicit: bool) -> RawDataElement:
    tag, vr, begin, length = element
    value = buffer[begin : begin + length]
    if len(value) < length:
        raise IndexError
    return RawDataElement(BaseTag(tag), vr.decode() or None, length, value, begin, implicit, True)


def _after_sequence(buffer: bytes, at: int, implicit: bool) -> int:
    """Where a sequence of undefined length ends."""
    while True:
        group, number = _tag(buffer, at)
        tag, (length,) = group << 16 | number, _long(buffer, at + 4)
        if tag == _SEQUENCE_END:
            return at + 8
        if tag != _ITEM:
            raise _UnusualError
        at = at + 8 + length if length != _UNDEFINED else _after_item(buffer, at + 8, implicit)


def _after_item(buffer: bytes, at: int, implicit: bool) -> int:
    while True:
        group, number = _tag(buffer, at)
        if group << 16 | number == _ITEM_END:
            return at + 8
        element = _element(buffer, at, implicit)
        if element.length != _UNDEFINED:
            at = element.begin + element.length
        elif element.vr == b"UN":
            raise _UnusualError
        else:
            at = _after_sequence(buffer, element.begin, implicit)
