"""Every object of one result, written together, since they refer to each other, and compared with the source."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydicom import dcmread

from segloop.report.checking import verify_content
from segloop.report.dicom import (
    derive_uid,
    reference_to,
    write_capture,
    write_key_objects,
    write_pdf,
    write_rtstruct,
    write_seg,
    write_sr,
)
from segloop.report.dicom.seg import Form
from segloop.report.findings import Findings
from segloop.report.heat import outlined_heat
from segloop.report.identity import verify_against_source
from segloop.report.messages import ResultStatus, fhir_bundle, oru_r01, verify_bundle, verify_oru
from segloop.report.overlay import key_images, render_overlay
from segloop.report.pdf import Explained, render_pdf
from segloop.store import READABLE, write_whole
from segloop.volume import Labels, Volume

if TYPE_CHECKING:
    from segloop.io.dicom import SeriesRef

SEG, SR, PDF, REPORT, CAPTURE, OVERLAY = "seg.dcm", "sr.dcm", "report.pdf", "report.dcm", "capture.dcm", "overlay.png"
ORU, FHIR = "oru.hl7", "fhir.json"
RTSTRUCT, KEY_OBJECTS = "rtstruct.dcm", "key_objects.dcm"

_UIDS = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"]


def write_all(  # noqa: PLR0913 - one argument per source of what is written
    findings: Findings,
    labels: Labels,
    volume: Volume,
    series: SeriesRef,
    key: str,
    out: Path,
    *,
    language: Literal["en", "zh-CN"] = "en",
    paper: Literal["a4", "letter"] = "a4",
    heat: tuple[int, Volume] | None = None,
    rtstruct: bool = False,
    seg: Form = "binary",
    draft_key: str | None = None,
) -> dict[str, str]:
    """Write every object and message of one result, compare them with their source, and return file names by kind.

    These are SEG, SR, PDF (as a file and encapsulated), capture, key objects, overlay, ORU and FHIR bundle. Their UIDs
    and identifiers derive from `key`, so the same key writes the same objects. An empty mask gives neither SEG nor key
    objects, and older ones are removed. What was written is read again before it is compared.

    Args:
        findings: Made by `collect` from the same mask.
        labels: The mask, on the grid of the source.
        volume: The image, on the same grid.
        series: The source.
        key: Study key.
        out: Folder to write to.
        language: Of the PDF.
        paper: Of the PDF.
        heat: A label's number and where the network looked for it, 0 to 1 on the same grid; shown in the PDF.
        rtstruct: Whether an RTSTRUCT is written beside the SEG.
        seg: Form of the SEG.
        draft_key: Of a signed result, the key of the draft, by whose identifiers a FHIR server replaces it.

    Raises:
        PrivacyError: `identity.mismatch`: an object disagrees with its source; nothing may be sent then.
        GeometryMismatch: The mask does not lie on the source's grid, or a written one elsewhere.
        ModelError: `model.mismatch`: an object says something else than the findings.
    """
    images = key_images(volume, labels, findings.labels)
    explained = None
    if heat is not None:
        explained = Explained(heat[0], outlined_heat(volume, heat[1], labels, heat[0]))
    pdf = render_pdf(findings, series, images, language, paper, explained)
    _whole(out / PDF, lambda path: path.write_bytes(pdf))
    _whole(out / OVERLAY, lambda path: path.write_bytes(render_overlay(volume, labels, findings.labels)))
    seg_uid = derive_uid(key, "seg") if findings.present else None
    if seg_uid is None:
        (out / SEG).unlink(missing_ok=True)
    else:
        _whole(out / SEG, lambda path: write_seg(labels, series, findings, seg_uid, path, form=seg))
    (out / RTSTRUCT).unlink(missing_ok=True)
    if rtstruct and findings.present:
        uid = derive_uid(key, "rtstruct")
        _whole(out / RTSTRUCT, lambda path: write_rtstruct(labels, series, findings, uid, path))
    sr_uid = derive_uid(key, "sr")
    _whole(out / SR, lambda path: write_sr(labels, series, findings, sr_uid, path, seg_uid=seg_uid, form=seg))
    _whole(out / REPORT, lambda path: write_pdf(pdf, series, findings, derive_uid(key, "report"), path))
    _whole(out / CAPTURE, lambda path: write_capture(images, series, findings, derive_uid(key, "capture"), path))
    dicom = {"seg": SEG} if seg_uid else {}
    dicom |= {"rtstruct": RTSTRUCT} if rtstruct and findings.present else {}
    dicom |= {"sr": SR, "report": REPORT, "capture": CAPTURE}
    (out / KEY_OBJECTS).unlink(missing_ok=True)
    if findings.present:
        named = [reference_to(dcmread(out / name, specific_tags=_UIDS)) for name in dicom.values()]
        uid_of_keys = derive_uid(key, "key objects")
        _whole(out / KEY_OBJECTS, lambda path: write_key_objects(images, series, findings, named, uid_of_keys, path))
        dicom["key_objects"] = KEY_OBJECTS
    objects = [out / name for name in dicom.values()]
    verify_against_source(objects, series)
    verify_content(objects, labels, series, findings)
    status = ResultStatus.of(findings.signature)
    message = oru_r01(findings, series, pdf, key, status=status)
    bundle = fhir_bundle(findings, series, pdf, draft_key or key, status=status, edition=key)
    verify_oru(message, series)
    verify_bundle(bundle, series)
    write_whole(message, out / ORU, READABLE)
    write_whole(bundle, out / FHIR, READABLE)
    return {**dicom, "pdf": PDF, "overlay": OVERLAY, "oru": ORU, "fhir": FHIR}


def _whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write beside `path` and move it there, so that a killed process leaves no half file."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
