"""DICOM objects about a study, linked to their source here and only here."""

from __future__ import annotations

from segloop.report.dicom.capture import write_capture
from segloop.report.dicom.common import derive_uid
from segloop.report.dicom.key_objects import reference_to, write_key_objects, write_rejection
from segloop.report.dicom.pdf import write_pdf
from segloop.report.dicom.rtstruct import write_rtstruct
from segloop.report.dicom.seg import write_seg
from segloop.report.dicom.sr import write_sr

__all__ = [
    "derive_uid",
    "reference_to",
    "write_capture",
    "write_key_objects",
    "write_pdf",
    "write_rejection",
    "write_rtstruct",
    "write_seg",
    "write_sr",
]
