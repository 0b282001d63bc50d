"""Comments inside compressed pixels: blanked in place, so that no byte of the picture moves.

JPEG and JPEG-LS keep text in comment and application segments (Exif among them), JPEG 2000 in comments and in boxes
around the code stream, and all of them in what stands behind the end. No decoder needs any of it.

Source: ITU-T T.81 B.2, T.87 annex C, T.800 A.9.2 and I.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_ITEM = b"\xfe\xff\x00\xe0"
_NEXT_MARKER = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")
_JPEG, _CODE_STREAM, _BOXES = b"\xff\xd8", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  "
_END, _SCAN, _COMMENT = 0xD9, 0xDA, 0xFE
_APPLICATIONS = range(0xE0, 0xF0)
_NEEDED = {0xE0: (b"JFIF\0", 14), 0xE8: (b"mrfx", 5), 0xEE: (b"Adobe", 12)}
"""Application segments that say how to decode: what they begin with, and how much of them says it."""
_TILE, _DATA, _END_2000, _COMMENT_2000 = 0x90, 0x93, 0xD9, 0x64
_LEAD_2000 = 2
_ENCODER = re.compile(
    rb"(Created by (GDCM/)?OpenJPEG version [\d.]{1,12}|Kakadu-[v\d.]{1,12}|"
    rb"Kdu-Layer-Info: log_2\{Delta-D\(squared-error\)/Delta-L\(bytes\)\}, L\(bytes\)[\s\d.,e+\-]*)\0*"
)
"""What encoders say of themselves, so that pixels in which nobody wrote anything stay byte for byte."""
_PADDING = 1
_KEPT_BOXES = frozenset({b"jP  ", b"ftyp", b"jp2h", b"jp2c"})


def without_comments(pixels: bytes) -> bytes:
    """Encapsulated pixels with all that is no picture set to zero; as long as they were, and decoded to the same.

    Args:
        pixels: The value of an encapsulated PixelData: its items, the offset table first.

    Raises:
        ValueError: The items or a frame are damaged, so that nobody can say what stands where.
    """
    blanked = bytearray(pixels)
    for frame in _frames(pixels):
        whole = bytearray().join(pixels[begin:end] for begin, end in frame)
        _blank(whole)
        at = 0
        for begin, end in frame:
            blanked[begin:end] = whole[at : at + end - begin]
            at += end - begin
    return bytes(blanked)


def _frames(pixels: bytes) -> Iterator[list[tuple[int, int]]]:
    """Where the fragments of each frame lie; the offset table is none."""
    frame: list[tuple[int, int]] = []
    for number, (begin, end) in enumerate(_items(pixels)):
        if not number:
            continue
        if frame and pixels.startswith((_JPEG, _CODE_STREAM, _BOXES), begin, end):
            yield frame
            frame = []
        frame.append((begin, end))
    if frame:
        yield frame


def _items(pixels: bytes) -> Iterator[tuple[int, int]]:
    at = 0
    while pixels.startswith(_ITEM, at):
        length = int.from_bytes(pixels[at + 4 : at + 8], "little")
        if at + 8 + length > len(pixels):
            raise ValueError("a fragment is longer than the pixels")
        yield at + 8, at + 8 + length
        at += 8 + length


def _blank(frame: bytearray) -> None:
    if frame.startswith(_JPEG):
        _blank_jpeg(frame)
    elif frame.startswith(_CODE_STREAM):
        _blank_code_stream(frame, 0, len(frame))
    elif frame.startswith(_BOXES):
        _blank_boxes(frame)


def _blank_jpeg(frame: bytearray) -> None:
    at = 0
    while (found := _NEXT_MARKER.search(frame, at)) is not None:
        marker, at = frame[found.start() + 1], found.end()
        if marker == _END:
            # Frames may stand one behind the other in one fragment
            if not frame[at:].lstrip(b"\0").startswith(_JPEG):
                _zero_rest(frame, at, len(frame))
                return
        elif marker != _JPEG[1]:
            length = int.from_bytes(frame[at : at + 2], "big")
            if length < 2 or at + length > len(frame):
                raise ValueError("a segment is longer than its frame")
            if marker == _COMMENT or marker in _APPLICATIONS:
                word, size = _NEEDED.get(marker, (b"", 0))
                needed = size if word and frame.startswith(word, at + 2) else 0
                _zero(frame, at + 2 + needed, at + length)
            at += length


def _blank_code_stream(frame: bytearray, begin: int, end: int) -> None:
    """Comments of the main header and of each tile part, and what follows the end."""
    at, tile_end = begin + 2, end
    while at + 2 <= end:
        marker, length = frame[at + 1], int.from_bytes(frame[at + 2 : at + 4], "big")
        if not any(frame[at:end]):
            return
        if frame[at] != 0xFF:
            raise ValueError("a marker of the code stream is missing")
        if marker == _END_2000:
            _zero_rest(frame, at + 2, end)
            return
        if marker == _DATA:
            at = max(tile_end, at + 2)
            continue
        if length < 2 or at + 2 + length > end:
            raise ValueError("a segment is longer than its frame")
        if marker == _TILE:
            part = int.from_bytes(frame[at + 6 : at + 10], "big")
            last = frame.rfind(b"\xff\xd9", at, end) if not part else -1
            tile_end = min(at + part, end) if part else last if last >= 0 else end
        elif marker == _COMMENT_2000:
            comment = at + 4 + _LEAD_2000
            if _ENCODER.fullmatch(frame, comment, at + 2 + length) is None:
                _zero(frame, comment, at + 2 + length)
        at += 2 + length


def _blank_boxes(frame: bytearray) -> None:
    at = 0
    while at + 8 <= len(frame):
        length, kind = int.from_bytes(frame[at : at + 4], "big"), bytes(frame[at + 4 : at + 8])
        head = 8
        if length == 1:
            length, head = int.from_bytes(frame[at + 8 : at + 16], "big"), 16
        if length == 0 and not any(frame[at:]):
            return
        end = at + length if length else len(frame)
        if end < at + head or end > len(frame):
            raise ValueError("a box is longer than its frame")
        if kind == b"jp2c":
            _blank_code_stream(frame, at + head, end)
        elif kind not in _KEPT_BOXES:
            _zero(frame, at + head, end)
        at = end


def _zero(frame: bytearray, begin: int, end: int) -> None:
    if end > begin:
        frame[begin:end] = bytes(end - begin)


def _zero_rest(frame: bytearray, begin: int, end: int) -> None:
    """Behind the end; one byte makes the length even and says nothing."""
    if end - begin > _PADDING:
        _zero(frame, begin, end)
