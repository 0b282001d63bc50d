"""A service under test: small real DICOM studies, a model that is all paper, and steps that take milliseconds."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from pydicom import Dataset, FileDataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, SecondaryCaptureImageStorage

from segloop.errors import InputError
from segloop.io import dicom
from segloop.io import files as image_files
from segloop.io.dicom.own import MANUFACTURER
from segloop.io.dicom.rejection import KEY_OBJECTS
from segloop.measure import Measurement, Quantity
from segloop.plan import LabelSpec, Plan, SeriesRule
from segloop.service.deliver import Address, send
from segloop.service.running import Service
from segloop.settings import Settings
from segloop.study import InferenceRecord, SelectionRecord, StudyTask, file_digest, read_record, write_record
from segloop.volume import Labels
from segloop.workflow import LABELS, RESULT, ModelUsed, Step, StudyResult, findings, select
from segloop.workflow import objects as write_objects

NAME, PATIENT_ID, ACCESSION = "Zyxplanted^Quillara", "PLANTED-7731", "ACC-PLANTED-55"
STUDY_UID = "1.2.826.0.1.3680043.8.498.77311"
GO = "go"
PLANTED = (b"Zyxplanted", b"Quillara", b"PLANTED-7731", b"ACC-PLANTED-55", STUDY_UID.encode(), b"19631129")


def slice_of(number: int, study_uid: str = STUDY_UID, **changes: object) -> FileDataset:
    """One MR slice of a study of one series; `changes` are DICOM keywords."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = MRImageStorage
    dataset.SOPInstanceUID = f"{study_uid}.1.{number}"
    dataset.StudyInstanceUID = study_uid
    dataset.SeriesInstanceUID = f"{study_uid}.1"
    dataset.FrameOfReferenceUID = f"{study_uid}.9"
    dataset.PatientName, dataset.PatientID = NAME, PATIENT_ID
    dataset.PatientBirthDate, dataset.PatientSex = "19631129", "F"
    dataset.AccessionNumber, dataset.StudyID = ACCESSION, "1"
    dataset.StudyDate, dataset.StudyTime = "20260102", "101500"
    dataset.ReferringPhysicianName = ""
    dataset.Modality, dataset.SeriesDescription = "MR", "crop"
    dataset.Manufacturer, dataset.SeriesNumber, dataset.InstanceNumber = "Acme", 1, number
    dataset.PatientPosition = "HFS"
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.ImagePositionPatient = [0, 0, float(number)]
    dataset.PixelSpacing, dataset.SliceThickness = [1, 1], 1
    dataset.Rows = dataset.Columns = 8
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.PixelData = (np.arange(64, dtype=np.uint16) + number).tobytes()
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def rejection(uids: Mapping[str, str], title: str = "113001", study_uid: str = STUDY_UID) -> FileDataset:
    """A key object of a PACS about instances (UID to SOP class) of the series of a study."""
    named = []
    for uid, sop_class in uids.items():
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
        named.append(item)
    series, evidence, code = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID, series.ReferencedSOPSequence = f"{study_uid}.1", named
    evidence.StudyInstanceUID, evidence.ReferencedSeriesSequence = study_uid, [series]
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = title, "DCM", "title"
    content = []
    for item in named:
        entry = Dataset()
        entry.RelationshipType, entry.ValueType, entry.ReferencedSOPSequence = "CONTAINS", "IMAGE", [item]
        content.append(entry)
    note = slice_of(1, study_uid)
    for keyword in ("PixelData", "Rows", "Columns", "ImagePositionPatient", "ImageOrientationPatient"):
        delattr(note, keyword)
    note.SOPClassUID, note.Modality = KEY_OBJECTS, "KO"
    note.SOPInstanceUID = f"{study_uid}.7.{int(hashlib.sha256(repr((uids, title)).encode()).hexdigest()[:8], 16)}"
    note.SeriesInstanceUID, note.ValueType = f"{study_uid}.7", "CONTAINER"
    note.ConceptNameCodeSequence, note.ContentSequence = [code], content
    note.CurrentRequestedProcedureEvidenceSequence = [evidence]
    note.file_meta.MediaStorageSOPClassUID = note.SOPClassUID
    note.file_meta.MediaStorageSOPInstanceUID = note.SOPInstanceUID
    return note


def rejected_slices(*numbers: int, study_uid: str = STUDY_UID, title: str = "113001") -> FileDataset:
    """A rejection note about slices of `study`."""
    return rejection({f"{study_uid}.1.{n}": MRImageStorage for n in numbers}, title, study_uid)


def write(folder: Path, *slices: FileDataset) -> list[Path]:
    """Save slices as files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for slice_ in slices:
        path = folder / f"{slice_.SOPInstanceUID}.dcm"
        slice_.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def study(folder: Path, slices: int = 4, study_uid: str = STUDY_UID, **changes: object) -> list[Path]:
    """A study of one MR series as files."""
    return write(folder, *(slice_of(n, study_uid, **changes) for n in range(1, slices + 1)))


def paper_bundle(folder: Path, rule: SeriesRule | None = None) -> Path:
    """A bundle with a plan and no weights: enough to choose a series by."""
    plan = Plan(
        name="paper",
        labels=(LabelSpec(value=1, name="one"),),
        inputs=rule or SeriesRule(modalities=("MR",), min_slices=3),
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plan.json").write_text(plan.to_json(), encoding="utf-8")
    manifest = {
        "schema": 1,
        "name": "paper",
        "version": "1.0",
        "labels": [label.model_dump(mode="json") for label in plan.labels],
        "files": {"plan.json": hashlib.sha256((folder / "plan.json").read_bytes()).hexdigest()},
        "plan_digest": plan.digest,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def settings(root: Path, **changes: object) -> Settings:
    """A deployment below a folder: free ports, hardly any quiet time, the paper model for every study."""
    bundle = root / "bundle"
    if not bundle.exists():
        paper_bundle(bundle)
    document: dict[str, object] = {
        "data_dir": str(root / "data"),
        "node": {"port": 0},
        "web": {"port": 0},
        "study": {"quiet_seconds": 0.3},
        "rule": [{"model": str(bundle)}],
    }
    return Settings.parse({**document, **changes})


def objects(task: StudyTask) -> None:
    """Write a result with one DICOM object that belongs to the source, as the real step does."""
    record = read_record(SelectionRecord, task.out / "selection.json")
    with dicom.opened(task.source, record.files) as found:
        source = dcmread(found.paths[0])
    result = Dataset()
    for element in source.group_dataset(0x0010):
        result.add(element)
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "AccessionNumber", "StudyDate", "StudyTime", "StudyID"):
        setattr(result, keyword, source.get(keyword, ""))
    result.SpecificCharacterSet = "ISO_IR 192"
    result.SOPClassUID = SecondaryCaptureImageStorage
    result.SOPInstanceUID = f"2.25.{int(record.key[:30], 16)}"
    result.SeriesInstanceUID = f"2.25.{int(record.key[30:60], 16)}"
    result.Manufacturer, result.Modality = MANUFACTURER, "OT"
    result.SeriesNumber, result.InstanceNumber, result.ConversionType = 900, 1, "WSD"
    result.Rows = result.Columns = 2
    result.SamplesPerPixel, result.PhotometricInterpretation = 1, "MONOCHROME2"
    result.BitsAllocated = result.BitsStored = 8
    result.HighBit, result.PixelRepresentation = 7, 0
    result.PixelData = bytes([len(record.files)] * 4)
    result.file_meta = FileMetaDataset()
    result.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    result.file_meta.MediaStorageSOPClassUID = result.SOPClassUID
    result.file_meta.MediaStorageSOPInstanceUID = result.SOPInstanceUID
    result.save_as(task.out / "capture.dcm", enforce_file_format=True)
    volume = Measurement(label=1, name="one", quantity=Quantity.VOLUME, value=1.25, unit="ml")
    done = StudyResult(
        study_uid=record.study_uid,
        series_uid=record.series_uid,
        key=record.key,
        model=ModelUsed(name="paper", version="1.0", digest=record.bundle_digest, runtime="none", precision="none"),
        measurements=(volume,),
        seconds={"total": 0.0},
        peak_rss_mb=1.0,
        warnings=(),
        refused=record.refused,
        files={"capture": "capture.dcm"},
    )
    write_record(done, task.out / RESULT)


def drawn(task: StudyTask) -> None:
    """Draw a box where a network would find something."""
    record = read_record(SelectionRecord, task.out / "selection.json")
    with dicom.opened(task.source, record.files) as found:
        (series,) = dicom.scan_files(found)
        geometry = dicom.read_series(series).geometry
    array = np.zeros(geometry.shape, np.uint8)
    array[1:3, 2:5, 3:7] = 1
    image_files.write(Labels(array, geometry, {1: "one"}), task.out / LABELS)
    done = InferenceRecord(
        runtime="none",
        precision="none",
        choice="",
        seconds={"network": 0.0},
        warnings=(),
        peak_rss_mb=1.0,
        labels_digest=file_digest(task.out / LABELS),
    )
    write_record(done, task.out / "inference.json")


def slow(task: StudyTask) -> None:
    """Take two seconds, and leave a mark for each time it was begun."""
    (task.out / f"begun-{time.time_ns()}").touch()
    time.sleep(2.0)


def hold(task: StudyTask) -> None:
    """Wait until a file in the deployment's folder lets jobs go on."""
    while not (task.out.parent.parent.parent / GO).exists():
        time.sleep(0.05)


def dies_once(task: StudyTask) -> None:
    """Kill the worker process the first time."""
    mark = task.out / "died"
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def dies(task: StudyTask) -> None:
    """Kill the worker process each time."""
    os.kill(os.getpid(), signal.SIGKILL)


def wrong_patient(task: StudyTask) -> None:
    """Write a result that names another patient."""
    objects(task)
    path = task.out / "capture.dcm"
    result = dcmread(path)
    result.PatientID = "SOMEBODY-ELSE"
    result.save_as(path)


def note_process(task: StudyTask) -> None:
    """Write down in which process this runs."""
    (task.out / "pid").write_text(str(os.getpid()), encoding="utf-8")


def refuse(task: StudyTask) -> None:
    """Fail as a step does."""
    raise InputError("a reason", code="input.empty", found=1, hint="do it")


TINY = (Step("select", select), Step("objects", objects))
SLOW = (Step("select", select), Step("slow", slow), Step("objects", objects))
DIES_ONCE = (Step("select", select), Step("dies_once", dies_once), Step("objects", objects))
DIES = (Step("select", select), Step("dies", dies), Step("objects", objects))
REAL = (Step("select", select), Step("infer", drawn), Step("findings", findings), Step("objects", write_objects))
"""The walk with every real object, and a box in place of a network's answer."""
WRONG_PATIENT = (Step("select", select), Step("objects", wrong_patient))


def to(port: int) -> Address:
    """The node on loopback."""
    return Address(aet="SEGLOOP", host="127.0.0.1", port=port)


def send_to(port: int, files: list[Path]) -> int:
    """C-STORE files to the node."""
    return send(files, to(port), "SENDER")


def wait(what: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            raise TimeoutError(f"still not so after {seconds} s")
        time.sleep(0.05)


def nothing() -> None:
    """What the worker of a test loads first."""


def service(deployment: Settings, steps: tuple[Step, ...] = TINY) -> Service:
    """A running service with steps of milliseconds."""
    return Service(deployment, steps, nothing)
