"""Looks for identities in a file that has been written: in every element, and in its bytes."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from io import BytesIO
from typing import cast

import numpy as np
from jaxtyping import UInt8
from pydicom import Dataset, dcmread
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.uid import DeflatedExplicitVRLittleEndian

from segloop.errors import PrivacyError
from segloop.io.deid.elements import TEXT, content_of, is_binary, is_term, keyword_of, vr_of
from segloop.io.deid.identity import Identities, encodings_of, items_of
from segloop.io.deid.matching import Matcher, holds

_PIXELS = 0x7FE00010
_READ = TEXT | {"PN", "CS", "AE", "UR", "UN"}
_PREAMBLE = 132
_GROUP_LENGTH = slice(140, 144)
_PAIRS = 6


def refuse_identity(content: bytes, identities: Identities) -> None:
    """Make sure that a file names nobody.

    Text is read in the file's own character sets. The bytes of all but native pixels are searched for each identity of
    six bytes or more, in all character sets of the file and in UTF-8, UTF-16, Latin-1 and the usual national ones;
    native pixels for those of twelve and more, as a shorter one arises by chance in a row of grey values.

    Args:
        content: The file, as it was written.
        identities: What may not be in it.

    Raises:
        PrivacyError: `identity.found`; the error says where, and not what.
    """
    dataset, matcher = dcmread(BytesIO(content)), identities.matcher
    for place in (dataset.file_meta, dataset):
        for element, encodings in _elements(place, ("iso8859",)):
            if _names_someone(element, encodings, identities.uids, matcher):
                _refuse(keyword_of(int(element.tag)) or str(element.tag))
    pixels = cast("DataElement | RawDataElement | None", dataset.get_item(_PIXELS) if _PIXELS in dataset else None)
    if dataset.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian:
        start = _PREAMBLE + 12 + int.from_bytes(content[_GROUP_LENGTH], "little")
        content, pixels = content[:start] + zlib.decompress(content[start:], -15), None
    start = length = 0
    if isinstance(pixels, RawDataElement) and not dataset.file_meta.TransferSyntaxUID.is_compressed:
        start, length = pixels.value_tell, len(content_of(pixels))
    header = content[:start] + content[start + length :]
    uids = [uid.encode() for uid in identities.uids]
    if holds(header.lower(), [*matcher.patterns, *uids]):
        _refuse("the bytes of the file")
    if length and _pixels_hold(memoryview(content)[start : start + length], matcher.in_pixels):
        _refuse("the bytes of the pixels")


def _names_someone(
    element: DataElement | RawDataElement, encodings: Sequence[str], uids: frozenset[str], matcher: Matcher
) -> bool:
    vr = vr_of(element)
    if vr == "UI":
        return not uids.isdisjoint(content_of(element).decode("ascii", "replace").strip("\0 ").split("\\"))
    if is_binary(element, vr):
        return matcher.found_in_binary(content_of(element))
    return vr in _READ and matcher.found_in(element, encodings) and not is_term(element)


def _elements(dataset: Dataset, outer: Sequence[str]) -> Iterator[tuple[DataElement | RawDataElement, Sequence[str]]]:
    encodings = encodings_of(dataset, outer)
    for element in list(dataset.values()):
        if vr_of(element) == "SQ":
            for item in items_of(dataset, element):
                yield from _elements(item, encodings)
        else:
            yield element, encodings


def _refuse(place: str) -> None:
    raise PrivacyError(
        f"An identity that the original names still stands in {place} of the copy; the copy is not kept.",
        code="identity.found",
        found=place,
        expected="nothing that identifies a person",
        hint="Look at this place of the original; if what stands there is harmless, correct it there.",
    )


def _pixels_hold(pixels: memoryview, patterns: tuple[bytes, ...]) -> bool:
    """Whether a pattern stands in many bytes, of which hardly any look like the beginning of one.

    For each pair of bytes a table says at which places of a pattern it can stand; only where six pairs in a row can,
    the bytes themselves are compared.
    """
    if not patterns:
        return False
    table, longest = _pair_table(patterns), max(map(len, patterns))
    for shift in (0, 1):
        count = (len(pixels) - shift) // 2
        if count < _PAIRS:
            continue
        places = table.take(np.frombuffer(pixels, "<u2", count, shift))
        possible = places[: count - _PAIRS + 1] & 1
        for pair in range(1, _PAIRS):
            possible &= places[pair : count - _PAIRS + 1 + pair] >> pair
        for index in np.flatnonzero(possible):
            at = shift + 2 * int(index)
            if bytes(pixels[at : at + longest]).lower().startswith(patterns):
                return True
    return False


@lru_cache(maxsize=8)
def _pair_table(patterns: tuple[bytes, ...]) -> UInt8[np.ndarray, 65536]:
    """For each pair of bytes, as a little-endian number, one bit for each place of a pattern where it can stand."""
    table = np.zeros(65536, np.uint8)
    for pattern in patterns:
        for pair in range(_PAIRS):
            first, second = pattern[2 * pair : 2 * pair + 1], pattern[2 * pair + 1 : 2 * pair + 2]
            for low in {first, first.upper()}:
                for high in {second, second.upper()}:
                    table[low[0] | high[0] << 8] |= 1 << pair
    return table
