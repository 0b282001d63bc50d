"""DICOM in: a folder, file or zip to series, one series chosen by a model's rule, and its voxels.

    with dicom.opened(source) as files:
        selection = dicom.select(dicom.scan_files(files), plan.inputs)
        volume = dicom.read_series(selection.chosen)

`scan` reads headers only. Identifiers live in `SeriesRef` alone; a `Volume` has none.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segloop.io.dicom.pixels import read_series
    from segloop.io.dicom.refs import InstanceRef, PatientRef, Refusal, SeriesRef, StudyRef, digest, digests
    from segloop.io.dicom.regrid import Regrid
    from segloop.io.dicom.rejection import RejectedSeries, Rejection, read_rejection
    from segloop.io.dicom.scanning import scan, scan_files
    from segloop.io.dicom.selection import Refused, Selection, select
    from segloop.io.dicom.source import Files, opened

__all__ = [
    "Files",
    "InstanceRef",
    "PatientRef",
    "Refusal",
    "Refused",
    "Regrid",
    "RejectedSeries",
    "Rejection",
    "Selection",
    "SeriesRef",
    "StudyRef",
    "digest",
    "digests",
    "opened",
    "read_rejection",
    "read_series",
    "scan",
    "scan_files",
    "select",
]

_HOME = {
    "Files": "source",
    "InstanceRef": "refs",
    "PatientRef": "refs",
    "Refusal": "refs",
    "Refused": "selection",
    "Regrid": "regrid",
    "RejectedSeries": "rejection",
    "Rejection": "rejection",
    "Selection": "selection",
    "SeriesRef": "refs",
    "StudyRef": "refs",
    "digest": "refs",
    "digests": "refs",
    "opened": "source",
    "read_rejection": "rejection",
    "read_series": "pixels",
    "scan": "scanning",
    "scan_files": "scanning",
    "select": "selection",
}


def __getattr__(name: str) -> Any:
    """Load a part on first use, so that `segloop --help` does not import pydicom."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
