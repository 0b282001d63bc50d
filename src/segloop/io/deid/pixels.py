"""Text that is burned into pixels: which images can have it, and what is done about it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from pydicom import Dataset
from pydicom.uid import UID, ExplicitVRBigEndian

from segloop.errors import PrivacyError
from segloop.io.deid.burned import Box, ruled_boxes, text_boxes
from segloop.io.deid.codestream import without_comments
from segloop.io.deid.elements import content_of
from segloop.io.deid.profile import Profile
from segloop.io.deid.reading import EXTRA, SURE, Line, Reader, reader, reader_name

_NO_PICTURE = tuple(
    f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("66", "11.", "88.", "104.", "481.2", "481.3", "481.5", "481.8", "9.")
)
"""SOP classes, or what they begin with, whose pixels are no picture: SEG, SR, presentation states, RT, waveforms."""

_CAPTURES = tuple(f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("7", "6.1", "3.1", "77.1."))
"""SOP classes in which text is usual: secondary captures, ultrasound, visible light."""

_SECTIONS = tuple(f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("2", "2.1", "4", "4.1", "128", "130"))
_UNDECODABLE = (ValueError, RuntimeError, AttributeError, NotImplementedError, TypeError)
_PIXELS = 0x7FE00010
_CLEAN_HINT = "With --pixels clean, regions known for the device are blanked."
_OCR_HINT = f"Install text detection for such images: pip install '{EXTRA}'."
_SIDES = frozenset({"LOCALIZER", "SCREEN SAVE", "SECONDARY"})


@dataclass(frozen=True, slots=True)
class Cleared:
    """What is known of an image's pixels after `clear_pixels`.

    Attributes:
        sure: They were cleaned, or looked at to be.
        reader: Name of the text detector that looked at them; empty when none did.
    """

    sure: bool = False
    reader: str = ""


def clear_pixels(dataset: Dataset, profile: Profile) -> Cleared:
    """Make sure that no text is burned into the pixels.

    An image is doubtful when it says that it has such text, when its kind usually has and it does not say that it has
    none, or when lines of glyphs are found. Where the profile refuses pixels instead of cleaning them, compressed CT,
    MR and PET sections are not decoded to look for glyphs. Where it cleans them, text detection, if it is installed,
    looks at all but plain sections. Bytes behind the last pixel are cut off, and comments in compressed ones blanked.

    Raises:
        PrivacyError: `pixels.uncleared`: the profile does not ask for cleaning; no rule knows where the text is and no
            text detection is installed, or it is not sure; or text is found even after blanking.
    """
    sop_class = str(dataset.get("SOPClassUID", ""))
    if "PixelData" not in dataset:
        return Cleared()
    _cut(dataset)
    if sop_class.startswith(_NO_PICTURE) or dataset.get("BitsAllocated", 0) < 8:
        return Cleared()
    flag = str(dataset.get("BurnedInAnnotation", "")).strip().upper()
    said = flag == "YES" or (flag != "NO" and sop_class.startswith(_CAPTURES))
    cleaning = profile.pixels == "clean"
    if not (said or cleaning or _looked_at(dataset, sop_class)):
        return _unchanged(dataset, Cleared())
    frames = _frames(dataset)
    glyphs = [box for frame in frames for box in text_boxes(frame)]
    if not cleaning:
        if said or glyphs:
            _refuse("Text is or may be burned into the pixels of an image, so no copy is kept.", _CLEAN_HINT)
        return _unchanged(dataset, Cleared())
    find = reader() if said or not _is_section(dataset, sop_class) else None
    cleared = Cleared(sure=True, reader=reader_name() if find else "")
    ruled = ruled_boxes(dataset) if said or glyphs else []
    if said and not ruled and find is None:
        _refuse(
            "Text may be burned into the pixels of an image, and no rule says where, so no copy is kept.", _OCR_HINT
        )
    boxes = [*ruled, *glyphs, *_sure(_lines(frames, find))]
    if not boxes:
        if flag == "YES":
            _refuse("An image says that text is burned into its pixels, and none is found, so no copy is kept.")
        return _unchanged(dataset, cleared)
    _blank(dataset, boxes)
    frames = _frames(dataset)
    if any(text_boxes(frame) for frame in frames) or _left_beside(boxes, _lines(frames, find)):
        _refuse("Text stands in the pixels of an image even after blanking, so no copy is kept.")
    return cleared


def _lines(frames: np.ndarray[Any, np.dtype[Any]], find: Reader | None) -> list[Line]:
    return [line for frame in frames for line in find(frame)] if find is not None else []


def _sure(lines: list[Line]) -> list[Box]:
    """Where there is text, with a margin.

    Raises:
        PrivacyError: `pixels.uncleared`: something else may be text or not.
    """
    sure = [line.with_margin for line in lines if line.score >= SURE]
    for line in lines:
        if line.score < SURE and not any(_touch(box, line.box) for box in sure):
            _refuse("Something in the pixels of an image may be text or not, so no copy is kept.")
    # What touches a line that was surely found is more of it.
    return [line.with_margin for line in lines]


def _left_beside(boxes: list[Box], lines: list[Line]) -> bool:
    """Whether something like text touches what was blanked, and goes on outside of it.

    Farther away the picture is what it was when it was first looked at; inside there is nothing.
    """
    return any(
        any(_touch(box, line.box) for box in boxes) and not any(_covers(box, line.box) for box in boxes)
        for line in lines
    )


def _covers(box: Box, line: Box) -> bool:
    """Whether a box holds all of a line."""
    return box.top <= line.top and box.left <= line.left and line.bottom <= box.bottom and line.right <= box.right


def _touch(one: Box, other: Box) -> bool:
    rows = one.top <= other.bottom and other.top <= one.bottom
    return rows and one.left <= other.right and other.left <= one.right


def _cut(dataset: Dataset) -> None:
    """Take away what no pixel is: nobody shows it, and anything may be in it.

    Cut off is what stands behind the last native pixel; blanked is what stands as comment in a compressed frame.
    """
    content = content_of(dataset.get_item(_PIXELS))
    if UID(dataset.file_meta.TransferSyntaxUID).is_compressed:
        try:
            blanked = without_comments(content)
        except ValueError as fault:
            raise _undecoded() from fault
        if blanked != content:
            _replace_pixels(dataset, blanked)
        return
    if "422" in str(dataset.get("PhotometricInterpretation")):
        return
    sizes = (dataset.get(word) or 1 for word in ("NumberOfFrames", "Rows", "Columns", "SamplesPerPixel"))
    length = (math.prod(map(int, sizes)) * int(dataset.get("BitsAllocated", 8)) + 7) // 8
    if len(content) > length + length % 2:
        dataset.PixelData = content[:length] + b"\0" * (length % 2)


def _replace_pixels(dataset: Dataset, content: bytes) -> None:
    element = dataset[_PIXELS]
    element.value = content
    element.is_undefined_length = True


def _looked_at(dataset: Dataset, sop_class: str) -> bool:
    """Whether glyphs are looked for: not in a section that would have to be decompressed for it."""
    return not (UID(dataset.file_meta.TransferSyntaxUID).is_compressed and _is_section(dataset, sop_class))


def _is_section(dataset: Dataset, sop_class: str) -> bool:
    """Whether an image is a plain CT, MR or PET section, into which no device burns text."""
    return sop_class in _SECTIONS and _SIDES.isdisjoint(str(word) for word in dataset.get("ImageType") or ())


def _frames(dataset: Dataset) -> np.ndarray[Any, np.dtype[Any]]:
    """The pixels as (frame, y, x) or (frame, y, x, sample)."""
    plain = _plain_frame(dataset)
    if plain is not None:
        return plain
    try:
        pixels = dataset.pixel_array
    except _UNDECODABLE as fault:
        raise _undecoded() from fault
    return pixels if int(dataset.get("NumberOfFrames") or 1) > 1 else pixels[None]


def _plain_frame(dataset: Dataset) -> np.ndarray[Any, np.dtype[Any]] | None:
    """The pixels of one grey native frame without a copy; None for all other images."""
    bits, rows, columns = dataset.BitsAllocated, int(dataset.get("Rows", 0)), int(dataset.get("Columns", 0))
    syntax = UID(dataset.file_meta.TransferSyntaxUID)
    if (
        syntax.is_compressed
        or not syntax.is_little_endian
        or bits not in (8, 16)
        or int(dataset.get("SamplesPerPixel", 1)) != 1
    ):
        return None
    content, count = content_of(dataset.get_item(_PIXELS)), rows * columns
    if int(dataset.get("NumberOfFrames") or 1) != 1 or len(content) < count * bits // 8:
        return None
    kind = f"<{'i' if dataset.get('PixelRepresentation') else 'u'}{bits // 8}"
    return np.frombuffer(content, kind, count).reshape(1, rows, columns)


def _undecoded() -> PrivacyError:
    return PrivacyError(
        "The pixels of an image cannot be decoded to look for text, so no copy is kept.", code="pixels.uncleared"
    )


def _blank(dataset: Dataset, boxes: list[Box]) -> None:
    """Make the boxes black in all frames, and the pixels native."""
    if dataset.file_meta.TransferSyntaxUID == ExplicitVRBigEndian:
        _refuse("The pixels of a big-endian image cannot be blanked, so no copy is kept.")
    try:
        if UID(dataset.file_meta.TransferSyntaxUID).is_compressed:
            dataset.decompress(generate_instance_uid=False)
        frames = np.array(dataset.pixel_array)
    except _UNDECODABLE as fault:
        raise _undecoded() from fault
    frames = frames if int(dataset.get("NumberOfFrames") or 1) > 1 else frames[None]
    dark = frames.max() if dataset.PhotometricInterpretation == "MONOCHROME1" else frames.min()
    for box in boxes:
        frames[:, box.top : box.bottom, box.left : box.right] = dark
    if frames.ndim == 4:
        # pydicom gives red, green and blue whatever the file holds
        dataset.PhotometricInterpretation, dataset.PlanarConfiguration = "RGB", 0
    dataset.PixelData = frames.tobytes() + b"\0" * (frames.nbytes % 2)


def _unchanged(dataset: Dataset, cleared: Cleared) -> Cleared:
    """Nothing is to be blanked; but the bits of a pixel above those stored, where old overlays stand, may hold text."""
    planes = [tag for tag in dataset.keys() if tag.group & 0xFF00 == 0x6000 and tag.element == 0x0102]  # noqa: SIM118 - a loop over a data set decodes it
    if any(content_of(dataset.get_item(tag)).strip(b"\0") for tag in planes):
        _refuse("An overlay is inside the pixels of an image, so no copy is kept.", _CLEAN_HINT)
    return cleared


def _refuse(message: str, hint: str | None = None) -> NoReturn:
    raise PrivacyError(message, code="pixels.uncleared", hint=hint)
