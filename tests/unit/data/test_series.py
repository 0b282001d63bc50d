"""A folder of DICOM series with SEG or RTSTRUCT as a dataset: paired by UID, named alike, and nobody's identity."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest

from results import write_series
from rois_kit import drawn, highdicom_segmentation, segmentation, square, structure_set
from segloop.data import Dataset, check
from segloop.data.checks import mend
from segloop.data.series import case_id
from segloop.errors import InputError
from segloop.io.dicom import SeriesRef, read_series, scan
from segloop.volume import Labels

SHAPE = (6, 24, 20)


def _series(root: Path, name: str, patient: str) -> SeriesRef:
    series = write_series(root / name, shape=SHAPE, changes={"PatientID": patient, "PatientName": f"Name^{patient}"})
    for i, instance in enumerate(series.files):
        d = pydicom.dcmread(instance.path)
        seed = sum(map(ord, name)) * 100 + i
        d.PixelData = np.random.default_rng(seed).integers(0, 900, SHAPE[1:]).astype("<i2").tobytes()
        d.save_as(instance.path)
    return series


def _box(series: SeriesRef, **boxes: tuple[int, int]) -> Labels:
    array = np.zeros(SHAPE, np.uint8)
    for name, (value, at) in boxes.items():
        array[2:4, at : at + 5, at : at + 6] = value
        assert name
    assert series.geometry is not None
    return Labels(array, series.geometry, {})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four series of three patients: a SEG with two segments, one with the second only, and two structure sets."""
    folder = tmp_path / "dataset"
    first, second = _series(folder, "one", "SECRET-1"), _series(folder, "two", "SECRET-2")
    segmentation(folder / "one.dcm", _box(first, a=(1, 3), b=(2, 10)), first)
    segmentation(folder / "two.dcm", _box(second, b=(2, 4)), second)
    third, fourth = _series(folder, "three", "SECRET-3"), _series(folder, "four", "SECRET-1")
    for left, series in ((5.5, third), (8.5, fourth)):
        lines = [drawn(series, z, square(4.5, left, 6)) for z in (1, 2, 3)]
        structure_set(folder / f"{series.files[0].path.parent.name}.dcm", series, {"Posterior": lines})
    _series(folder, "survey", "SECRET-1")
    return folder


def test_each_segmentation_and_its_series_are_a_case(root: Path) -> None:
    dataset = Dataset.load(root)
    names = {case_id(f"{s}"): s for s in (pydicom.dcmread(p).SeriesInstanceUID for p in root.glob("*/000.dcm"))}
    assert {case.id for case in dataset.cases} <= set(names)
    assert len(dataset.cases) == 4
    assert dataset.label_names == {1: "Anterior", 2: "Posterior"}
    assert (dataset.modality, dataset.channels) == ("MR", 1)
    for case in dataset.cases:
        volume, labels = dataset.read(case)
        assert volume.array.shape == SHAPE
        inside = {1: labels.array == 1, 2: labels.array == 2}
        expected = {
            "one.dcm": (60, 60),
            "two.dcm": (0, 60),
            "three.dcm": (0, 108),
            "four.dcm": (0, 108),
        }[case.label.name]
        assert (int(inside[1].sum()), int(inside[2].sum())) == expected


def test_labels_keep_their_numbers_where_all_files_agree(tmp_path: Path) -> None:
    series = _series(tmp_path, "one", "SECRET-1")
    segmentation(tmp_path / "one.dcm", _box(series, a=(1, 3), b=(2, 10)), series)
    # In alphabetical order they would change places.
    with pydicom.dcmread(tmp_path / "one.dcm") as d:
        for item, name in zip(d.SegmentSequence, ("Tumour", "Liver"), strict=True):
            item.SegmentLabel = name
        d.save_as(tmp_path / "one.dcm")
    dataset = Dataset.load(tmp_path)
    assert dataset.label_names == {1: "Tumour", 2: "Liver"}
    array = dataset.read(dataset.cases[0])[1].array
    assert (array[2, 3, 3], array[2, 10, 10]) == (1, 2)


def test_cases_carry_no_identity_and_those_of_a_patient_stay_together(root: Path) -> None:
    dataset = Dataset.load(root)
    of_file = {case.label.name: case for case in dataset.cases}
    assert of_file["one.dcm"].patient == of_file["four.dcm"].patient
    assert len({case.patient for case in dataset.cases}) == 3
    for case in dataset.cases:
        assert "SECRET" not in f"{case.id} {case.patient} {case.site}"
        assert "2.25" not in f"{case.id} {case.patient}"


def test_the_digest_changes_with_any_slice(root: Path) -> None:
    dataset = Dataset.load(root)
    case = next(case for case in dataset.cases if case.label.name == "two.dcm")
    before = dataset.digest(case)
    assert before == dataset.digest(case)
    d = pydicom.dcmread(case.slices[4])
    d.PixelData = bytes(len(d.PixelData))
    d.save_as(case.slices[4])
    assert dataset.digest(case) != before


def test_several_segmentations_of_one_series_are_refused_with_a_list(root: Path) -> None:
    shutil.copy(root / "two.dcm", root / "two again.dcm")
    with pytest.raises(InputError, match=r"two again\.dcm, two\.dcm") as refused:
        Dataset.load(root)
    assert refused.value.code == "labels.ambiguous"
    with pytest.raises(InputError):
        check(root)


def test_a_segmentation_of_another_patient_is_refused(root: Path) -> None:
    d = pydicom.dcmread(root / "two.dcm")
    d.PatientID = "SECRET-9"
    d.save_as(root / "two.dcm")
    with pytest.raises(InputError) as refused:
        Dataset.load(root)
    assert refused.value.code == "input.two_patients"
    assert "SECRET" not in str(refused.value)


def test_a_segmentation_without_its_series_is_refused(root: Path) -> None:
    shutil.rmtree(root / "two")
    with pytest.raises(InputError) as refused:
        Dataset.load(root)
    assert refused.value.code == "labels.no_series"


@pytest.mark.parametrize("damage", ["missing", "cut off"])
def test_a_series_with_a_bad_slice_is_a_fault_of_its_case(root: Path, damage: str) -> None:
    """A last slice cut off before its series UID leaves no gap, so the file itself must be noticed."""
    if damage == "missing":
        (root / "three" / "002.dcm").unlink()
    else:
        last = root / "three" / "005.dcm"
        last.write_bytes(last.read_bytes()[:400])
    dataset = Dataset.load(root)
    bad = next(case for case in dataset.cases if case.label.name == "three.dcm")
    with pytest.raises(InputError) as refused:
        dataset.read(bad)
    assert refused.value.code == {"missing": "geometry.missing_slices", "cut off": "input.unreadable"}[damage]
    errors = [fault for fault in check(root) if fault.severity == "error"]
    assert {fault.case for fault in errors} == {bad.id}
    assert {fault.kind for fault in errors} == {"unreadable_file"}


def test_dataset_json_chooses_and_numbers_the_labels(root: Path) -> None:
    (root / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "Posterior": 7}, "name": "mine"}))
    dataset = Dataset.load(root)
    assert (dataset.name, dataset.label_names) == ("mine", {7: "Posterior"})
    assert all(set(np.unique(dataset.read(case)[1].array)) == {0, 7} for case in dataset.cases)
    (root / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "Anterior": 1}}))
    with pytest.raises(InputError) as refused:
        Dataset.load(root)
    assert refused.value.code == "dataset.invalid"


def test_segments_are_matched_by_name_whatever_their_number(root: Path) -> None:
    series = _series(root, "five", "SECRET-5")
    mask = np.zeros(SHAPE, np.uint8)
    mask[1, 3:6, 4:8], mask[2, 3:6, 4:8] = 1, 2
    path = highdicom_segmentation(root / "five.dcm", series, mask, "LABELMAP")
    d = pydicom.dcmread(path)
    named = [s for s in d.SegmentSequence if s.SegmentNumber]
    named[0].SegmentLabel, named[1].SegmentLabel = "Posterior", "Anterior"
    d.save_as(path)
    dataset = Dataset.load(root)
    case = next(case for case in dataset.cases if case.label.name == "five.dcm")
    np.testing.assert_array_equal(dataset.read(case)[1].array, np.select([mask == 1, mask == 2], [2, 1], 0))


def test_the_data_check_reads_every_case_and_mends_none(root: Path, tmp_path: Path) -> None:
    faults = check(root)
    assert [fault for fault in faults if fault.severity == "error"] == []
    assert not any(fault.mendable for fault in faults)
    dataset = Dataset.load(root)
    broken = next(case for case in dataset.cases if case.label.name == "two.dcm")
    content = broken.label.read_bytes()
    broken.label.write_bytes(content[: len(content) - 200])
    found = [fault for fault in check(root) if fault.case == broken.id and fault.severity == "error"]
    assert [fault.kind for fault in found] == ["unreadable_file"]
    with pytest.raises(InputError) as refused:
        mend(root, tmp_path / "out", faults)
    assert refused.value.code == "usage"


def test_voxels_and_series_agree(root: Path) -> None:
    dataset = Dataset.load(root)
    case = dataset.cases[0]
    volume, labels = dataset.read(case)
    again = read_series(scan(case.slices[0].parent)[0])
    np.testing.assert_array_equal(volume.array, again.array)
    assert labels.geometry == again.geometry
