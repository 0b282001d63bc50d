"""DICOM series made to order, each with one thing that matters for a test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

ROWS, COLUMNS = 6, 5


def write_slice(path: Path, position: Sequence[float], number: int, **changes: object) -> Dataset:
    """One CT slice whose stored value is its number; `changes` are elements by keyword, None deletes one."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid(None)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    dataset.FrameOfReferenceUID = "1.2.3.5"
    dataset.PatientID, dataset.PatientName = "P1", "Doe^Jane"
    dataset.Modality, dataset.SeriesDescription, dataset.SeriesNumber = "CT", "thorax", 2
    dataset.Manufacturer, dataset.InstanceNumber = "Test", number
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.ImagePositionPatient = [float(p) for p in position]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing, dataset.SliceThickness = [0.8, 0.7], 9
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = ROWS, COLUMNS, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
    dataset.PixelData = np.full((ROWS, COLUMNS), number, np.uint16).tobytes()
    for keyword, value in changes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return dataset


@pytest.fixture
def make_series(tmp_path) -> Callable[..., Path]:
    """`make_series(places=[0, 2, 4])` writes slices at these z positions and gives their folder."""

    def make(name: str = "series", places: Sequence[float] = (0, 2, 4, 6), **changes: object) -> Path:
        folder = tmp_path / name
        for number, z in enumerate(places):
            write_slice(folder / f"{number:03d}.dcm", (-10, -20, z), number, **changes)
        return folder

    return make
