"""Others' segmentations in: DICOM SEG and RTSTRUCT to `Labels` on the grid of the series they were drawn on.

    with dicom.opened(folder) as files:
        (series,) = [s for s in dicom.scan_files(files) if s.is_image]
        labels = rois.read_labels(folder / "seg.dcm", series)

`Labels` carry names and numbers, never an identity. What cannot be placed exactly is refused, with the reason.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segloop.io.rois.reference import RoiFile, find_rois, look
    from segloop.io.rois.rtstruct import read_rtstruct, read_structures
    from segloop.io.rois.segmentation import read_segmentation, read_segments
    from segloop.io.rois.target import read_labels, read_parts

__all__ = [
    "RoiFile",
    "find_rois",
    "look",
    "read_labels",
    "read_parts",
    "read_rtstruct",
    "read_segmentation",
    "read_segments",
    "read_structures",
]

_HOME = {
    "RoiFile": "reference",
    "find_rois": "reference",
    "look": "reference",
    "read_labels": "target",
    "read_parts": "target",
    "read_rtstruct": "rtstruct",
    "read_segmentation": "segmentation",
    "read_segments": "segmentation",
    "read_structures": "rtstruct",
}


def __getattr__(name: str) -> Any:
    """Load a part on first use, so that `segloop --help` does not import pydicom."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
