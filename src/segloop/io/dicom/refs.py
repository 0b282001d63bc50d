"""What a scan knows of a series: identifiers, order, geometry and faults. The only place where identity lives."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from segloop.errors import InputError
from segloop.volume import Geometry

if TYPE_CHECKING:
    import pydicom

    from segloop.io.dicom.native import Native
    from segloop.io.dicom.regrid import Regrid


SHEARED, RESAMPLED = "slices_sheared", "slices_resampled"
"""`SeriesRef.warnings`: slices interpolated because of a gantry tilt, or because they lie at uneven distances."""


@dataclass(frozen=True, slots=True)
class PatientRef:
    """Who a study is of. Hidden from `repr`, so that no log or traceback shows it.

    Attributes:
        name: PatientName decoded to Unicode, its component groups joined by `=` and their parts by `^` as in DICOM.
        id: PatientID.
        issuer: IssuerOfPatientID.
        birth_date: YYYYMMDD or empty.
        sex: M, F, O or empty.
    """

    name: str = field(default="", repr=False)
    id: str = field(default="", repr=False)
    issuer: str = field(default="", repr=False)
    birth_date: str = field(default="", repr=False)
    sex: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class StudyRef:
    """The study a series belongs to, as its headers state it; absent values are empty."""

    uid: str = ""
    id: str = field(default="", repr=False)
    date: str = field(default="", repr=False)
    time: str = field(default="", repr=False)
    description: str = ""
    accession_number: str = field(default="", repr=False)
    referring_physician: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class InstanceRef:
    """One file of a series.

    Attributes:
        path: Where it lies.
        sop_instance_uid: Empty where the file has none.
        sop_class_uid: Empty where the file has none.
        frames: For a multi-frame object its frame numbers (from 1) in the order of the volume's slices; empty for a
            single-frame one, which is one slice.
        slices: Which of the series' slices the file, or each of `frames`, is.
        native: Where its pixels lie, for a plain uncompressed one.
    """

    path: Path
    sop_instance_uid: str
    sop_class_uid: str
    frames: tuple[int, ...] = ()
    slices: tuple[int, ...] = ()
    native: Native | None = field(default=None, repr=False)

    def sha256(self) -> str:
        """Hex SHA-256 of the file's bytes.

        Raises:
            InputError: `input.unreadable`.
        """
        try:
            with self.path.open("rb") as stream:
                return hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as fault:
            raise InputError(f"{self.path.name} cannot be read: {fault.strerror}.") from fault


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a series cannot be used: a code of `segloop.errors.CODES` and a sentence."""

    code: str
    message: str


@dataclass(frozen=True, slots=True, eq=False)
class SeriesRef:
    """One DICOM series as its headers describe it; no pixels.

    Attributes:
        series_uid: SeriesInstanceUID, empty where the files have none.
        study: The study.
        patient: Whose it is.
        modality: Modality.
        description: SeriesDescription.
        series_number: SeriesNumber.
        frame_of_reference_uid: FrameOfReferenceUID.
        manufacturer: Manufacturer.
        body_part: BodyPartExamined.
        contrast: Whether a contrast agent is stated.
        derived: Whether its images are derived from others: reformations, projections, captures.
        slice_thickness_mm: SliceThickness where stated; the distance between slices is the geometry's.
        channels: 1 for grey, 3 for colour.
        files: In the order of the volume's slices where there is a geometry, else by file name.
        geometry: The volume's grid, slices ordered along the cross product of row and column direction; None when the
            series has a fault or holds no image.
        faults: Why it cannot be read; empty for a good series.
        regrid: For slices that form no rectangular grid, how they lie in `geometry`, which then is resampled from them.
        notes: What a reader should know that is no fault.
        warnings: Codes of the notes that a report has to repeat: `slices_sheared`, `slices_resampled`.
        localizer: Whether it is a survey image for planning.
        made_by_segloop: Whether it is a result of segloop, which is never processed again.
        linkable: Whether results can refer to it: one study UID, one series UID, a SOP class and instance UID per file.
    """

    series_uid: str
    study: StudyRef
    patient: PatientRef
    modality: str = ""
    description: str = ""
    series_number: int | None = None
    frame_of_reference_uid: str = ""
    manufacturer: str = ""
    body_part: str = ""
    contrast: bool = False
    derived: bool = False
    slice_thickness_mm: float | None = None
    channels: int = 1
    files: tuple[InstanceRef, ...] = ()
    geometry: Geometry | None = None
    faults: tuple[Refusal, ...] = ()
    regrid: Regrid | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    localizer: bool = False
    made_by_segloop: bool = False
    linkable: bool = True
    keeper: object = field(default=None, repr=False)
    """Keeps the folder alive that `scan` extracted an archive to."""

    @property
    def study_uid(self) -> str:
        """StudyInstanceUID."""
        return self.study.uid

    @property
    def images(self) -> tuple[tuple[InstanceRef, int], ...]:
        """For every slice, in order, its file and the number of its frame there; 0 for a single-frame file.

        The frames of one file need not follow each other, nor those of two: only this says which slice a frame is.
        """
        placed = {z: (file, n) for file in self.files for z, n in zip(file.slices, file.frames or (0,), strict=False)}
        return tuple(placed[z] for z in sorted(placed))

    @property
    def is_image(self) -> bool:
        """False for reports, structure sets and whatever else holds no image."""
        return all(fault.code != "input.not_an_image" for fault in self.faults)

    @property
    def title(self) -> str:
        """One line that tells the series from its neighbours, without identity."""
        count, unit = (self.geometry.shape[0], "slice") if self.geometry else (len(self.files), "file")
        number = "" if self.series_number is None else f" {self.series_number}"
        amount = f"{count} {unit}{'' if count == 1 else 's'}"
        return f"series{number} {self.modality or 'of unknown modality'} {self.description!r} ({amount})"

    def header(self) -> pydicom.Dataset:
        """The whole data set of the first instance but its pixels.

        Raises:
            InputError: `input.unreadable`.
        """
        from segloop.io.dicom.header import read_whole_header

        return read_whole_header(self.files[0].path)

    def require_readable(self) -> None:
        """Raise the series' first fault, with its own code.

        Raises:
            InputError: As the fault says.
        """
        if self.faults:
            first, *more = self.faults
            also = f" There are {len(more)} further faults." if len(more) > 1 else ""
            raise InputError(
                f"{self.title} cannot be used: {first.message}{also}",
                code=first.code,
                found=[f"{fault.code}: {fault.message}" for fault in self.faults],
            )

    def require_linkable(self) -> None:
        """Refuse a series that no result could refer to.

        Raises:
            InputError: `input.unlinkable`.
        """
        if not self.linkable:
            raise InputError(
                f"{self.title} has no unambiguous study, series and instance UIDs, so no result could refer to it.",
                code="input.unlinkable",
                expected="one StudyInstanceUID, one SeriesInstanceUID, and a SOP class and instance UID in every file",
                hint="Export the study again from its archive; `segloop convert` and `segloop predict` still work.",
            )


def digests(series: SeriesRef) -> tuple[tuple[str, str], ...]:
    """SOP instance UID and hex SHA-256 of every file, sorted.

    Raises:
        InputError: `input.unreadable`.
    """
    return tuple(sorted((file.sop_instance_uid, file.sha256()) for file in series.files))


def digest(series: SeriesRef) -> str:
    """Hex SHA-256 over `digests`: another one as soon as a slice comes, goes or changes.

    Raises:
        InputError: `input.unreadable`.
    """
    return hashlib.sha256(json.dumps(digests(series)).encode()).hexdigest()
