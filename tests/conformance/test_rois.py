"""Segmentations of others, and our own read back: every voxel in its place, or a refusal that says why."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pydicom
import pytest

from results import CREATED, MODEL, SPECS, mask_for, write_series
from rois_kit import ORIENTATIONS, segmentation
from segloop.cli import main
from segloop.data import Dataset
from segloop.errors import InputError
from segloop.io import files
from segloop.io.dicom import SeriesRef, read_series, scan
from segloop.io.rois import find_rois, read_labels, read_parts, read_rtstruct, read_segmentation, read_segments
from segloop.measure import dice
from segloop.plan import LabelSpec
from segloop.report import collect, derive_uid, verify_against_source, write_rtstruct, write_seg
from segloop.volume import Labels

SharedData = Callable[[str], Path]
STRUCTURES = {
    "sarcoma-ct/STS_002": ("CT_mask.nii.gz", 0.99),
    "sarcoma-ct/STS_019": ("CT_mask.nii.gz", 0.99),
    "sarcoma-ct/STS_025": ("CT_mask.nii.gz", 0.99),
    "sarcoma-ct/STS_042": ("CT_mask.nii.gz", 0.99),
    "sarcoma-ct/STS_025/MR_T1": ("MR_T1_mask.nii.gz", 0.99),
    "sarcoma-ct/STS_025/PET": ("PET_mask.nii.gz", 0.97),
    "lung-ct/PAT1": ("CT_mask.nii.gz", 0.99),
}


@pytest.mark.parametrize("case", STRUCTURES)
def test_structures_equal_the_published_masks(case: str, shared_data: SharedData) -> None:
    folder = shared_data(case)
    (series,) = scan(folder / "dicom")
    labels = read_rtstruct(folder / "RS.dcm", series)
    name, least = STRUCTURES[case]
    truth = files.read_labels(folder / name, {1: "truth"}).reoriented(labels.geometry.axis_codes)
    truth.geometry.require_same_grid(labels.geometry, case)
    assert dice(truth.array > 0, labels.array > 0) >= least


def test_the_published_volume_and_intensity_are_reproduced(shared_data: SharedData) -> None:
    """IBSI-1, configuration A: 359 000 mm³ by counting voxels, mean -46.9 HU."""
    folder = shared_data("lung-ct/PAT1")
    (series,) = scan(folder / "dicom")
    inside = read_rtstruct(folder / "RS.dcm", series).array > 0
    assert series.geometry is not None
    assert 1000 * inside.sum() * series.geometry.voxel_ml == pytest.approx(359_000, abs=5_000)
    assert read_series(series).array[inside].mean() == pytest.approx(-46.9, abs=0.05)


def test_structures_without_published_masks_are_read(shared_data: SharedData) -> None:
    folder = shared_data("lung-ct/PAT2")
    (series,) = scan(folder / "dicom")
    labels = read_labels(folder / "RS.dcm", series)
    assert labels.names == {1: "GTV-1"}
    assert labels.array.sum() * labels.geometry.voxel_ml == pytest.approx(6.5, abs=0.1)


def test_a_structure_set_finds_its_series_among_others_of_the_patient(shared_data: SharedData) -> None:
    folder = shared_data("sarcoma-ct/STS_025")
    found = scan(folder)
    rois = {r.path.parent.name: r.series(found) for r in find_rois(sorted(folder.rglob("RS.dcm")))}
    assert {name: series.modality for name, series in rois.items()} == {"STS_025": "CT", "MR_T1": "MR", "PET": "PT"}


def test_segmentations_of_dcmqi_equal_the_label_maps_they_were_made_from(shared_data: SharedData) -> None:
    folder = shared_data("dicom-seg-sr/dcmqi-liver")
    series = next(s for s in scan(folder) if s.is_image)
    truth = files.read_labels(folder / "liver_seg.nrrd", {})
    for where in (series, series.geometry, None):
        labels = read_segmentation(folder / "liver.dcm", where)
        np.testing.assert_array_equal(labels.array, truth.array)
        assert labels.geometry.same_grid(truth.geometry)
        assert labels.names == {1: "Liver"}


def test_overlapping_segments_are_refused_and_can_be_had_one_by_one(shared_data: SharedData) -> None:
    folder = shared_data("dicom-seg-sr/dcmqi-liver")
    series = next(s for s in scan(folder) if s.is_image)
    with pytest.raises(InputError, match=r"'GREEN'.*'ORANGE'.*overlap") as refused:
        read_segmentation(folder / "partial_overlaps.dcm", series)
    assert refused.value.code == "labels.overlap"
    first = files.read_labels(folder / "partial_overlaps-1.nrrd", {}).array
    second = files.read_labels(folder / "partial_overlaps-2.nrrd", {}).array
    parts = {next(iter(part.names)): part.array for part in read_segments(folder / "partial_overlaps.dcm", series)}
    assert sorted(parts) == [1, 2, 3, 4, 5]
    for number in (1, 2, 4, 5):
        np.testing.assert_array_equal(parts[number] == number, (first == number) | (second == number))
    assert int((parts[3] == 3).sum()) == 10_743
    alone = read_segmentation(folder / "partial_overlaps.dcm", series, [1, 4, 5])
    np.testing.assert_array_equal(alone.array, np.where(np.isin(first, (1, 4, 5)), first, 0))


@pytest.mark.parametrize("source", ["image", "multiframe"])
def test_frames_that_begin_within_a_byte_come_out_right(source: str, shared_data: SharedData) -> None:
    folder = shared_data("dicom-seg-sr/dcmqi-23x38x3")
    (series,) = scan(folder / source)
    labels = read_segmentation(folder / "seg" / "label.seg", series)
    np.testing.assert_array_equal(labels.array, files.read_labels(folder / "nrrd" / "label.nrrd", {}).array)


def test_segmentations_without_their_images_give_their_own_grid(shared_data: SharedData) -> None:
    pet = read_segmentation(shared_data("dicom-seg-sr/dcmqi-tid1500") / "seg.dcm")
    assert pet.geometry.shape == (13, 128, 128)
    assert pet.names == {1: "Neoplasm, Primary"}
    bone = read_segmentation(shared_data("dicom-seg-sr/highdicom") / "seg_image_ct_binary.dcm")
    assert bone.geometry.shape == (3, 16, 16)
    assert bone.array.any()


def test_overlapping_segments_of_highdicom_are_refused_and_can_be_had_one_by_one(shared_data: SharedData) -> None:
    file = shared_data("dicom-seg-sr/highdicom") / "seg_image_ct_binary_overlap.dcm"
    with pytest.raises(InputError) as refused:
        read_labels(file)
    assert refused.value.code == "labels.overlap"
    assert [part.names for part in read_parts(file)] == [{1: "first segment"}, {2: "second segment"}]


def test_a_segmentation_of_another_patient_or_patient_space_is_refused(shared_data: SharedData, tmp_path: Path) -> None:
    folder = shared_data("dicom-seg-sr/highdicom")
    (series,) = scan(folder / "ct_image.dcm")
    with pytest.raises(InputError) as refused:
        read_segmentation(folder / "seg_image_ct_binary.dcm", series)
    assert refused.value.code == "input.two_patients"
    dataset = pydicom.dcmread(folder / "seg_image_ct_binary.dcm")
    dataset.PatientID = series.patient.id
    dataset.save_as(tmp_path / "seg.dcm")
    with pytest.raises(InputError) as refused:
        read_segmentation(tmp_path / "seg.dcm", series)
    assert refused.value.code == "geometry.frame_of_reference"


@pytest.mark.parametrize("number", range(48))
def test_masks_come_back_in_every_orientation(number: int, tmp_path: Path) -> None:
    series = write_series(tmp_path / "source", directions=ORIENTATIONS[number], shape=(6, 24, 20))
    mask = mask_for(read_series(series))
    file = segmentation(tmp_path / "seg.dcm", mask, series)
    alone = read_segmentation(file)
    assert alone.geometry.same_grid(mask.geometry, 0.01)
    for labels in (alone, read_segmentation(file, series), read_rtstruct(_structures(mask, series, tmp_path), series)):
        _equal(labels, mask)


def _structures(mask: Labels, series: SeriesRef, folder: Path, specs: Sequence[LabelSpec] = SPECS) -> Path:
    findings = collect(mask, (), specs, MODEL, CREATED)
    return write_rtstruct(mask, series, findings, derive_uid(series.series_uid, "rs"), folder / "rs.dcm")


def _equal(labels: Labels, mask: Labels) -> None:
    """The same voxels, numbered in order of the labels that occur."""
    present = [int(v) for v in np.unique(mask.array) if v]
    assert list(labels.names) == list(range(1, len(present) + 1))
    np.testing.assert_array_equal(np.select([labels.array == i for i in labels.names], present, 0), mask.array)


@pytest.mark.parametrize("degrees", [-12.0, 7.5, 20.0])
def test_masks_come_back_from_slices_of_a_tilted_gantry(degrees: float, tmp_path: Path) -> None:
    upright = write_series(tmp_path / "source", shape=(7, 24, 20), modality="CT")
    drawn = mask_for(read_series(upright)).array
    for z, instance in enumerate(upright.files):
        d = pydicom.dcmread(instance.path)
        x, y, depth = (float(v) for v in d.ImagePositionPatient)
        d.ImagePositionPatient = [x, f"{y + 2.5 * z * np.tan(np.radians(degrees)):.6f}", depth]
        d.save_as(instance.path)
    (series,) = scan(tmp_path / "source")
    assert series.regrid is not None
    assert series.geometry is not None
    mask = Labels(series.regrid.labels(drawn), series.geometry, {})
    np.testing.assert_array_equal(series.regrid.to_source(mask), drawn)
    _equal(read_segmentation(segmentation(tmp_path / "seg.dcm", mask, series), series), mask)
    structures = _structures(mask, series, tmp_path)
    _equal(read_rtstruct(structures, series), mask)
    corner = np.array(
        [float(v) for v in pydicom.dcmread(structures).ROIContourSequence[0].ContourSequence[0].ContourData]
    )
    z = int(np.flatnonzero((drawn == 1).any(axis=(1, 2)))[0])
    rows, columns = np.nonzero(drawn[z] == 1)
    where = np.array(series.regrid.positions[z]) + np.array([1.1 * (columns.min() - 0.5), 0.8 * (rows.min() - 0.5), 0])
    assert np.abs(corner.reshape(-1, 3).min(axis=0) - where).max() < 0.01


def test_forty_labels_come_back(tmp_path: Path) -> None:
    series = write_series(tmp_path / "source", shape=(5, 24, 20))
    assert series.geometry is not None
    rows, columns = np.mgrid[:24, :20]
    plane = 1 + (rows // 3) * 5 + columns // 4
    plane[rows % 3 == 2] = 0
    array = np.stack([np.roll(plane, z, axis=1) for z in range(5)]).astype(np.uint8)
    specs = [SPECS[0].model_copy(update={"value": n, "name": f"part {n}"}) for n in map(int, np.unique(array)) if n]
    assert len(specs) == 40
    mask = Labels(array, series.geometry, {})
    _equal(read_rtstruct(_structures(mask, series, tmp_path, specs), series), mask)
    findings = collect(mask, (), specs, MODEL, CREATED)
    seg = write_seg(mask, series, findings, derive_uid("forty", "seg"), tmp_path / "seg.dcm")
    _equal(read_segmentation(seg, series), mask)


@pytest.mark.parametrize("case", STRUCTURES)
def test_structures_of_real_patients_come_back(case: str, shared_data: SharedData, tmp_path: Path) -> None:
    (series,) = scan(shared_data(case) / "dicom")
    mask = read_rtstruct(shared_data(case) / "RS.dcm", series)
    path = _structures(mask, series, tmp_path)
    verify_against_source([path], series)
    np.testing.assert_array_equal(read_rtstruct(path, series).array, mask.array)


@pytest.mark.peer
@pytest.mark.parametrize("source", ["sarcoma-ct/STS_019", "sarcoma-ct/STS_025/PET", "lung-ct/PAT2", "made up"])
def test_a_validator_finds_no_error_in_a_structure_set(
    source: str, shared_data: SharedData, tmp_path: Path, require_peer: Callable[[str], Path]
) -> None:
    tool = require_peer("dciodvfy")
    if source == "made up":
        series = write_series(tmp_path / "source")
        mask = mask_for(read_series(series))
    else:
        (series,) = scan(shared_data(source) / "dicom")
        mask = read_rtstruct(shared_data(source) / "RS.dcm", series)
    done = subprocess.run(
        [tool, "-new", _structures(mask, series, tmp_path)], check=False, capture_output=True, timeout=100
    )
    said = (done.stdout + done.stderr).decode(errors="replace").splitlines()
    assert "RTStructureSet" in said
    assert [line for line in said if "Error" in line] == []


def test_a_study_is_run_to_a_structure_set_that_equals_its_mask(shared_data: SharedData, tmp_path: Path) -> None:
    crop = shared_data("brain-mr-dicom") / "Study1" / "13_HCropVolume"
    arguments = ["run", str(crop), "--model", "hippocampus-mr", "-o", str(tmp_path), "--rtstruct"]
    assert main(arguments) == 0
    mask = files.read_labels(tmp_path / "labels.nii.gz", {})
    (series,) = scan(crop)
    assert series.geometry is not None
    labels = read_rtstruct(tmp_path / "rtstruct.dcm", series)
    turned = mask.reoriented(labels.geometry.axis_codes)
    assert turned.geometry.same_grid(labels.geometry)
    np.testing.assert_array_equal(labels.array, turned.array)
    assert labels.names == {1: "Anterior", 2: "Posterior"}
    _equal(read_segmentation(tmp_path / "seg.dcm", series), Labels(turned.array, labels.geometry, {}))


def test_public_series_with_their_structures_are_a_dataset(shared_data: SharedData) -> None:
    dataset = Dataset.load(shared_data("sarcoma-ct"))
    assert dataset.label_names == {1: "GTV_Mass_CT", 2: "GTV_Mass_MR_T1", 3: "GTV_Mass_PET"}
    assert len(dataset.cases) == 6
    assert len({case.patient for case in dataset.cases}) == 4
    assert not any("STS" in f"{case.id} {case.patient}" for case in dataset.cases)
    for case in dataset.cases:
        volume, labels = dataset.read(case)
        assert volume.geometry == labels.geometry
        assert labels.array.any()
