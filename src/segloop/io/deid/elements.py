"""Elements as they were read: pydicom keeps them as bytes until someone asks, and most are never asked for here."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import cache

from pydicom.charset import decode_bytes
from pydicom.datadict import dictionary_has_tag, dictionary_keyword, dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.valuerep import TEXT_VR_DELIMS

MALFORMED = (ValueError, TypeError, KeyError, IndexError, AttributeError, NotImplementedError, EOFError, struct.error)
"""What pydicom raises at values that do not fit their type, when they are asked for or written."""

_DELIMITERS = TEXT_VR_DELIMS | {0x5E, 0x3D}
TEXT = frozenset({"LO", "SH", "LT", "ST", "UT", "UC"})
"""VRs of free text in the file's character set."""


_BINARY = frozenset({"OB", "OW", "OF", "OD", "OL", "OV", "OB or OW", "US or OW"})
_BINARY |= frozenset({"FD", "FL", "SL", "SV", "UL", "UV", "AT"})
_PICTURE = 0x7FE0

_STRUCTURE = frozenset(
    ["ValueType", "RelationshipType", "ContinuityOfContent", "CompletionFlag", "VerificationFlag", "Modality"]
)
_TERMS = frozenset(
    b"TEXT NUM CODE DATETIME DATE TIME UIDREF PNAME COMPOSITE IMAGE WAVEFORM SCOORD SCOORD3D TCOORD CONTAINER TABLE "
    b"CONTAINS SEPARATE CONTINUOUS COMPLETE PARTIAL VERIFIED UNVERIFIED RTSTRUCT RTPLAN RTDOSE".split()
) | {b"HAS PROPERTIES", b"HAS OBS CONTEXT", b"HAS ACQ CONTEXT", b"HAS CONCEPT MOD", b"INFERRED FROM", b"SELECTED FROM"}


def vr_of(element: DataElement | RawDataElement) -> str:
    """The VR, from the data dictionary where the file does not say; `UN` when nobody knows."""
    told = element.VR
    if told is None or (told == "UN" and not element.tag.is_private):
        return _known_vr(int(element.tag))
    return str(told)


def is_term(element: DataElement | RawDataElement) -> bool:
    """Whether a code string has a value that the standard gives it and without which the object cannot be read."""
    return keyword_of(int(element.tag)) in _STRUCTURE and content_of(element).strip(b"\0 ") in _TERMS


def is_binary(element: DataElement | RawDataElement, vr: str) -> bool:
    """Whether a value is bytes in which text can hide, numbers of four bytes and more too; not the picture itself."""
    return vr in _BINARY and element.tag.group != _PICTURE


@cache
def _known_vr(tag: int) -> str:
    if tag & 0xFFFF0000 and tag >> 16 & 1:
        return "LO" if 0x10 <= tag & 0xFFFF <= 0xFF else "UN"
    if tag & 0xFFFF == 0:
        return "UL"
    return dictionary_VR(tag) if dictionary_has_tag(tag) else "UN"


@cache
def is_known(tag: int) -> bool:
    """Whether the data dictionary has a tag."""
    return dictionary_has_tag(tag)


@cache
def keyword_of(tag: int) -> str:
    """The keyword of a tag; empty when it has none."""
    return dictionary_keyword(tag) if dictionary_has_tag(tag) else ""


def text_of(element: DataElement | RawDataElement, encodings: Sequence[str]) -> str:
    """The value as characters; bytes that the character sets do not have become replacement characters."""
    value = content_of(element)
    if not isinstance(element, RawDataElement):
        return value.decode()
    return decode_bytes(value, list(encodings), _DELIMITERS).strip("\0 ")


def with_text(element: DataElement | RawDataElement, vr: str, text: str) -> DataElement | RawDataElement:
    """The element with another value; left as bytes if it was, since those need not be encoded again."""
    if not isinstance(element, RawDataElement) or not text.isascii():
        return DataElement(element.tag, vr, text or None)
    content = text.encode()
    content += (b"\0" if vr == "UI" else b" ") * (len(content) % 2)
    return element._replace(value=content, length=len(content))


def content_of(element: DataElement | RawDataElement) -> bytes:
    """The value as bytes; of an element that pydicom has decoded already, in UTF-8."""
    value = element.value
    if value is None:
        return b""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    if getattr(element, "VM", 1) > 1:
        return "\\".join(map(str, value)).encode()
    return str(value).encode()
