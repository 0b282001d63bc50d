"""The phantom as DICOM: an axial CT series, a scout, and `truth.json` beside them."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from pathlib import Path

import numpy as np
from jaxtyping import Int16
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID

from segloop.phantom.render import Phantom
from segloop.volume import Vector

_CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
_EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
_INTERCEPT = -1024


def write_study(phantom: Phantom, out: Path) -> Path:
    """Write the phantom's study under `out`: `axial/*.dcm`, `scout/*.dcm` and `truth.json`.

    The first axial file is the slice nearest the head. Every UID derives from the phantom, so writing twice gives
    the same objects.

    Returns:
        The path of `truth.json`.
    """
    array, grid = phantom.volume.array, phantom.volume.geometry
    axial, scout = out / "axial", out / "scout"
    for folder in (axial, scout):
        folder.mkdir(parents=True, exist_ok=True)
    top_down = range(grid.shape[0] - 1, -1, -1)
    for number, k in enumerate(top_down, start=1):
        dataset = _header(phantom, "axial", number)
        x, y, z = (float(v) for v in grid.to_lps(np.array([k, 0, 0])))
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        dataset.SeriesNumber, dataset.SeriesDescription = 2, "Abdomen portal venous"
        dataset.AcquisitionNumber, dataset.SliceLocation = 1, _decimal(z)
        dataset.SliceThickness = dataset.SpacingBetweenSlices = _decimal(grid.spacing_mm[0])
        _place(dataset, (x, y, z), (1, 0, 0, 0, 1, 0), (grid.spacing_mm[1], grid.spacing_mm[2]))
        _pixels(dataset, array[k])
        dataset.save_as(axial / f"IM{number:04d}.dcm", enforce_file_format=True)
    _scout(phantom).save_as(scout / "IM0001.dcm", enforce_file_format=True)
    document = {
        "schema": 1,
        "seed": phantom.seed,
        "study_uid": _uid(phantom, "study"),
        "series_uid": _uid(phantom, "axial"),
        "measurements": [item.model_dump() for item in phantom.truth],
    }
    truth = out / "truth.json"
    truth.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    return truth


def _scout(phantom: Phantom) -> FileDataset:
    """A one-image coronal projection, which series selection must refuse."""
    grid = phantom.volume.geometry
    projection = np.asarray(phantom.volume.array, np.float32).mean(axis=1)[::-1]
    dataset = _header(phantom, "scout", 1)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    dataset.SeriesNumber, dataset.SeriesDescription = 1, "Scout"
    dataset.AcquisitionNumber, dataset.SliceThickness = 0, _decimal(grid.extent_mm[1])
    middle, top = (grid.shape[1] - 1) / 2, grid.shape[0] - 1
    x, y, z = (float(v) for v in grid.to_lps(np.array([top, middle, 0])))
    _place(dataset, (x, y, z), (1, 0, 0, 0, 0, -1), (grid.spacing_mm[0], grid.spacing_mm[2]))
    _pixels(dataset, np.rint(projection).astype(np.int16))
    dataset.RescaleType = "US"  # a projection has no Hounsfield units
    return dataset


def _header(phantom: Phantom, series: str, number: int) -> FileDataset:
    """Patient, study, series and device: all that does not depend on the pixels."""
    instance = UID(_uid(phantom, f"{series}/{number}"))
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UID(_CT_IMAGE), instance
    meta.TransferSyntaxUID = UID(_EXPLICIT_LITTLE_ENDIAN)
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    who = phantom.identity
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID, dataset.SOPInstanceUID = UID(_CT_IMAGE), instance
    dataset.PatientName, dataset.PatientID = who.name, who.patient_id
    dataset.IssuerOfPatientID, dataset.QualityControlSubject = "SEGLOOP PHANTOM", "YES"
    dataset.PatientBirthDate, dataset.PatientSex = who.birth_date.strftime("%Y%m%d"), who.sex
    dataset.PatientAge = f"{(who.study_time.date() - who.birth_date).days // 365:03d}Y"
    dataset.StudyInstanceUID, dataset.StudyID = UID(_uid(phantom, "study")), who.study_id
    dataset.StudyDescription, dataset.AccessionNumber = "CT abdomen (synthetic phantom)", who.accession
    dataset.ReferringPhysicianName = "Quillfeather^Ann"
    dataset.InstitutionName, dataset.StationName = "Phantom Hospital", "PHANTOM1"
    dataset.Modality, dataset.SeriesInstanceUID = "CT", UID(_uid(phantom, series))
    dataset.InstanceNumber = number
    dataset.BodyPartExamined, dataset.PatientPosition, dataset.ProtocolName = "ABDOMEN", "HFS", "Abdomen"
    dataset.FrameOfReferenceUID, dataset.PositionReferenceIndicator = UID(_uid(phantom, "frame")), ""
    # Not "segloop": the service must take this for a scanner's image, not for one of its own objects coming back.
    dataset.Manufacturer, dataset.ManufacturerModelName = "Phantom Works", "Abdomen CT"
    dataset.DeviceSerialNumber, dataset.SoftwareVersions = "1", "1"
    dataset.KVP, dataset.ConvolutionKernel, dataset.BurnedInAnnotation = "120", "SOFT", "NO"
    dataset.ContrastBolusAgent = "Synthetic, portal venous"
    moments = {"Study": 0, "Series": 60 if series == "scout" else 180, "Acquisition": 200, "Content": 240}
    for what, seconds in moments.items():
        moment = who.study_time + timedelta(seconds=seconds)
        setattr(dataset, f"{what}Date", moment.strftime("%Y%m%d"))
        setattr(dataset, f"{what}Time", moment.strftime("%H%M%S"))
    return dataset


def _place(dataset: FileDataset, position: Vector, orientation: tuple[int, ...], pixel_mm: tuple[float, float]) -> None:
    dataset.ImagePositionPatient = [_decimal(v) for v in position]
    dataset.ImageOrientationPatient = list(orientation)
    dataset.PixelSpacing = [_decimal(v) for v in pixel_mm]


def _pixels(dataset: FileDataset, hu: Int16[np.ndarray, "y x"]) -> None:
    dataset.Rows, dataset.Columns = hu.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = str(_INTERCEPT), "1", "HU"
    dataset.WindowCenter, dataset.WindowWidth = "60", "400"
    stored = (np.asarray(hu, np.int32) - _INTERCEPT).astype("<u2")
    dataset.PixelData = np.ascontiguousarray(stored).tobytes()


def _decimal(value: float) -> str:
    """A DICOM decimal string: at most 16 characters, without binary rounding noise."""
    return f"{round(value, 6):.10g}"


def _uid(phantom: Phantom, what: str) -> str:
    """A UUID-derived UID (root 2.25) that is the same for the same phantom."""
    digest = hashlib.sha256(f"segloop phantom/{phantom.key}/{what}".encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"
