"""The grid that a segmentation is to lie on, the check that it belongs there, and the way in for every kind of file."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float, Integer

from segloop.errors import GeometryMismatch, InputError
from segloop.io.dicom.refs import SeriesRef
from segloop.io.dicom.regrid import Regrid
from segloop.io.rois.reference import RoiFile, look
from segloop.volume import Geometry, Labels, Shape

OFF_GRID_VOXELS = 0.2
"""How far a frame or a contour may lie off the grid it belongs to, in voxels: positions are rounded in many headers."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where labels go.

    Attributes:
        geometry: The grid.
        series: The series that forms it; None where only a grid was given.
        slices: Slice of each image of the series: SOP instance UID and frame number (0 for a single-frame file).
    """

    geometry: Geometry
    series: SeriesRef | None = None
    slices: Mapping[tuple[str, int], int] = field(default_factory=dict)

    @property
    def shape(self) -> Shape:
        """Slices, rows and columns that are drawn on; not the grid's where the slices form no rectangular one."""
        return self.geometry.shape if self._regrid is None else self._regrid.source

    @property
    def _regrid(self) -> Regrid | None:
        return None if self.series is None else self.series.regrid

    def to_index(self, points_mm: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Fractional (slice, row, column) of LPS points on the slices that are drawn on."""
        index = self.geometry.to_index(points_mm)
        if self._regrid is None:
            return index
        places, shifts = np.array(self._regrid.places), np.array(self._regrid.shifts)
        nearest = np.abs(index[:, :1] - places).argmin(axis=1)
        off: Float[np.ndarray, "n 1"] = (index[:, 0] - places[nearest])[:, None]
        return np.hstack([nearest[:, None] + off, index[:, 1:] - shifts[nearest]])

    def labels(self, drawn: Integer[np.ndarray, "z y x"], names: Mapping[int, str]) -> Labels:
        """What was drawn on the slices, on the grid.

        Args:
            drawn: An array of `shape`.
            names: Of the labels.
        """
        array = drawn if self._regrid is None else self._regrid.labels(drawn)
        return Labels(array, self.geometry, names)

    @classmethod
    def of(cls, where: SeriesRef | Geometry) -> Target:
        """The target that a series or a bare grid is.

        Raises:
            InputError: The series' own fault; `input.not_an_image` when it forms no grid.
        """
        if isinstance(where, Geometry):
            return cls(where)
        where.require_readable()
        if where.geometry is None:
            raise InputError(f"{where.title} holds no volume.", code="input.not_an_image")
        images = ((file.sop_instance_uid, frame) for file, frame in where.images)
        return cls(where.geometry, where, {key: z for z, key in enumerate(images) if key[0]})

    def require_same_patient(self, what: str, patient_id: str, issuer: str) -> None:
        """Refuse what is another patient's, whatever else fits; who states no id is not known to be another.

        Args:
            what: The file's name.
            patient_id: PatientID of the file.
            issuer: IssuerOfPatientID of the file.

        Raises:
            InputError: `input.two_patients`; it says nothing of either.
        """
        if self.series is None:
            return
        own = self.series.patient
        issuers = {issuer, own.issuer} - {""}
        if patient_id and own.id and (patient_id != own.id or len(issuers) > 1):
            raise InputError(
                f"{what} belongs to another patient than {self.series.title}.",
                code="input.two_patients",
                found=2,
                expected=1,
                hint="Give the series it was drawn on.",
            )

    def require_same_space(self, what: str, frame_uids: Collection[str], series_uids: Collection[str]) -> None:
        """Refuse what was drawn in another patient space.

        Args:
            what: The file's name.
            frame_uids: FrameOfReferenceUIDs that it uses.
            series_uids: Series that it names; where one side states no space, it must name the target.

        Raises:
            GeometryMismatch: `geometry.frame_of_reference`.
        """
        if self.series is None:
            return
        own, others = self.series.frame_of_reference_uid, set(frame_uids) - {""}
        if others != {own} if own and others else self.series.series_uid not in series_uids:
            raise GeometryMismatch(
                f"{what} was drawn in another frame of reference than {self.series.title} lies in.",
                code="geometry.frame_of_reference",
                found=sorted(others),
                expected=own,
                hint="Give the series it was drawn on, or register and resample it first.",
            )


def read_labels(file: Path, where: SeriesRef | Geometry | None = None, names: Collection[str] | None = None) -> Labels:
    """The labels of a SEG or RTSTRUCT file.

    Args:
        file: The file.
        where: As in `read_segmentation` and `read_rtstruct`; a structure set needs it.
        names: Segments or structures to read, of which the file must have one; None for all.

    Raises:
        InputError: As these; `input.not_an_image` when the file is neither.
    """
    from segloop.io.rois.rtstruct import read_rtstruct
    from segloop.io.rois.segmentation import read_segmentation

    found = _looked_at(file)
    if found.kind == "SEG":
        wanted = None if names is None else [number for number, name in found.names if name in names]
        return read_segmentation(file, where, wanted)
    structures = None if names is None else {name for _, name in found.names if name in names}
    return read_rtstruct(file, _needed(file, where), structures)


def read_parts(file: Path, where: SeriesRef | Geometry | None = None) -> Iterator[Labels]:
    """Each segment or structure of a SEG or RTSTRUCT file by itself, so that overlapping ones can be had.

    Args:
        file: The file.
        where: As in `read_labels`.

    Raises:
        InputError: As `read_labels`, but for an overlap.
    """
    from segloop.io.rois.rtstruct import read_structures
    from segloop.io.rois.segmentation import read_segments

    if _looked_at(file).kind == "SEG":
        return read_segments(file, where)
    return read_structures(file, _needed(file, where))


def _looked_at(file: Path) -> RoiFile:
    found = look(file)
    if found is None:
        raise InputError(
            f"{file.name} is neither a DICOM segmentation nor a structure set.",
            code="input.not_an_image",
            expected="a SEG or RTSTRUCT file",
        )
    return found


def _needed(file: Path, where: SeriesRef | Geometry | None) -> SeriesRef | Geometry:
    if where is None:
        raise InputError(
            f"{file.name} is a structure set: its contours need the series they were drawn on.",
            code="labels.no_series",
            expected="the folder of the image series",
            hint="Put the series beside it, or give its folder.",
        )
    return where
