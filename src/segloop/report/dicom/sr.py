"""Measurements to DICOM Structured Report: a Comprehensive 3D SR of template 1500, a draft or signed.

Each label is a measurement group of template 1411 that points to its segment; each part of a label counted in parts is
one that points to its middle in the patient's space. A label that was not found is said so in the qualitative
evaluations, and where none was found each label is a group of template 1501 with the volume 0. The two kinds are never
mixed: a validator takes all groups of a report for the same kind.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.uid import UID

from segloop.io.dicom.refs import InstanceRef, SeriesRef
from segloop.measure.quantities import Measurement, Quantity
from segloop.plan import Code
from segloop.report import concepts
from segloop.report.dicom.attestation import attest, observers, succeed
from segloop.report.dicom.common import derive_uid, link, save, series_uid_of
from segloop.report.dicom.seg import SEGMENTATION, Form, tracking
from segloop.report.dicom.source import evidence_images, frame_of_reference, on_source, restore_references
from segloop.report.findings import Findings, Group
from segloop.volume import Labels

SERIES_NUMBER = 9002

_COMMENT = ("121106", "DCM", "Comment")


def write_sr(
    labels: Labels,
    series: SeriesRef,
    findings: Findings,
    uid: str,
    path: Path,
    *,
    seg_uid: str | None = None,
    form: Form = "binary",
) -> Path:
    """Write the measurements as a structured report of the source's study.

    Unsigned findings give a preliminary, unverified report. A signature makes it final and verified, names the person
    as verifying observer and beside the device as observer; predecessors that are reports are named as such.

    Args:
        labels: The mask that was measured; tells which images show a label.
        series: The source.
        findings: What to say.
        uid: SOP instance UID of the report.
        path: File to write.
        seg_uid: SOP instance UID of the SEG of the same mask; None for an empty mask, which has none.
        form: Of that SEG.

    Raises:
        ValueError: Labels were found and `seg_uid` is None, or the other way round.
    """
    import highdicom as hd
    from pydicom.sr.codedict import codes

    if bool(findings.present) != (seg_uid is not None):
        raise ValueError(f"a SEG goes with a mask that is not empty. Received: {seg_uid=}, labels {findings.present}")
    evidence = evidence_images(series)
    seg = None if seg_uid is None else _segmentation_stub(seg_uid, form, evidence[0])
    if seg is not None:
        evidence.append(seg)
    told = [group for group in findings.groups if group.found or not findings.present]
    groups = [_group(group, labels, series, findings, uid, seg) for group in told]
    person, device = observers(findings)
    report = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_person_context=person, observer_device_context=device),
        procedure_reported=_concept(concepts.procedure(series.modality)),
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    report[0].ContentSequence.append(_evaluations(findings))
    dataset = hd.sr.Comprehensive3DSR(
        evidence=evidence,
        content=report,
        series_instance_uid=series_uid_of(uid),
        series_number=SERIES_NUMBER,
        sop_instance_uid=uid,
        instance_number=1,
        manufacturer="segloop",
    )
    restore_references(dataset, series)
    attest(dataset, findings)
    succeed(dataset, findings)
    link(dataset, series, findings, "measurements", SERIES_NUMBER)
    return save(dataset, path)


def _group(group: Group, labels: Labels, series: SeriesRef, findings: Findings, uid: str, seg: Dataset | None) -> Any:
    import highdicom as hd

    model, spec = findings.model, group.spec
    name, tracking_uid = tracking(series, findings, spec.value)
    if group.component:
        known = findings.track(spec.value, group.component)
        name = known.identifier if known else f"{name[:56]} {group.component}"
        tracking_uid = known.uid if known else derive_uid(f"{uid}|{spec.value}|{group.component}", "tracking")
    parameters = [f"digest={model.digest}"]
    if model.runtime:
        parameters.append(f"runtime={model.runtime} {model.precision}".strip())
    common = {
        "tracking_identifier": hd.sr.TrackingIdentifier(uid=tracking_uid, identifier=name),
        "finding_category": _coded(spec.category),
        "finding_type": _coded(spec.code),
        "finding_sites": [hd.sr.FindingSite(anatomic_location=_coded(spec.site or spec.code))],
        "algorithm_id": hd.sr.AlgorithmIdentification(
            name=model.name, version=model.version, parameters=parameters, manufacturer="segloop"
        ),
        "measurements": [_measured(m, series) for m in group.measurements],
        "time_point_context": _time_point(findings),
    }
    if seg is None:
        absent = hd.sr.QualitativeEvaluation(name=_concept(concepts.PRESENCE), value=_concept(concepts.ABSENT))
        return hd.sr.MeasurementsAndQualitativeEvaluations(qualitative_evaluations=[absent], **common)
    surface = _middle(group, series) if group.component else None
    segment = None
    if surface is None:
        segment = hd.sr.ReferencedSegment(
            sop_class_uid=seg.SOPClassUID,
            sop_instance_uid=seg.SOPInstanceUID,
            segment_number=findings.segment_numbers[spec.value],
            source_images=_images_showing(spec.value, labels, series),
        )
    return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        referenced_segment=segment, referenced_volume_surface=surface, **common
    )


def _time_point(findings: Findings) -> Any:
    """Which of the patient's results this is, counted from the oldest known; None where no other is known.

    It is told as a text alone: validators take the template's number for a measurement of the group.

    Source: DICOM PS3.16 TID 1502.
    """
    import highdicom as hd

    if findings.follow_up is None or not findings.follow_up.priors:
        return None
    return hd.sr.TimePointContext(time_point=str(len(findings.follow_up.priors) + 1))


def _middle(group: Group, series: SeriesRef) -> Any:
    """The middle of the longest diameter as the place of a part; None for a series without patient space."""
    import highdicom as hd

    longest, frame = group.value(Quantity.LONGEST_DIAMETER), frame_of_reference(series)
    if longest is None or not longest.points_mm or frame is None:
        return None
    return hd.sr.VolumeSurface(
        graphic_type=hd.sr.GraphicTypeValues3D.POINT,
        graphic_data=np.mean(longest.points_mm, axis=0, keepdims=True).round(3),
        frame_of_reference_uid=frame,
        source_series=hd.sr.SourceSeriesForSegmentation(series.series_uid),
    )


def _measured(measurement: Measurement, series: SeriesRef) -> Any:
    import highdicom as hd

    derivation = concepts.derivation(measurement.quantity)
    return hd.sr.Measurement(
        name=_concept(concepts.quantity_concept(measurement.quantity, series.modality)),
        value=round(measurement.value, concepts.decimals(measurement.quantity)),
        unit=_concept(concepts.unit_concept(measurement.unit)),
        derivation=None if derivation is None else _concept(derivation),
    )


def _images_showing(label: int, labels: Labels, series: SeriesRef) -> list[Any]:
    import highdicom as hd

    slices = np.flatnonzero((on_source(labels, series) == label).any(axis=(1, 2))).tolist()
    frames: dict[InstanceRef, list[int]] = {}
    images = series.images
    for file, frame in (images[z] for z in slices):
        frames.setdefault(file, []).append(frame)
    return [
        hd.sr.SourceImageForSegmentation(
            file.sop_class_uid, file.sop_instance_uid, sorted(n for n in numbers if n) or None
        )
        for file, numbers in frames.items()
    ]


def _segmentation_stub(seg_uid: str, form: Form, image: Dataset) -> Dataset:
    """As much of the SEG as a reference to it needs."""
    stub = Dataset()
    stub.SOPClassUID, stub.SOPInstanceUID = UID(SEGMENTATION[form]), UID(seg_uid)
    stub.StudyInstanceUID, stub.SeriesInstanceUID = image.StudyInstanceUID, UID(series_uid_of(seg_uid))
    return stub


def _evaluations(findings: Findings) -> Any:
    """What is said in words and codes: research use, draft, labels not found, intervals of volumes, warnings.

    Template 310 has codes for upper and lower uncertainty, which validators refuse below a volume of template 1419.
    """
    import highdicom as hd

    contains = hd.sr.RelationshipTypeValues.CONTAINS
    item = hd.sr.ContainerContentItem(name=_concept(concepts.EVALUATIONS), relationship_type=contains)
    item.ContentSequence = hd.sr.ContentSequence()
    absent = [group.spec for group in findings.groups if not group.found]
    for spec in absent:
        item.ContentSequence.append(
            hd.sr.CodeContentItem(name=_coded(spec.code), value=_concept(concepts.ABSENT), relationship_type=contains)
        )
    intervals = [text for m in findings.measurements if (text := concepts.interval_sentence(m)) is not None]
    reservations = concepts.reservations(findings, draft=findings.signature is None)
    for text in (*reservations, *intervals, *findings.warnings):
        item.ContentSequence.append(
            hd.sr.TextContentItem(name=_concept(_COMMENT), value=text, relationship_type=contains)
        )
    return item


def _coded(code: Code) -> Any:
    return _concept((code.value, code.scheme, code.meaning))


def _concept(code: tuple[str, str, str]) -> Any:
    import highdicom as hd

    return hd.sr.CodedConcept(value=code[0], scheme_designator=code[1], meaning=code[2][:64])
