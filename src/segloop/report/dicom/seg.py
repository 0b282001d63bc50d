"""Mask to DICOM Segmentation: one segment per label that occurs, in the place of the source's voxels."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Integer
from pydicom import Dataset

from segloop.errors import GeometryMismatch, InputError
from segloop.io.dicom.refs import SeriesRef
from segloop.plan import LabelSpec
from segloop.report.dicom.common import derive_uid, link, save, series_uid_of, state
from segloop.report.dicom.source import frame_of_reference, on_source, restore_references, source_images
from segloop.report.findings import Findings
from segloop.volume import Labels

Form = Literal["binary", "labelmap"]

SEGMENTATION: dict[Form, str] = {
    "binary": "1.2.840.10008.5.1.4.1.1.66.4",
    "labelmap": "1.2.840.10008.5.1.4.1.1.66.7",
}
"""SOP class of each form."""
SERIES_NUMBER = 9001


def write_seg(
    labels: Labels, series: SeriesRef, findings: Findings, uid: str, path: Path, *, form: Form = "binary"
) -> Path:
    """Write `labels` as a SEG of the source's study, on the source's own slices.

    Segments are numbered 1, 2, … over the labels that occur (`Findings.segment_numbers`). Frames without a voxel are
    left out, but for the first and the last slice of the grid, so that a reader rebuilds the whole grid. The model's
    name and version stand as algorithm name, its digest in the algorithm's parameters, the segment's description and
    the contributing equipment.

    Args:
        labels: Mask on the grid that the source was read on.
        series: The source.
        findings: Made by `collect` from the same mask.
        uid: SOP instance UID of the SEG.
        path: File to write.
        form: `binary`: a frame of bits for each segment on each slice, which every archive and viewer knows.
            `labelmap`: one frame per slice whose pixels are segment numbers, a SOP class of 2024 for receivers that
            take it; the background is described as segment 0.

    Raises:
        GeometryMismatch: The mask does not lie on the source's grid.
        InputError: `input.empty` when no voxel is labelled: then there is no SEG.

    Source: DICOM PS3.3 A.51 (Segmentation IOD) and A.51.2 with C.8.20.2 (label map).
    """
    import highdicom as hd

    if not findings.present:
        raise InputError("An empty mask gives no segmentation object; leave it out.", code="input.empty")
    if series.geometry is not None and not series.geometry.same_grid(labels.geometry):
        raise GeometryMismatch(
            f"The mask lies on {labels.geometry.describe()}, its source on {series.geometry.describe()}.",
            found=labels.geometry.describe(),
            expected=series.geometry.describe(),
        )
    images = source_images(series, labels.geometry)
    numbers = findings.segment_numbers
    table = np.zeros(max(numbers) + 1, np.uint8 if len(numbers) < 256 else np.uint16)
    for value, number in numbers.items():
        table[value] = number
    specs = {spec.value: spec for spec in findings.labels}
    pixels = table[on_source(labels, series)]
    if not pixels.any():
        raise InputError("The mask lies between the source's slices; no SEG on them can hold it.", code="input.empty")
    marked = _mark_ends(pixels)
    dataset = hd.seg.Segmentation(
        source_images=images,
        pixel_array=pixels,
        segmentation_type=form.upper(),
        segment_descriptions=[_describe(specs[value], number, series, findings) for value, number in numbers.items()],
        series_instance_uid=series_uid_of(uid),
        series_number=SERIES_NUMBER,
        sop_instance_uid=uid,
        instance_number=1,
        manufacturer="segloop",
        manufacturer_model_name="segloop",
        software_versions=findings.software,
        device_serial_number="0",
        content_label="SEGMENTATION",
        content_description=f"{findings.model.title[:40]}, {state(findings)}",
        content_creator_name="segloop^",
    )
    restore_references(dataset, series)
    _clear_ends(dataset, marked, series)
    _finish(dataset, series, findings, uid)
    return save(dataset, path)


def tracking(series: SeriesRef, findings: Findings, label: int) -> tuple[str, str]:
    """Tracking identifier and UID of a whole label, the same in SEG and SR and in every version of them.

    Where an earlier result of the patient knows the label, they are that result's.
    """
    known = findings.track(label)
    if known is not None:
        return known.identifier, known.uid
    spec = next(s for s in findings.labels if s.value == label)
    return spec.name[:64], derive_uid(f"{series.series_uid}|{findings.model.digest}|{label}", "tracking")


def _describe(spec: LabelSpec, number: int, series: SeriesRef, findings: Findings) -> Any:
    import highdicom as hd
    from pydicom.sr.codedict import codes

    model = findings.model
    name, tracking_uid = tracking(series, findings, spec.value)
    described = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=spec.name[:64],
        segmented_property_category=hd.sr.CodedConcept(
            spec.category.value, spec.category.scheme, spec.category.meaning
        ),
        segmented_property_type=hd.sr.CodedConcept(spec.code.value, spec.code.scheme, spec.code.meaning),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=model.title,
            family=codes.cid7162.ArtificialIntelligence,
            version=model.version[:64],
            source="segloop",
            parameters={"digest": model.digest, "runtime": model.runtime, "precision": model.precision},
        ),
        tracking_uid=tracking_uid,
        tracking_id=name,
        display_color=hd.color.CIELabColor.from_rgb(*spec.colour),
    )
    described.SegmentDescription = f"{spec.name}: {model.name} {model.version}, {model.digest}"
    if spec.site is not None:
        site = spec.site
        described.AnatomicRegionSequence = [hd.sr.CodedConcept(site.value, site.scheme, site.meaning)]
    return described


def _mark_ends(pixels: Integer[np.ndarray, "z y x"]) -> list[int]:
    """Set one pixel in an empty first or last slice, so that its frame is written; which slices these are."""
    marked = []
    for z in {0, len(pixels) - 1}:
        if not pixels[z].any():
            pixels[z, 0, 0] = 1
            marked.append(z)
    return marked


def _clear_ends(dataset: Dataset, marked: list[int], series: SeriesRef) -> None:
    """Take the pixels of `_mark_ends` away again; bits are packed frame after frame, lowest bit first."""
    images = [(file.sop_instance_uid, frame) for file, frame in series.images]
    ends = {images[z] for z in marked}
    packed, depth = bytearray(dataset.PixelData), int(dataset.BitsAllocated)
    for frame, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        # Told by the image it was drawn on: a projection has no position.
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        if (str(source.ReferencedSOPInstanceUID), int(source.get("ReferencedFrameNumber") or 0)) in ends:
            bit = frame * dataset.Rows * dataset.Columns * depth
            # The marked pixel is 1, so its lowest bit alone is set, also in two bytes of little endian.
            packed[bit // 8] &= 0xFF ^ (1 << bit % 8)
    dataset.PixelData = bytes(packed)


def _finish(dataset: Dataset, series: SeriesRef, findings: Findings, uid: str) -> None:
    """Replace what highdicom draws at random or reads from the clock, and put the source's identity in."""
    link(dataset, series, findings, "segmentation", SERIES_NUMBER)
    organisation = derive_uid(uid, "dimensions")
    for item in (*dataset.DimensionOrganizationSequence, *dataset.DimensionIndexSequence):
        item.DimensionOrganizationUID = organisation
    frame = frame_of_reference(series)
    if frame is not None:
        dataset.FrameOfReferenceUID = frame
    else:
        # Type 2C where no position says how the image lies.
        dataset.PatientOrientation = series.header().get("PatientOrientation") or ""
