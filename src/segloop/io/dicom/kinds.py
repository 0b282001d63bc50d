"""What kind of object a DICOM file holds, told by its SOP class and by what it contains, never by its name."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from pydicom import Dataset

from segloop.io.dicom.header import Header, text
from segloop.io.dicom.own import is_own_object

NOT_AN_IMAGE = "input.not_an_image"

_STORAGE = "1.2.840.10008.5.1.4.1.1."
_NOT_IMAGES = {
    _STORAGE + "66.4": "a segmentation",
    _STORAGE + "66.7": "a label map segmentation",
    _STORAGE + "66.5": "a surface segmentation",
    _STORAGE + "66": "raw data",
    _STORAGE + "66.1": "a spatial registration",
    _STORAGE + "66.3": "a deformable registration",
    _STORAGE + "67": "a real world value mapping",
    _STORAGE + "481.2": "a dose grid",
    _STORAGE + "481.3": "a structure set",
    _STORAGE + "481.5": "a treatment plan",
    _STORAGE + "104.1": "an encapsulated PDF",
    _STORAGE + "104.2": "an encapsulated CDA document",
    _STORAGE + "88.59": "a key object selection",
    "1.2.840.10008.1.3.10": "a media directory",
}
_NOT_IMAGE_FAMILIES = {
    _STORAGE + "88.": "a structured report",
    _STORAGE + "11.": "a presentation state",
    _STORAGE + "9.": "a waveform",
    _STORAGE + "104.": "an encapsulated document",
    _STORAGE + "481.": "a radiotherapy object",
}


def not_an_image(headers: Sequence[Header]) -> str:
    """What the objects of a series are when they are no images, such as "a structure set"; else empty."""
    for header in headers:
        kind = _kind(header)
        if kind:
            return kind
    described = any("Rows" in header.dataset for header in headers)
    if any(header.has_pixels or header.fault for header in headers):
        return "" if described else "an object with pixels but no image header"
    return "an image header without pixels" if described else "an object without pixels"


def is_lost(header: Header, series_uids: Collection[str]) -> bool:
    """True for a damaged file that ends before it says which series it is of, and that may well be an image.

    Args:
        header: The file's header.
        series_uids: Those of all files beside it, to tell a UID that was cut off.
    """
    if header.has_pixels or _kind(header):
        return False
    uid = text(header.dataset, "SeriesInstanceUID")
    if uid and not any(other.startswith(uid) for other in series_uids if other != uid):
        return False
    return bool(header.fault) or len(header.dataset) == 0 or _sop_class(header).startswith(_STORAGE)


def _kind(header: Header) -> str:
    """The name of a kind of object that is never an image; empty for what may be one."""
    uid = _sop_class(header)
    if is_own_object(header.dataset):
        return "a result of segloop"
    if uid in _NOT_IMAGES:
        return _NOT_IMAGES[uid]
    return next((name for prefix, name in _NOT_IMAGE_FAMILIES.items() if uid.startswith(prefix)), "")


def _sop_class(header: Header) -> str:
    # The file meta group comes first in the file, so it is whole when a truncated header still has something to say.
    meta = getattr(header.dataset, "file_meta", Dataset())
    return text(meta, "MediaStorageSOPClassUID") or text(header.dataset, "SOPClassUID")
