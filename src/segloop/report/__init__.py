"""Results as people and PACS read them: findings, key images, PDF, and DICOM objects linked to their source."""

from __future__ import annotations

from segloop.report.dicom import derive_uid, write_capture, write_pdf, write_rtstruct, write_seg, write_sr
from segloop.report.findings import CUT_OFF, EMPTY_RESULT, NOT_EXPLAINED, Findings, Group, ModelStamp, collect
from segloop.report.identity import verify_against_source
from segloop.report.overlay import KeyImage, key_images, render_overlay
from segloop.report.pdf import person_name, render_pdf
from segloop.report.signature import Reference, Signature
from segloop.report.writing import write_all

__all__ = [
    "CUT_OFF",
    "EMPTY_RESULT",
    "NOT_EXPLAINED",
    "Findings",
    "Group",
    "KeyImage",
    "ModelStamp",
    "Reference",
    "Signature",
    "collect",
    "derive_uid",
    "key_images",
    "person_name",
    "render_overlay",
    "render_pdf",
    "verify_against_source",
    "write_all",
    "write_capture",
    "write_pdf",
    "write_rtstruct",
    "write_seg",
    "write_sr",
]
