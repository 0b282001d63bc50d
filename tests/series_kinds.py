"""Source series of every kind that results are written about: made small here, or taken from the shared data."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)

from results import write_series
from segloop.io.dicom import SeriesRef, scan

SharedData = Callable[[str], Path]
Directions = Sequence[Sequence[float]]
_IMAGE = "1.2.840.10008.5.1.4.1.1."
_C, _S = float(np.cos(0.4)), float(np.sin(0.4))
SAGITTAL, CORONAL = ((1, 0, 0), (0, 0, -1), (0, 1, 0)), ((0, 1, 0), (0, 0, -1), (1, 0, 0))
OBLIQUE = ((_S * _S, -_S * _C, _C), (_C, _S, 0), (-_S * _C, _C * _C, _S))
_PET = {
    "SOPClassUID": f"{_IMAGE}128", "Modality": "PT", "Units": "BQML", "DecayCorrection": "START",
    "CorrectedImage": ["ATTN", "DECY"], "RescaleSlope": 1.7, "RescaleIntercept": 0,
}  # fmt: skip
_EMPTY = dict.fromkeys(
    ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
     "AccessionNumber", "ReferringPhysicianName", "SeriesNumber", "InstanceNumber", "IssuerOfPatientID"), "",
)  # fmt: skip


def _long(number: int) -> str:
    return "1.2.826.0.1.3680043.10.".ljust(63, "9") + str(number)


@dataclass(frozen=True)
class Kind:
    """One kind of series.

    Attributes:
        make: Writes it to a folder, or finds it in the shared data.
        flat: It states no place in the patient, so no structure set can be drawn on it.
        uneven: Its slices lie at uneven distances, and are resampled.
    """

    make: Callable[[Path, SharedData], Path]
    flat: bool = False
    uneven: bool = False

    def series(self, folder: Path, shared_data: SharedData) -> SeriesRef:
        """The series, scanned."""
        found = scan(self.make(folder / "source", shared_data), "resample" if self.uneven else "refuse")
        return next(series for series in found if series.is_image)


def _made(
    change: Callable[[int, Dataset], None] | None = None, shape: tuple[int, int, int] = (5, 24, 20), **told: object
) -> Kind:
    """A series of `write_series`; `change` is applied to each slice."""

    def make(folder: Path, _: SharedData) -> Path:
        write_series(folder, shape=shape, **told)  # type: ignore[arg-type]
        for number, path in enumerate(sorted(folder.iterdir())):
            if change is not None:
                dataset = pydicom.dcmread(path)
                change(number, dataset)
                dataset.save_as(path)
        return folder

    return Kind(make)


def _projection(sop_class: str, modality: str, **more: object) -> Kind:
    """A projection radiograph: one image, without a place in the patient."""
    changes: dict[str, object] = dict.fromkeys(
        ("ImagePositionPatient", "ImageOrientationPatient", "SliceThickness", "FrameOfReferenceUID", "PixelSpacing")
    )
    changes |= {"SOPClassUID": f"{_IMAGE}{sop_class}", "Modality": modality, "ImagerPixelSpacing": [0.2, 0.2], **more}
    made = _made(shape=(1, 60, 50), changes=changes)
    return Kind(made.make, flat=True)


def _shared(name: str, flat: bool = False) -> Kind:
    def make(_: Path, shared_data: SharedData) -> Path:
        top, *rest = name.split("/")
        return shared_data(top).joinpath(*rest)

    return Kind(make, flat=flat)


def _stored(syntax: str) -> Kind:
    """A CT in one transfer syntax."""

    def make(folder: Path, _: SharedData) -> Path:
        write_series(folder, shape=(3, 24, 20), modality="CT")
        for path in sorted(folder.iterdir()):
            _store(pydicom.dcmread(path), path, syntax)
        return folder

    return Kind(make)


def _store(dataset: Dataset, path: Path, syntax: str) -> None:
    if syntax in (RLELossless, JPEGLSLossless):
        dataset.compress(syntax, generate_instance_uid=False)
        dataset.save_as(path)
        return
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<i2").astype(">i2").tobytes()
    dataset.file_meta.TransferSyntaxUID = syntax
    buffer = DicomBytesIO()
    implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    pydicom.dcmwrite(buffer, dataset, implicit_vr=implicit, little_endian=little, enforce_file_format=True)
    path.write_bytes(buffer.getvalue())


def _multiframe(sop_class: str, modality: str) -> Kind:
    """An enhanced object of six oblique frames."""

    def make(folder: Path, _: SharedData) -> Path:
        write_series(folder, shape=(6, 24, 20), directions=OBLIQUE, modality="CT")
        paths = sorted(folder.iterdir())
        slices = [pydicom.dcmread(path) for path in paths]
        for path in paths:
            path.unlink()
        enhanced(slices, sop_class, modality).save_as(folder / "frames.dcm")
        return folder

    return Kind(make)


def write_parts(
    folder: Path,
    shares: Sequence[Sequence[int]] = ((5, 0, 3), (8, 1), (2, 7, 4, 6)),
    *,
    directions: Directions = OBLIQUE,
    sop_class: str = "2.1",
    modality: str = "CT",
    concatenated: bool = True,
    syntax: str = ExplicitVRLittleEndian,
) -> Path:
    """A series in multi-frame files, each of which holds the slices of one share as its frames, in that order.

    Args:
        folder: Where to write; the names of the files run against the order of the parts.
        shares: Which slices each file holds.
        directions: Of slices, rows and columns.
        sop_class: The end of an enhanced SOP class.
        modality: Modality.
        concatenated: Whether they are parts of one image, or images of their own.
        syntax: Transfer syntax of the first and every second part.
    """
    count = sum(map(len, shares))
    write_series(folder, shape=(count, 24, 20), directions=directions, modality="CT")
    paths = sorted(folder.iterdir())
    slices = [pydicom.dcmread(path) for path in paths]
    for path in paths:
        path.unlink()
    for number, share in enumerate(shares, 1):
        part = enhanced([copy.deepcopy(slices[z]) for z in share], sop_class, modality)
        part.SOPInstanceUID = part.file_meta.MediaStorageSOPInstanceUID = f"2.25.77{number}"
        part.InstanceNumber = number
        if concatenated:
            part.ConcatenationUID, part.SOPInstanceUIDOfConcatenationSource = "2.25.771234", "2.25.771235"
            part.InConcatenationNumber, part.InConcatenationTotalNumber = number, len(shares)
            part.ConcatenationFrameOffsetNumber = sum(map(len, shares[: number - 1]))
        _store(part, folder / f"{len(shares) - number:03d}.dcm", syntax if number % 2 else ExplicitVRLittleEndian)
    return folder


def _in_parts(shares: Sequence[Sequence[int]], sop_class: str, modality: str, *, concatenated: bool) -> Kind:
    def make(folder: Path, _: SharedData) -> Path:
        return write_parts(folder, shares, sop_class=sop_class, modality=modality, concatenated=concatenated)

    return Kind(make)


def enhanced(slices: Sequence[Dataset], sop_class: str, modality: str) -> Dataset:
    """One multi-frame object of some slices, the first of which it changes."""
    whole = slices[0]
    shared, turn, measures, scale = Dataset(), Dataset(), Dataset(), Dataset()
    turn.ImageOrientationPatient = whole.ImageOrientationPatient
    measures.PixelSpacing, measures.SliceThickness = whole.PixelSpacing, whole.SliceThickness
    scale.RescaleSlope, scale.RescaleIntercept, scale.RescaleType = 1, 0, "US"
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [turn], [measures]
    shared.PixelValueTransformationSequence = [scale]
    groups = []
    for slice_ in slices:
        group, place = Dataset(), Dataset()
        place.ImagePositionPatient = slice_.ImagePositionPatient
        group.PlanePositionSequence = [place]
        groups.append(group)
    pixels = b"".join(slice_.PixelData for slice_ in slices)
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        del whole[keyword]
    whole.SOPClassUID, whole.Modality, whole.NumberOfFrames = f"{_IMAGE}{sop_class}", modality, len(slices)
    whole.SharedFunctionalGroupsSequence, whole.PerFrameFunctionalGroupsSequence = [shared], groups
    whole.PixelData = pixels
    whole.file_meta.MediaStorageSOPClassUID = whole.SOPClassUID
    return whole


def _tilted(_: int, dataset: Dataset) -> None:
    x, y, z = map(float, dataset.ImagePositionPatient)
    dataset.ImagePositionPatient = [x, y + 0.2 * z, z]


def _spaced(number: int, dataset: Dataset) -> None:
    x, y, _ = map(float, dataset.ImagePositionPatient)
    dataset.ImagePositionPatient = [x, y, (0, 2, 5, 9, 11)[number]]


def _long_uids(number: int, dataset: Dataset) -> None:
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = _long(number)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = _long(7), _long(8), _long(9)


def _unsigned(_: int, dataset: Dataset) -> None:
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 12, 11, 0


def _inverted(_: int, dataset: Dataset) -> None:
    _unsigned(_, dataset)
    dataset.PhotometricInterpretation = "MONOCHROME1"


def _named(charset: str | list[str], name: str) -> Kind:
    told = {
        "SpecificCharacterSet": charset,
        "PatientName": name,
        "StudyDescription": name.rsplit("=", maxsplit=1)[-1][:30],
    }
    return _made(changes=told)


KINDS: dict[str, Kind] = {
    "CT": _made(modality="CT"),
    "MR": _made(),
    "PET": _made(changes=_PET),
    "CR": _projection("1", "CR"),
    "DX": _projection("1.1", "DX", PixelIntensityRelationship="LOG", ViewPosition="PA"),
    "mammogram": _projection("1.2", "MG", ImageLaterality="L", ViewPosition="MLO"),
    "CR, MONOCHROME1": _shared("dicom-zoo/pixels/CR-MONO1-10-chest.dcm", flat=True),
    "CR, JPEG 2000 with loss": _shared("dicom-zoo/pixels/RG3_J2KI.dcm", flat=True),
    "ultrasound in colour": _shared("dicom-zoo/pixels/US-color-px.dcm", flat=True),
    "localizer": _shared("dicom-zoo/pixels/GH342_CT_localizer.dcm"),
    "modality LUT": _shared("dicom-zoo/pixels/mlut_18.dcm", flat=True),
    "enhanced CT": _multiframe("2.1", "CT"),
    "enhanced MR": _shared("dicom-geometry/philips-enhanced-multiframe/dicom"),
    "enhanced PET": _multiframe("130", "PT"),
    "concatenation, CT": _in_parts(((5, 0, 3), (8, 1), (2, 7, 4, 6)), "2.1", "CT", concatenated=True),
    "concatenation, MR": _in_parts(((4, 3), (2, 1, 0)), "4.1", "MR", concatenated=True),
    "concatenation, PET": _in_parts(((0, 1), (2,), (3, 4)), "130", "PT", concatenated=True),
    "enhanced MR, a file per frame": _in_parts(((2,), (0,), (1,), (4,), (3,)), "4.1", "MR", concatenated=False),
    "oblique": _made(directions=OBLIQUE),
    "oblique, of a scanner": _shared("dicom-geometry/hitachi-oblique/dicom"),
    "sagittal": _made(directions=SAGITTAL),
    "coronal": _made(directions=CORONAL),
    "feet first": _made(directions=((0, 0, -1), (0, 1, 0), (-1, 0, 0)), reverse_names=True),
    "gantry tilt": _made(_tilted, modality="CT"),
    "uneven distances": Kind(_made(_spaced, modality="CT").make, uneven=True),
    "one slice": _made(modality="CT", shape=(1, 24, 20)),
    "signed": _made(modality="CT", changes={"RescaleIntercept": -1024, "RescaleSlope": 1}),
    "unsigned, 12 bit": _made(_unsigned, modality="CT"),
    "MONOCHROME1": _made(_inverted),
    "big endian": _stored(ExplicitVRBigEndian),
    "implicit": _stored(ImplicitVRLittleEndian),
    "deflated": _stored(DeflatedExplicitVRLittleEndian),
    "RLE": _stored(RLELossless),
    "JPEG-LS": _stored(JPEGLSLossless),
    "JPEG 2000": _shared("dicom-geometry/generic-sagittal-j2k/dicom"),
    "JPEG lossless": _shared("dicom-geometry/generic-sagittal-jpeg/dicom"),
    "chinese": _named("GB18030", "Wang^XiaoDong=王^小东"),
    "japanese": _named(["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    "korean": _named(["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
    "arabic": _named("ISO_IR 127", "قباني^لنزار"),
    "empty where it may be": _made(changes=dict(_EMPTY)),
    "absent where it should not be": _made(changes=dict.fromkeys((*_EMPTY, "FrameOfReferenceUID"))),
    "long UIDs": _made(_long_uids),
    "identifiers beyond their length": _made(
        changes={"AccessionNumber": "A" * 40, "StudyID": "S" * 40, "StudyDescription": "D" * 100}
    ),
}
