"""The source series as the library that writes SEG and SR wants to see it: one data set per image, no identity.

It is written anew from UIDs and Geometry, so that what a header lacks or contradicts cannot shift a mask.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Integer
from pydicom import Dataset
from pydicom.uid import UID
from pydicom.valuerep import DSfloat

from segloop.errors import GeometryMismatch
from segloop.io.dicom.refs import SeriesRef
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


def source_images(series: SeriesRef, geometry: Geometry) -> tuple[list[Dataset], list[int]]:
    """Data sets of the source's images, and for each of their frames the slice of the source that it holds.

    Raises:
        GeometryMismatch: The source has another number of images or frames than slices.
    """
    positions = slice_positions(series, geometry)
    slices = len(positions)
    if len(series.files) == slices and not series.files[0].frames:
        flat = frame_of_reference(series) is None
        images = []
        for instance, position in zip(series.files, positions, strict=True):
            image = _base(series, geometry, instance.sop_class_uid, instance.sop_instance_uid)
            if not flat:
                image.ImagePositionPatient = _numbers(position)
                image.ImageOrientationPatient = _orientation(geometry)
                image.PixelSpacing = _numbers(geometry.spacing_mm[1:])
                image.SliceThickness = _numbers(geometry.spacing_mm[:1])[0]
            images.append(image)
        return images, list(range(slices))
    if len(series.files) != 1:
        raise GeometryMismatch(
            f"The source has {len(series.files)} images and the mask {slices} slices; each slice needs its image.",
            found=slices,
            expected=len(series.files),
        )
    return _multiframe(series, geometry, positions)


def _multiframe(series: SeriesRef, geometry: Geometry, positions: list[Vector]) -> tuple[list[Dataset], list[int]]:
    instance = series.files[0]
    count = len(positions)
    if sorted(instance.frames) != list(range(1, count + 1)):
        raise GeometryMismatch(
            f"The source's {len(instance.frames)} frames are not the mask's {count} slices, one each.",
            found=count,
            expected=len(instance.frames),
        )
    order = np.argsort(instance.frames).tolist()
    image = _base(series, geometry, instance.sop_class_uid, instance.sop_instance_uid)
    image.NumberOfFrames = count
    shared, measures, turn = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = _numbers(geometry.spacing_mm[1:])
    measures.SliceThickness = measures.SpacingBetweenSlices = _numbers(geometry.spacing_mm[:1])[0]
    turn.ImageOrientationPatient = _orientation(geometry)
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [turn]
    image.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for z in order:
        group, place = Dataset(), Dataset()
        place.ImagePositionPatient = _numbers(positions[z])
        group.PlanePositionSequence = [place]
        groups.append(group)
    image.PerFrameFunctionalGroupsSequence = groups
    return [image], order


def restore_classes(dataset: Dataset, series: SeriesRef) -> None:
    """Put the source's own SOP classes where `source_images` had to give others, in place."""
    classes = {file.sop_instance_uid: file.sop_class_uid for file in series.files}
    if all(_known(sop_class) for sop_class in classes.values()):
        return
    for item in _items(dataset):
        sop_class = classes.get(str(item.get("ReferencedSOPInstanceUID", "")))
        if sop_class is not None:
            item.ReferencedSOPClassUID = UID(sop_class)


def _known(sop_class: str) -> bool:
    """Whether the standard lists it still: the library that writes SEG and SR refuses retired and private classes."""
    return UID(sop_class).name != sop_class and not UID(sop_class).is_retired


def _items(dataset: Dataset) -> Iterator[Dataset]:
    yield dataset
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from _items(item)


def _base(series: SeriesRef, geometry: Geometry, sop_class: str, uid: str) -> Dataset:
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID = UID(sop_class if _known(sop_class) else _STAND_IN), UID(uid)
    image.StudyInstanceUID, image.SeriesInstanceUID = UID(series.study_uid), UID(series.series_uid)
    image.Modality = series.modality
    image.Rows, image.Columns = (series.regrid.source if series.regrid is not None else geometry.shape)[1:]
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
