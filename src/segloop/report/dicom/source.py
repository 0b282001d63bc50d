"""The source series as the library that writes SEG and SR wants to see it: one data set per image, no identity.

It is written anew from UIDs and Geometry, so that what a header lacks or contradicts cannot shift a mask.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Integer
from pydicom import DataElement, Dataset
from pydicom.uid import UID
from pydicom.valuerep import DSfloat

from segloop.errors import GeometryMismatch
from segloop.io.dicom.refs import InstanceRef, SeriesRef
from segloop.report.dicom.common import derive_uid
from segloop.volume import Geometry, Labels, Vector

_STAND_IN = "1.2.840.10008.5.1.4.1.1.7"  # Secondary Capture


def frame_of_reference(series: SeriesRef) -> str | None:
    """The source's FrameOfReferenceUID, or one derived for it where it has positions; None where it has none."""
    if series.frame_of_reference_uid:
        return series.frame_of_reference_uid
    header = series.header()
    if "ImagePositionPatient" in header or "PerFrameFunctionalGroupsSequence" in header:
        return derive_uid(series.series_uid, "frame of reference")
    return None


def on_source(labels: Labels, series: SeriesRef) -> Integer[np.ndarray, "n y x"]:
    """The mask on the pixels of the source's own slices: as it is, but for a series that was resampled as it was read.

    Raises:
        GeometryMismatch: The mask does not lie on the grid that the series was read on.
    """
    return labels.array if series.regrid is None else series.regrid.to_source(labels)


def slice_positions(series: SeriesRef, geometry: Geometry) -> list[Vector]:
    """LPS mm of the first pixel of each of the source's slices, for a mask on `geometry`."""
    if series.regrid is not None:
        return list(series.regrid.positions)
    places = geometry.to_lps(np.array([[z, 0, 0] for z in range(geometry.shape[0])], float)).tolist()
    return [(x, y, z) for x, y, z in places]


def source_images(series: SeriesRef, geometry: Geometry) -> list[Dataset]:
    """Data sets of the source's images: one for each slice, or a single one with a frame for each slice in order.

    The latter stands for all files of a source in multi-frame files, of which the library takes only one: what refers
    to it is no reference to the source until `restore_references` has been at it.

    Raises:
        GeometryMismatch: The source has another number of images or frames than slices.
    """
    positions = slice_positions(series, geometry)
    if len(series.images) != len(positions):
        raise GeometryMismatch(
            f"The source has {len(series.images)} images and the mask {len(positions)} slices; each slice needs its "
            "image.",
            found=len(positions),
            expected=len(series.images),
        )
    if _in_frames(series):
        return [_multiframe(series, geometry, positions)]
    flat = frame_of_reference(series) is None
    images = []
    for (file, _), position in zip(series.images, positions, strict=True):
        image = _image(series, file.sop_class_uid, file.sop_instance_uid)
        image.Rows, image.Columns = _size(series, geometry)
        if not flat:
            image.ImagePositionPatient = _numbers(position)
            image.ImageOrientationPatient = _orientation(geometry)
            image.PixelSpacing = _numbers(geometry.spacing_mm[1:])
            image.SliceThickness = _numbers(geometry.spacing_mm[:1])[0]
        images.append(image)
    return images


def evidence_images(series: SeriesRef) -> list[Dataset]:
    """As much of each of the source's files as a document that refers to it needs."""
    return [_image(series, file.sop_class_uid, file.sop_instance_uid) for file in series.files]


def _multiframe(series: SeriesRef, geometry: Geometry, positions: list[Vector]) -> Dataset:
    # Single frames may stand among them, of a class that knows no frames.
    sop_class = next(file.sop_class_uid for file, frame in series.images if frame)
    image = _image(series, sop_class, _stand_in(series))
    image.Rows, image.Columns = _size(series, geometry)
    image.NumberOfFrames = len(positions)
    shared, measures, turn = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = _numbers(geometry.spacing_mm[1:])
    measures.SliceThickness = measures.SpacingBetweenSlices = _numbers(geometry.spacing_mm[:1])[0]
    turn.ImageOrientationPatient = _orientation(geometry)
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [turn]
    image.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for position in positions:
        group, place = Dataset(), Dataset()
        place.ImagePositionPatient = _numbers(position)
        group.PlanePositionSequence = [place]
        groups.append(group)
    image.PerFrameFunctionalGroupsSequence = groups
    return image


def restore_references(dataset: Dataset, series: SeriesRef) -> None:
    """Make every reference to what `source_images` gave one to the source itself, in place.

    A frame of the stand-in becomes the frame of the file that this slice is, the stand-in as a whole all files; SOP
    classes that had to be replaced become the source's own.
    """
    classes = {file.sop_instance_uid: file.sop_class_uid for file in series.files}
    stand_in = _stand_in(series) if _in_frames(series) else None
    if stand_in is None and all(_known(sop_class) for sop_class in classes.values()):
        return
    images = series.images
    for element in _sequences(dataset):
        if stand_in is not None:
            element.value = [meant for item in element.value for meant in _meant(item, stand_in, images)]
        for item in element.value:
            sop_class = classes.get(str(item.get("ReferencedSOPInstanceUID", "")))
            if sop_class is not None:
                item.ReferencedSOPClassUID = UID(sop_class)


def _meant(item: Dataset, stand_in: str, images: Sequence[tuple[InstanceRef, int]]) -> Iterator[Dataset]:
    """An item, or if it refers to the stand-in one such item for each file that it means."""
    if item.get("ReferencedSOPInstanceUID") != stand_in:
        yield item
        return
    stated = item.get("ReferencedFrameNumber")
    numbers = range(1, len(images) + 1) if stated is None else np.atleast_1d(stated).astype(int).tolist()
    frames: dict[str, list[int]] = {}
    for file, frame in (images[number - 1] for number in numbers):
        frames.setdefault(file.sop_instance_uid, []).append(frame)
    *others, _ = frames
    for uid, several in frames.items():
        meant = copy.deepcopy(item) if uid in others else item
        meant.pop("ReferencedFrameNumber", None)
        meant.ReferencedSOPInstanceUID = UID(uid)
        if stated is not None and any(several):
            meant.ReferencedFrameNumber = sorted(several) if len(several) > 1 else several[0]
        yield meant


def _in_frames(series: SeriesRef) -> bool:
    return any(frame for _, frame in series.images)


def _stand_in(series: SeriesRef) -> str:
    return derive_uid(series.series_uid, "all frames")


def _size(series: SeriesRef, geometry: Geometry) -> tuple[int, int]:
    return (series.regrid.source if series.regrid is not None else geometry.shape)[1:]


def _known(sop_class: str) -> bool:
    """Whether the standard lists it still: the library that writes SEG and SR refuses retired and private classes."""
    return UID(sop_class).name != sop_class and not UID(sop_class).is_retired


def _sequences(dataset: Dataset) -> Iterator[DataElement]:
    """Every sequence at any depth, the inner ones before the one around them."""
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from _sequences(item)
            yield element


def _image(series: SeriesRef, sop_class: str, uid: str) -> Dataset:
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID = UID(sop_class if _known(sop_class) else _STAND_IN), UID(uid)
    image.StudyInstanceUID, image.SeriesInstanceUID = UID(series.study_uid), UID(series.series_uid)
    image.Modality = series.modality
    # The writers ask for these; the true ones are put in when the object is linked to its source.
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"):
        setattr(image, keyword, "")
    image.StudyDate = image.StudyTime = image.ReferringPhysicianName = None
    frame = frame_of_reference(series)
    if frame is not None:
        image.FrameOfReferenceUID = UID(frame)
    return image


def _orientation(geometry: Geometry) -> list[DSfloat]:
    """Direction of a row (along columns), then of a column (along rows)."""
    return _numbers((*geometry.direction[2], *geometry.direction[1]))


def _numbers(values: np.ndarray | tuple[float, ...]) -> list[DSfloat]:
    """As decimal strings of at most 16 characters."""
    return [DSfloat(float(v), auto_format=True) for v in values]
