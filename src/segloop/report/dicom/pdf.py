"""Report page to DICOM Encapsulated PDF."""

from __future__ import annotations

from pathlib import Path

from segloop.io.dicom.refs import SeriesRef
from segloop.report.dicom.attestation import succeed
from segloop.report.dicom.common import code_item, link, new_dataset, save, source_reference
from segloop.report.findings import Findings

ENCAPSULATED_PDF = "1.2.840.10008.5.1.4.1.1.104.1"
SERIES_NUMBER = 9003


def write_pdf(pdf: bytes, series: SeriesRef, findings: Findings, uid: str, path: Path) -> Path:
    """Write a PDF as an Encapsulated PDF of the source's study.

    A signature makes it VERIFIED; who signed stands on the page, since the object has no place for a name. Predecessors
    that are such documents are named.

    Args:
        pdf: What `render_pdf` gave. The page shows the patient's name, so BurnedInAnnotation is YES.
        series: The source.
        findings: What the page says; gives dates and equipment.
        uid: SOP instance UID of the object.
        path: File to write.

    Source: DICOM PS3.3 C.24.2 (Encapsulated Document Module).
    """
    dataset = new_dataset(ENCAPSULATED_PDF, uid, "DOC")
    link(dataset, series, findings, "report", SERIES_NUMBER)
    dataset.ConversionType = "WSD"
    dataset.BurnedInAnnotation = "YES"
    dataset.RecognizableVisualFeatures = "NO"
    dataset.AcquisitionDateTime = ""
    dataset.DocumentTitle = f"Segmentation report, {findings.model.title}"
    dataset.ConceptNameCodeSequence = [code_item("18748-4", "LN", "Diagnostic imaging study")]
    dataset.VerificationFlag = "UNVERIFIED" if findings.signature is None else "VERIFIED"
    succeed(dataset, findings)
    dataset.SourceInstanceSequence = source_reference(series)
    dataset.MIMETypeOfEncapsulatedDocument = "application/pdf"
    dataset.EncapsulatedDocumentLength = len(pdf)
    dataset.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    return save(dataset, path)
