"""A folder, file or zip to its series: headers only, every oddity named, nothing guessed."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydicom import Dataset

from segloop.errors import InputError
from segloop.io.dicom.grid import Stack
from segloop.io.dicom.header import Header, decimal, number, quiet, read_header, text
from segloop.io.dicom.kinds import NOT_AN_IMAGE, is_lost, not_an_image
from segloop.io.dicom.native import native_of
from segloop.io.dicom.own import is_own_object
from segloop.io.dicom.refs import InstanceRef, PatientRef, Refusal, SeriesRef, StudyRef
from segloop.io.dicom.slices import Slice
from segloop.io.dicom.sorting import (
    arranged,
    incomplete,
    is_derived,
    is_localizer,
    without_copies,
    without_surveys,
)
from segloop.io.dicom.source import Files, is_zip, listed, unpacked
from segloop.plan import UnevenSlices

_CUT = "it ends before its pixels"


def scan(source: Path, uneven: UnevenSlices = "refuse") -> list[SeriesRef]:
    """The series found in a folder (recursively), a single file or a zip archive.

    What the files are is decided by what they hold, never by their names. A zip is unpacked to a temporary folder that
    lives as long as one of the returned series; `opened` and `scan_files` give control over that.

    Args:
        source: Folder, file or zip.
        uneven: Whether slices at varying distances are refused, or resampled to one distance with a warning.

    Returns:
        Image series and other objects alike, sorted by series number, each with its faults.

    Raises:
        InputError: `input.empty` when no file is DICOM, `input.not_an_image` when nothing is an image,
            `input.two_patients`, or `input.unreadable` when there is nothing but damaged files, or no such source.
        ServiceError: `disk.full` while unpacking.
    """
    if not is_zip(source):
        return scan_files(listed(source), uneven=uneven)
    keeper = tempfile.TemporaryDirectory(prefix="segloop-")
    return scan_files(unpacked(source, Path(keeper.name)), keeper, uneven)


def scan_files(files: Files, keeper: object = None, uneven: UnevenSlices = "refuse") -> list[SeriesRef]:
    """As `scan`, for files already listed by `opened`.

    Args:
        files: What to scan.
        keeper: Kept alive by every returned series.
        uneven: As for `scan`.
    """
    with quiet():
        headers = [header for header in map(read_header, files.paths) if header is not None]
        if not headers:
            raise InputError(
                f"{files.name} holds no DICOM file: {len(files.paths)} file(s) were looked at.",
                code="input.empty",
                found=len(files.paths),
                expected="at least one DICOM file",
                hint="Give the folder that holds the study.",
            )
        uids = {text(header.dataset, "SeriesInstanceUID") for header in headers}
        judged = [(header, is_lost(header, uids)) for header in headers]
        lost, known = ([header for header, is_so in judged if is_so == wanted] for wanted in (True, False))
        if not known:
            raise InputError(
                f"{lost[0].path.name} cannot be read: {lost[0].fault or _CUT}.",
                found=lost[0].fault,
                hint="Copy or export the file again.",
            )
        _refuse_two_patients([h for h in known if h.has_pixels or text(h.dataset, "PatientID")], files.name)
        found = [_series(group, lost, keeper, uneven) for group in _grouped(known)]
    if not any(series.is_image for series in found):
        raise InputError(
            f"{files.name} holds no image: {'; '.join(sorted({f.message for s in found for f in s.faults}))}",
            code=NOT_AN_IMAGE,
            found=len(found),
            expected="an image series",
        )
    return sorted(found, key=lambda s: (s.study_uid, s.series_number is None, s.series_number or 0, s.series_uid))


def _refuse_two_patients(headers: Sequence[Header], name: str) -> None:
    """Raise when the files belong to more than one patient; no message holds a name or an id."""
    people = {(text(h.dataset, "PatientID"), text(h.dataset, "IssuerOfPatientID")) for h in headers}
    people_ids = {identifier for identifier, _ in people}
    # An issuer that some files of one patient leave out is not a second patient.
    issuers = {issuer for _, issuer in people if issuer}
    if len(people_ids) > 1 or len(issuers) > 1:
        raise InputError(
            f"{name} holds files of {max(len(people_ids), len(issuers))} patients; one study has one.",
            code="input.two_patients",
            found=max(len(people_ids), len(issuers)),
            expected=1,
            hint="Give each patient's files in a folder of their own.",
        )
    names: dict[str, set[str]] = defaultdict(set)
    for header in headers:
        spoken = text(header.dataset, "PatientName").split("=")[0].rstrip("^ ").casefold()
        if spoken:
            names[text(header.dataset, "StudyInstanceUID")].add(" ".join(spoken.replace("^", " ").split()))
    if any(len(spoken) > 1 for spoken in names.values()):
        raise InputError(
            f"{name} holds one study under several patient names (one patient ID).",
            code="input.two_patients",
            found=max(len(spoken) for spoken in names.values()),
            expected=1,
            hint="Correct the identity in the archive and send the study again.",
        )


def _grouped(headers: Iterable[Header]) -> list[list[Header]]:
    """Files by SeriesInstanceUID; where it is absent by folder, kind, size and orientation."""
    groups: dict[tuple[str, ...], list[Header]] = defaultdict(list)
    for header in headers:
        uid = text(header.dataset, "SeriesInstanceUID")
        kinds = ("SOPClassUID", "Modality", "SeriesNumber", "Rows", "Columns", "ImageOrientationPatient")
        key = (uid,) if uid else ("", str(header.path.parent), *(text(header.dataset, kind) for kind in kinds))
        groups[key].append(header)
    return list(groups.values())


def _series(headers: list[Header], lost: Sequence[Header], keeper: object, uneven: UnevenSlices) -> SeriesRef:
    """One series with its geometry, or with its faults."""
    faults: list[Refusal] = []
    notes: tuple[str, ...] = ()
    formed: Stack | None = None
    kind = not_an_image(headers)
    if kind:
        faults.append(Refusal(NOT_AN_IMAGE, f"It is {kind}, not an image."))
    else:
        folders = {h.path.parent for h in headers}
        damaged = [h for h in headers if h.fault or not h.has_pixels]
        # A file that does not even say which series it is of may be a slice of any series beside it.
        damaged += [h for h in lost if h.path.parent in folders]
        faults += [Refusal("input.unreadable", f"{h.path.name} cannot be read: {h.fault or _CUT}.") for h in damaged]
        headers, repeated = without_copies(headers)
        headers, notes = without_surveys(headers)
        faults += [*repeated, *incomplete(headers), *_apart(headers)]
        if not faults:
            try:
                headers, formed = arranged(headers, text(headers[0].dataset, "Modality"), uneven)
            except InputError as fault:
                faults.append(Refusal(fault.code, str(fault)))
    first = headers[0].dataset
    return SeriesRef(
        series_uid=text(first, "SeriesInstanceUID"),
        study=study_of(first),
        patient=patient_of(first),
        modality=text(first, "Modality"),
        description=text(first, "SeriesDescription"),
        series_number=number(first, "SeriesNumber"),
        frame_of_reference_uid=text(first, "FrameOfReferenceUID"),
        manufacturer=text(first, "Manufacturer"),
        body_part=text(first, "BodyPartExamined"),
        contrast=bool(text(first, "ContrastBolusAgent")),
        derived=is_derived(headers[0]),
        slice_thickness_mm=decimal(first, "SliceThickness"),
        channels=_channels(first),
        files=_instances(headers, formed.slices if formed else ()),
        geometry=formed.geometry if formed else None,
        faults=tuple(faults),
        regrid=formed.regrid if formed else None,
        notes=(*notes, *_notes(first), *(formed.notes if formed else ())),
        warnings=formed.warnings if formed else (),
        localizer=is_localizer(headers[0]),
        made_by_segloop=is_own_object(first),
        linkable=_is_linkable(headers),
        keeper=keeper,
    )


def _apart(headers: Sequence[Header]) -> list[Refusal]:
    """A fault where images of one series lie in several patient spaces: their positions cannot be compared.

    Source: DICOM PS3.3 C.7.4.1, Frame of Reference Module.
    """
    spaces = {text(header.dataset, "FrameOfReferenceUID") for header in headers} - {""}
    if len(spaces) < 2:
        return []
    return [
        Refusal(
            "geometry.frame_of_reference", f"Its images lie in {len(spaces)} frames of reference; one series has one."
        )
    ]


def _instances(headers: Sequence[Header], slices: Sequence[Slice]) -> tuple[InstanceRef, ...]:
    frames: dict[int, list[int]] = {}
    places: dict[int, list[int]] = {}
    for z, place in enumerate(slices):
        frames.setdefault(place.file, []).append(place.frame)
        places.setdefault(place.file, []).append(z)
    order = list(frames) or range(len(headers))
    return tuple(
        InstanceRef(
            headers[i].path,
            text(headers[i].dataset, "SOPInstanceUID"),
            text(headers[i].dataset, "SOPClassUID"),
            tuple(frame for frame in frames.get(i, ()) if frame),
            tuple(places.get(i, ())),
            native_of(headers[i]) if slices else None,
        )
        for i in order
    )


def _channels(dataset: Dataset) -> int:
    if text(dataset, "PhotometricInterpretation") == "PALETTE COLOR":
        return 3
    return number(dataset, "SamplesPerPixel") or 1


def _notes(dataset: Dataset) -> tuple[str, ...]:
    notes = []
    if text(dataset, "PhotometricInterpretation") == "MONOCHROME1":
        with_unit = text(dataset, "Modality") in ("CT", "PT", "NM")
        done = "values are measurements and stay as stored" if with_unit else "values are inverted"
        notes.append(f"MONOCHROME1: low values are meant to be shown bright; {done}")
    units = text(dataset, "Units")
    if text(dataset, "Modality") == "PT" and units not in ("", "GML"):
        notes.append(f"PET in {units}, not in SUV; values are kept as stored unless a Plan asks for SUV")
    return tuple(notes)


def _is_linkable(headers: Sequence[Header]) -> bool:
    own = ("SOPInstanceUID", "SOPClassUID", "SeriesInstanceUID", "StudyInstanceUID")
    if not all(text(header.dataset, keyword) for header in headers for keyword in own):
        return False
    return len({text(header.dataset, "StudyInstanceUID") for header in headers}) == 1


def patient_of(dataset: Dataset) -> PatientRef:
    """The patient that a header states."""
    return PatientRef(
        name=text(dataset, "PatientName"),
        id=text(dataset, "PatientID"),
        issuer=text(dataset, "IssuerOfPatientID"),
        birth_date=text(dataset, "PatientBirthDate"),
        sex=text(dataset, "PatientSex"),
    )


def study_of(dataset: Dataset) -> StudyRef:
    """The study that a header states."""
    return StudyRef(
        uid=text(dataset, "StudyInstanceUID"),
        id=text(dataset, "StudyID"),
        date=text(dataset, "StudyDate"),
        time=text(dataset, "StudyTime"),
        description=text(dataset, "StudyDescription"),
        accession_number=text(dataset, "AccessionNumber"),
        referring_physician=text(dataset, "ReferringPhysicianName"),
    )
