"""A made-up DICOM series of any orientation, and every result object about it: for the tests of the report layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from segloop.io.dicom import SeriesRef, read_series, scan
from segloop.measure import VolumeInterval, measure_labels, with_intervals
from segloop.plan import Code, LabelSpec
from segloop.report import (
    Findings,
    ModelStamp,
    Reference,
    Signature,
    collect,
    derive_uid,
    key_images,
    render_overlay,
    render_pdf,
    write_capture,
    write_pdf,
    write_seg,
    write_sr,
)
from segloop.volume import Geometry, Labels, Volume

CREATED = datetime(2026, 11, 22, 9, 30, 0, tzinfo=timezone(timedelta(hours=8)))
MODEL = ModelStamp(
    name="hippocampus-mr",
    version="1.0",
    digest="sha256:" + "0123456789abcdef" * 4,
    runtime="openvino",
    precision="bfloat16",
    intended_use="Research on hippocampal volume.",
)
_ANATOMY = Code(value="123037004", meaning="Body structure")
_CHANGED = Code(value="49755003", meaning="Morphologically Altered Structure")
SPECS = (
    LabelSpec(
        value=1,
        name="Anterior",
        name_zh="前部",
        code=Code(value="279222003", meaning="Head of hippocampus"),
        category=_ANATOMY,
        colour=(230, 80, 60),
    ),
    LabelSpec(
        value=2,
        name="Posterior",
        name_zh="后部",
        code=Code(value="279223008", meaning="Body of hippocampus"),
        category=_ANATOMY,
        colour=(60, 150, 230),
    ),
    LabelSpec(
        value=4,
        name="Lesion",
        name_zh="病灶",
        code=Code(value="52988006", meaning="Lesion"),
        category=_CHANGED,
        site=Code(value="5366008", meaning="Hippocampus"),
        components=True,
        colour=(90, 200, 90),
    ),
)

INTERVAL = VolumeInterval(label=1, centre=0.0, lower=-0.2, upper=0.15, seen_ml=(0.1, 5000.0), cases=80)


@dataclass(frozen=True)
class Made:
    """A source series, a mask on it, and the results about it."""

    series: SeriesRef
    volume: Volume
    labels: Labels
    findings: Findings
    folder: Path

    @property
    def objects(self) -> list[Path]:
        return sorted(self.folder.glob("*.dcm"))


def write_series(
    folder: Path,
    *,
    directions: Sequence[Sequence[float]] = ((0, 0, 1), (0, 1, 0), (1, 0, 0)),
    shape: tuple[int, int, int] = (9, 24, 20),
    spacing_mm: tuple[float, float, float] = (2.5, 0.8, 1.1),
    modality: str = "MR",
    reverse_names: bool = False,
    changes: dict[str, object] | None = None,
) -> SeriesRef:
    """A series whose slice z, row y, column x lie along `directions`; `changes` sets or (None) removes attributes."""
    folder.mkdir(parents=True, exist_ok=True)
    geometry = Geometry(shape, spacing_mm, (-31.0, 12.5, 40.25), tuple(tuple(map(float, d)) for d in directions))
    noise = np.random.default_rng(7).integers(0, 80, shape)
    sop_class = {"CT": "1.2.840.10008.5.1.4.1.1.2", "MR": "1.2.840.10008.5.1.4.1.1.4"}[modality]
    for z in range(shape[0]):
        d = pydicom.Dataset()
        d.file_meta = FileMetaDataset()
        d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        d.SOPClassUID, d.SOPInstanceUID = sop_class, derive_uid(f"{folder.name}{z}", "instance")
        d.StudyInstanceUID, d.SeriesInstanceUID = derive_uid(folder.name, "study"), derive_uid(folder.name, "series")
        d.FrameOfReferenceUID = derive_uid(folder.name, "frame")
        d.PatientName, d.PatientID, d.IssuerOfPatientID = "Doe^Jane", "PID-1", "HOSPITAL"
        d.PatientBirthDate, d.PatientSex, d.AccessionNumber = "19700102", "F", "ACC-9"
        d.StudyDate, d.StudyTime, d.StudyID, d.StudyDescription = "20261120", "101500", "S1", "Head"
        d.Modality, d.SeriesDescription, d.SeriesNumber, d.InstanceNumber = modality, "T1", 3, z + 1
        d.ReferringPhysicianName = d.Manufacturer = ""
        d.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        d.ImagePositionPatient = [f"{v:.6f}" for v in geometry.to_lps(np.array([z, 0, 0], float))]
        d.ImageOrientationPatient = [f"{v:.8f}" for v in (*geometry.direction[2], *geometry.direction[1])]
        d.PixelSpacing, d.SliceThickness = list(spacing_mm[1:]), spacing_mm[0]
        d.Rows, d.Columns = shape[1:]
        d.SamplesPerPixel, d.PhotometricInterpretation = 1, "MONOCHROME2"
        d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 16, 16, 15, 1
        d.PixelData = (noise[z] + 10 * z).astype("<i2").tobytes()
        for keyword, value in (changes or {}).items():
            if value is None:
                d.pop(keyword, None)
            else:
                setattr(d, keyword, value)
        name = shape[0] - z if reverse_names else z
        d.save_as(folder / f"{name:03d}.dcm", enforce_file_format=True)
    return scan(folder)[0]


def mask_for(volume: Volume) -> Labels:
    """Two touching organs and two lesions of different size, none symmetric in any axis."""
    z, y, x = volume.array.shape[:3]
    array = np.zeros((z, y, x), np.uint8)
    middle = z // 2
    array[middle - 1 : middle + 2, y // 4 : y // 2, x // 3 : x // 3 + 5] = 1
    array[middle - 1 : middle + 1, y // 2 : y // 2 + 5, x // 3 : x // 3 + 4] = 2
    array[middle : middle + 2, 2:6, x - 6 : x - 2] = 4
    array[middle, y - 4 : y - 2, 1:4] = 4
    return Labels(array, volume.geometry, {spec.value: spec.name for spec in SPECS})


def write_all(
    series: SeriesRef,
    folder: Path,
    labels: Labels | None = None,
    *,
    signature: Signature | None = None,
    predecessors: tuple[Reference, ...] = (),
) -> Made:
    """Every result of a series, as the workflow writes them; one that has predecessors has UIDs of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    volume = read_series(series)
    mask = mask_for(volume) if labels is None else labels
    measured = with_intervals(measure_labels(mask, volume, SPECS), [INTERVAL])
    findings = collect(mask, measured, SPECS, MODEL, CREATED)
    findings = findings.model_copy(update={"signature": signature, "predecessors": predecessors})
    images = key_images(volume, mask, SPECS)
    key = series.series_uid + "".join(earlier.sop_instance_uid for earlier in predecessors)
    uids = {role: derive_uid(key, role) for role in ("seg", "sr", "report", "capture")}
    seg_uid = uids["seg"] if findings.present else None
    if seg_uid:
        write_seg(mask, series, findings, seg_uid, folder / "seg.dcm")
    write_sr(mask, series, findings, uids["sr"], folder / "sr.dcm", seg_uid=seg_uid)
    pdf = render_pdf(findings, series, images)
    (folder / "report.pdf").write_bytes(pdf)
    write_pdf(pdf, series, findings, uids["report"], folder / "report.dcm")
    write_capture(images, series, findings, uids["capture"], folder / "capture.dcm")
    (folder / "overlay.png").write_bytes(render_overlay(volume, mask, SPECS))
    return Made(series, volume, mask, findings, folder)
