"""Results as people and PACS read them: findings, key images, PDF, and DICOM objects linked to their source."""

from __future__ import annotations

from segloop.report.checking import verify_content
from segloop.report.dicom import (
    derive_uid,
    reference_to,
    write_capture,
    write_key_objects,
    write_pdf,
    write_rejection,
    write_rtstruct,
    write_seg,
    write_sr,
)
from segloop.report.findings import CUT_OFF, EMPTY_RESULT, NOT_EXPLAINED, Findings, Group, ModelStamp, collect
from segloop.report.follow_up import FollowUp, Track
from segloop.report.following import follow
from segloop.report.identity import verify_against_source
from segloop.report.overlay import KeyImage, key_images, render_overlay
from segloop.report.pdf import person_name, render_pdf
from segloop.report.prior import Whose, prior_key, read_priors, whose_image, whose_result, whose_series, with_priors
from segloop.report.signature import Observer, Reference, Signature
from segloop.report.tracing import Dated
from segloop.report.writing import write_all

__all__ = [
    "CUT_OFF",
    "EMPTY_RESULT",
    "NOT_EXPLAINED",
    "Dated",
    "Findings",
    "FollowUp",
    "Group",
    "KeyImage",
    "ModelStamp",
    "Observer",
    "Reference",
    "Signature",
    "Track",
    "Whose",
    "collect",
    "derive_uid",
    "follow",
    "key_images",
    "person_name",
    "prior_key",
    "read_priors",
    "reference_to",
    "render_overlay",
    "render_pdf",
    "verify_against_source",
    "verify_content",
    "whose_image",
    "whose_result",
    "whose_series",
    "with_priors",
    "write_all",
    "write_capture",
    "write_key_objects",
    "write_pdf",
    "write_rejection",
    "write_rtstruct",
    "write_seg",
    "write_sr",
]
