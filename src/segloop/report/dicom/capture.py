"""Key images to a DICOM Secondary Capture that any viewer shows, contours and words in its pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from segloop.io.dicom.refs import SeriesRef
from segloop.measure.quantities import Quantity
from segloop.report.dicom.common import RESEARCH_USE, link, new_dataset, save, source_reference
from segloop.report.findings import Findings, Group
from segloop.report.overlay import KeyImage, mosaic

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
SERIES_NUMBER = 9004

# Body parts of which there is one: these have no side. Source: DICOM PS3.16 annex L, "paired structure" no.
_UNPAIRED = (
    *("ABDOMEN", "ABDOMENPELVIS", "AORTA", "BLADDER", "BRAIN", "CERVIX", "CHEST", "CHESTABDOMEN"),
    *("CHESTABDPELVIS", "CIRCLEOFWILLIS", "COCCYX", "COLON", "CSPINE", "CTSPINE", "ESOPHAGUS", "FACE"),
    *("GALLBLADDER", "HEAD", "HEADNECK", "HEART", "JAW", "LIVER", "LSPINE", "LSSPINE", "MEDIASTINUM"),
    *("MOUTH", "NECK", "NECKCHEST", "NOSE", "PANCREAS", "PELVIS", "PENIS", "PROSTATE", "RECTUM", "SKULL"),
    *("SPINE", "SPLEEN", "SSPINE", "STERNUM", "STOMACH", "THYMUS", "THYROID", "TLSPINE", "TONGUE"),
    *("TRACHEA", "TSPINE", "UTERUS", "VAGINA", "WHOLEBODY"),
)


def write_capture(images: Sequence[KeyImage], series: SeriesRef, findings: Findings, uid: str, path: Path) -> Path:
    """Write the key images side by side as one colour picture of the source's study.

    The pixels hold contours, patient sides, volumes, the model and "for research use", and no identity.

    Args:
        images: Of `key_images`.
        series: The source.
        findings: What the picture says.
        uid: SOP instance UID of the object.
        path: File to write.
    """
    head = [RESEARCH_USE] if findings.research_use else []
    head.append(f"{findings.model.name} {findings.model.version}, {_state(findings)}")
    legend = [(_line(group), group.spec.colour) for group in findings.groups if not group.component]
    pixels = mosaic(images, head, legend)
    dataset = new_dataset(SECONDARY_CAPTURE, uid, "OT")
    link(dataset, series, findings, "key images", SERIES_NUMBER)
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.ConversionType = "WSD"
    dataset.DateOfSecondaryCapture, dataset.TimeOfSecondaryCapture = dataset.ContentDate, dataset.ContentTime
    dataset.SecondaryCaptureDeviceManufacturer = "segloop"
    dataset.BodyPartExamined = series.body_part[:16]
    if series.body_part.upper() not in _UNPAIRED:
        # Type 2C: empty says unknown, which is true unless the source says a side.
        dataset.Laterality = str(series.header().get("Laterality", "") or "")
    dataset.PatientOrientation = ""
    dataset.BurnedInAnnotation = "NO"
    dataset.RecognizableVisualFeatures = "NO"
    dataset.LossyImageCompression = "00"
    dataset.DerivationDescription = "Key images with the contours of an automatic segmentation"
    dataset.SourceImageSequence = source_reference(series)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    raw = pixels.tobytes()
    dataset.PixelData = raw + b"\0" * (len(raw) % 2)
    return save(dataset, path)


def _state(findings: Findings) -> str:
    """Whether a person stands behind it; not who, so that no identity comes into the pixels."""
    signature = findings.signature
    return "automatic draft, not reviewed" if signature is None else f"signed on {signature.signed_at:%Y-%m-%d}"


def _line(group: Group) -> str:
    volume = group.value(Quantity.VOLUME)
    if not group.found or volume is None:
        return f"{group.spec.name}: not found" if not group.found else group.spec.name
    return f"{group.spec.name}: {volume.value:.2f} ml"
