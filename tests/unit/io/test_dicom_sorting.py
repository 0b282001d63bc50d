"""Which files of a folder, a disc or a series make up a volume, and what is left out."""

from __future__ import annotations

import shutil

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.fileset import FileSet
from pydicom.uid import generate_uid

from segloop.errors import InputError
from segloop.io import dicom

LOCALIZER, DERIVED = ["ORIGINAL", "PRIMARY", "LOCALIZER"], ["DERIVED", "SECONDARY", "MIP"]
CORONAL = [1, 0, 0, 0, 0, -1]


def codes(series) -> list[str]:
    return [fault.code for fault in series.faults]


def only(source):
    (series,) = dicom.scan(source)
    return series


def add(folder, name: str, **changes: object) -> None:
    """One more file in a series, like its first but for the changes."""
    dataset = pydicom.dcmread(folder / "000.dcm")
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    dataset.save_as(folder / name)


def test_a_localizer_among_the_slices_is_left_out_and_said(make_series):
    folder = make_series()
    add(folder, "0.dcm", ImageType=LOCALIZER, ImageOrientationPatient=CORONAL, Rows=5, Columns=6)
    series = only(folder)
    assert series.faults == ()
    assert series.geometry.shape == (4, 6, 5)
    assert not series.localizer
    assert "1 survey image(s) (localizer) left out" in series.notes
    assert "0.dcm" not in [file.path.name for file in series.files]


def test_a_projection_sent_along_with_its_slices_is_left_out_and_said(make_series):
    folder = make_series()
    add(folder, "mip.dcm", ImageType=DERIVED, ImageOrientationPatient=CORONAL)
    series = only(folder)
    assert series.geometry.shape[0] == 4
    assert not series.derived
    assert "1 derived image(s) among the originals left out" in series.notes


def test_derived_slices_that_belong_to_the_stack_stay(make_series):
    folder = make_series(places=(0, 2, 4))
    add(folder, "003.dcm", ImageType=["DERIVED", "PRIMARY", "AXIAL"], ImagePositionPatient=[-10, -20, 6])
    assert only(folder).geometry.shape[0] == 4


def test_an_original_does_not_stand_in_for_a_derived_series(make_series):
    folder = make_series(ImageType=DERIVED)
    assert only(folder).derived
    add(folder, "9.dcm", ImageType=["ORIGINAL", "PRIMARY"], ImageOrientationPatient=CORONAL)
    assert codes(only(folder)) == ["geometry.mixed_orientation"]


def test_a_fault_of_the_originals_is_told_as_it_stands(make_series):
    folder = make_series(places=(0, 2, 4, 8, 10))
    add(folder, "mip.dcm", ImageType=DERIVED, ImagePositionPatient=[-10, -20, 12])
    assert codes(only(folder)) == ["geometry.missing_slices"]


def part(folder, number: int, total: int | None, places: list[float]) -> None:
    """One file of a concatenation: some frames of an enhanced image."""
    dataset = pydicom.dcmread(folder / "000.dcm")
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.ConcatenationUID, dataset.InConcatenationNumber = "1.2.3.99", number
    if total:
        dataset.InConcatenationTotalNumber = total
    dataset.NumberOfFrames = len(places)
    groups = []
    for z in places:
        place, group = Dataset(), Dataset()
        place.ImagePositionPatient = [-10, -20, z]
        group.PlanePositionSequence = [place]
        groups.append(group)
    shared, turn, measures = Dataset(), Dataset(), Dataset()
    turn.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    measures.PixelSpacing = [0.8, 0.7]
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [turn], [measures]
    dataset.SharedFunctionalGroupsSequence, dataset.PerFrameFunctionalGroupsSequence = [shared], groups
    del dataset.ImagePositionPatient, dataset.ImageOrientationPatient, dataset.PixelSpacing
    dataset.PixelData = np.repeat(np.array(places, np.uint16), 30).tobytes()
    dataset.save_as(folder / f"part{number}.dcm")


@pytest.mark.parametrize("total", [3, None])
def test_a_concatenation_is_one_volume_and_a_missing_part_is_missed(make_series, total):
    """The frames of its parts may interleave; each comes to its own place."""
    folder = make_series(places=(0,))
    for number, places in enumerate(([0, 6, 2], [10, 4], [8, 12, 14]), 1):
        part(folder, number, total, places)
    (folder / "000.dcm").unlink()
    series = only(folder)
    assert series.geometry.shape[0] == 8
    assert dicom.read_series(series).array[:, 3, 3].tolist() == [2 * z - 1024 for z in range(8)]
    (folder / ("part3.dcm" if total else "part2.dcm")).unlink()
    assert codes(only(folder)) == ["geometry.missing_slices"]
    assert "2 of the 3 parts" in only(folder).faults[0].message


def test_a_part_that_is_there_twice_is_told_but_a_copy_of_it_is_none(make_series):
    folder = make_series(places=(0,))
    for number, places in enumerate(([0, 2], [4, 6]), 1):
        part(folder, number, 2, places)
    (folder / "000.dcm").unlink()
    shutil.copy(folder / "part2.dcm", folder / "copy.dcm")
    assert only(folder).geometry.shape[0] == 4
    again = pydicom.dcmread(folder / "part2.dcm")
    again.SOPInstanceUID = again.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    again.save_as(folder / "again.dcm")
    assert codes(only(folder)) == ["input.duplicate"]
    assert "3 files share 2 numbers of parts" in only(folder).faults[0].message


@pytest.mark.parametrize("macro", ["SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"])
def test_a_file_of_one_frame_is_rescaled_as_its_functional_groups_say(make_series, macro):
    folder = make_series(places=(0,), RescaleSlope=None, RescaleIntercept=None)
    for number, z in enumerate((0, 2, 4), 1):
        part(folder, number, 3, [z])
        dataset, scale = pydicom.dcmread(folder / f"part{number}.dcm"), Dataset()
        scale.RescaleSlope, scale.RescaleIntercept = 10 * number, -1000
        dataset[macro][0].PixelValueTransformationSequence = [scale]
        dataset.save_as(folder / f"part{number}.dcm")
    (folder / "000.dcm").unlink()
    assert dicom.read_series(only(folder)).array[:, 3, 3].tolist() == [-1000, 2 * 20 - 1000, 4 * 30 - 1000]


def test_two_stacks_and_two_sizes_of_pixels_in_one_file_are_refused_by_name(make_series):
    """Frames may differ in what their own functional groups say over the shared ones."""
    for macro, keyword, value in (
        ("PlaneOrientationSequence", "ImageOrientationPatient", [1, 0, 0, 0, 0, -1]),
        ("PixelMeasuresSequence", "PixelSpacing", [0.4, 0.4]),
    ):
        folder = make_series(keyword, places=(0,))
        part(folder, 1, None, [4, 0, 2, 6])
        (folder / "000.dcm").unlink()
        dataset, own = pydicom.dcmread(folder / "part1.dcm"), Dataset()
        setattr(own, keyword, value)
        for group in dataset.PerFrameFunctionalGroupsSequence[2:]:
            setattr(group, macro, [own])
        dataset.save_as(folder / "part1.dcm")
        assert codes(only(folder)) == ["geometry.mixed_orientation"]


def test_frames_of_a_file_without_meta_information_are_read(make_series):
    folder = make_series(places=(0,))
    part(folder, 1, None, [4, 0, 2])
    (folder / "000.dcm").unlink()
    dataset = pydicom.dcmread(folder / "part1.dcm")
    with (folder / "part1.dcm").open("wb") as stream:
        del dataset.file_meta
        pydicom.dcmwrite(stream, dataset, implicit_vr=True, little_endian=True)
    assert dicom.read_series(only(folder)).array[:, 3, 3].tolist() == [-1024, 2 - 1024, 4 - 1024]


@pytest.fixture
def disc(make_series, tmp_path):
    """Two series and a DICOMDIR that names them."""
    files = FileSet()
    for name, uid in (("a", "1.2.3.4"), ("b", "1.2.3.9")):
        for path in sorted(
            make_series(name, SeriesInstanceUID=uid, StudyDate="20260301", StudyTime="100000").iterdir()
        ):
            dataset = pydicom.dcmread(path)
            dataset.StudyID, dataset.AccessionNumber = "1", ""
            files.add(dataset)
    files.write(tmp_path / "disc")
    return tmp_path / "disc"


def test_a_media_directory_stands_for_the_files_it_names(disc, tmp_path):
    shutil.copy(disc / "DICOMDIR", disc / "inhalt")
    for name in ("DICOMDIR", "inhalt"):
        assert [series.geometry.shape[0] for series in dicom.scan(disc / name)] == [4, 4]
    assert [len(series.files) for series in dicom.scan(disc) if series.is_image] == [4, 4]
    with dicom.opened(disc / "DICOMDIR") as files:
        assert len(files.paths) == 8


def test_a_disc_in_lower_case_is_the_same_disc(disc):
    for path in sorted((p for p in disc.rglob("*") if p.name != "DICOMDIR"), key=lambda p: -len(p.parts)):
        path.rename(path.with_name(path.name.lower()))
    assert len(dicom.scan(disc / "DICOMDIR")) == 2


def test_a_disc_of_which_files_are_missing_is_refused(disc, tmp_path):
    victim = next(p for p in disc.rglob("*") if p.is_file() and p.name != "DICOMDIR")
    victim.unlink()
    with pytest.raises(InputError, match="names 8 files, and 1 of them are missing") as caught:
        dicom.scan(disc / "DICOMDIR")
    assert caught.value.code == "input.unreadable"
    shutil.copy(disc / "DICOMDIR", tmp_path / "DICOMDIR")
    with pytest.raises(InputError, match="none lies beside it") as caught:
        dicom.scan(tmp_path / "DICOMDIR")
    assert caught.value.code == "input.not_an_image"


@pytest.mark.filterwarnings("ignore:Invalid value")
def test_a_directory_cannot_name_files_outside_its_disc(disc, tmp_path):
    directory = pydicom.dcmread(disc / "DICOMDIR")
    for record in directory.DirectoryRecordSequence:
        if "ReferencedFileID" in record:
            record.ReferencedFileID = ["..", "a", "000.dcm"]
    directory.save_as(disc / "DICOMDIR")
    with pytest.raises(InputError, match="none lies beside it"):
        dicom.scan(disc / "DICOMDIR")
