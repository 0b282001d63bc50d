"""Text that is burned into pixels: which images can have it, and what is done about it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.uid import UID, ExplicitVRBigEndian

from segloop.errors import PrivacyError
from segloop.io.deid.burned import Box, ruled_boxes, text_boxes
from segloop.io.deid.elements import content_of
from segloop.io.deid.profile import Profile

_NO_PICTURE = tuple(
    f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("66", "11.", "88.", "104.", "481.2", "481.3", "481.5", "481.8", "9.")
)
"""SOP classes, or what they begin with, whose pixels are no picture: SEG, SR, presentation states, RT, waveforms."""

_CAPTURES = tuple(f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("7", "6.1", "3.1", "77.1."))
"""SOP classes in which text is usual: secondary captures, ultrasound, visible light."""

_SECTIONS = tuple(f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("2", "2.1", "4", "4.1", "128", "130"))
_UNDECODABLE = (ValueError, RuntimeError, AttributeError, NotImplementedError, TypeError)
_PIXELS = 0x7FE00010
_SIDES = frozenset({"LOCALIZER", "SCREEN SAVE", "SECONDARY"})


def clear_pixels(dataset: Dataset, profile: Profile) -> bool:
    """Make sure that no text is burned into the pixels; True when they were cleaned, or looked at to be.

    An image is doubtful when it says that it has such text, when its kind usually has and it does not say that it has
    none, or when lines of glyphs are found. Where the profile refuses pixels instead of cleaning them, compressed CT,
    MR and PET sections are not decoded to look for glyphs. Bytes behind the last pixel are cut off.

    Raises:
        PrivacyError: `pixels.uncleared`: the profile does not ask for cleaning, no rule knows where the text is, or
            text is found even after blanking.
    """
    sop_class = str(dataset.get("SOPClassUID", ""))
    if "PixelData" not in dataset or sop_class.startswith(_NO_PICTURE) or dataset.get("BitsAllocated", 0) < 8:
        return False
    _cut(dataset)
    flag = str(dataset.get("BurnedInAnnotation", "")).strip().upper()
    said = flag == "YES" or (flag != "NO" and sop_class.startswith(_CAPTURES))
    cleaning = profile.pixels == "clean"
    if not (said or cleaning or _looked_at(dataset, sop_class)):
        return _without_overlay_bits(dataset)
    found = [box for frame in _frames(dataset) for box in text_boxes(frame)]
    if not said and not found:
        return _without_overlay_bits(dataset) or cleaning
    if not cleaning:
        _refuse("Text is or may be burned into the pixels of an image, so no copy is kept.")
    boxes = ruled_boxes(dataset)
    if not boxes and not found:
        _refuse("Text may be burned into the pixels of an image, and no rule says where, so no copy is kept.")
    _blank(dataset, [*boxes, *found])
    if any(text_boxes(frame) for frame in _frames(dataset)):
        _refuse("Text stands in the pixels of an image even after blanking, so no copy is kept.")
    return True


def _cut(dataset: Dataset) -> None:
    """Cut off what stands behind the last native pixel: nobody shows it, and anything may be in it."""
    if UID(dataset.file_meta.TransferSyntaxUID).is_compressed or "422" in str(dataset.get("PhotometricInterpretation")):
        return
    sizes = (dataset.get(word) or 1 for word in ("NumberOfFrames", "Rows", "Columns", "SamplesPerPixel"))
    length = math.prod(map(int, sizes)) * int(dataset.BitsAllocated) // 8
    content = content_of(dataset.get_item(_PIXELS))
    if len(content) > length + length % 2:
        dataset.PixelData = content[:length] + b"\0" * (length % 2)


def _looked_at(dataset: Dataset, sop_class: str) -> bool:
    """Whether glyphs are looked for: not in a CT, MR or PET section that would have to be decompressed for it."""
    compressed = UID(dataset.file_meta.TransferSyntaxUID).is_compressed
    kind = {str(word) for word in dataset.get("ImageType") or ()}
    return not (compressed and sop_class in _SECTIONS and _SIDES.isdisjoint(kind))


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
        dataset.PlanarConfiguration = 0
    dataset.PixelData = frames.tobytes() + b"\0" * (frames.nbytes % 2)


def _without_overlay_bits(dataset: Dataset) -> bool:
    """Nothing is to be blanked; but the bits of a pixel above those stored, where old overlays stand, may hold text."""
    planes = [tag for tag in dataset.keys() if tag.group & 0xFF00 == 0x6000 and tag.element == 0x0102]  # noqa: SIM118 - a loop over a data set decodes it
    if any(content_of(dataset.get_item(tag)).strip(b"\0") for tag in planes):
        _refuse("An overlay is inside the pixels of an image, so no copy is kept.")
    return False


def _refuse(message: str) -> None:
    raise PrivacyError(
        message, code="pixels.uncleared", hint="With --pixels clean, regions known for the device are blanked."
    )
