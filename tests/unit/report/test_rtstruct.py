"""RTSTRUCT out: contours that give the mask back exactly, in the place and the study of their source."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import label

from results import CREATED, MODEL, SPECS, mask_for, write_series
from segloop.errors import InputError, PrivacyError
from segloop.io.dicom import SeriesRef, read_series, scan
from segloop.io.dicom.own import is_own_object
from segloop.io.rois import read_rtstruct
from segloop.io.rois.polygons import combined, filled
from segloop.report import collect, derive_uid, verify_against_source, write_rtstruct
from segloop.report.dicom.outlines import outlines
from segloop.report.writing import write_all
from segloop.study import StudyTask
from segloop.volume import Geometry, Labels

UID = derive_uid("rtstruct", "test")


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> SeriesRef:
    return write_series(tmp_path_factory.mktemp("s") / "source")


def _written(series: SeriesRef, path: Path, labels: Labels | None = None) -> Path:
    mask = mask_for(read_series(series)) if labels is None else labels
    return write_rtstruct(mask, series, collect(mask, (), SPECS, MODEL, CREATED), UID, path)


def _area(polygon: np.ndarray) -> float:
    rows, columns = polygon.T
    return float(abs(np.sum(columns * np.roll(rows, -1) - np.roll(columns, -1) * rows)) / 2)


@settings(max_examples=150, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_outlines_hold_exactly_the_pixels_whoever_fills_them(mask: np.ndarray) -> None:
    polygons = outlines(mask)
    assert len(polygons) == label(mask)[1]
    each = [filled(polygon, mask.shape) for polygon in polygons]
    np.testing.assert_array_equal(np.logical_or.reduce([*each, np.zeros_like(mask)]), mask)
    np.testing.assert_array_equal(combined(polygons, mask.shape)[0], mask)
    assert sum(map(_area, polygons)) == pytest.approx(mask.sum())


def test_holes_side_by_side_are_joined_to_one_line_within_the_pixels_between() -> None:
    mask = np.ones((9, 14), bool)
    mask[3:6, 3:5] = mask[4, 7:10] = mask[2, 11] = False
    (polygon,) = outlines(mask)
    np.testing.assert_array_equal(filled(polygon, mask.shape), mask)
    sides = zip(polygon, np.roll(polygon, -1, axis=0), strict=True)
    keyholes = [(a, b) for a, b in sides if a[0] == b[0] and a[0] * 2 % 1]
    assert len(keyholes) == 6
    for (row, one), (_, other) in keyholes:
        assert 0.1 < abs(row - round(row)) < 0.5
        left, right = sorted((one, other))
        assert mask[round(row), round(left + 0.5) : round(right + 0.5)].all()
    assert outlines(np.zeros((4, 4), bool)) == []


def test_the_mask_comes_back_exactly(series: SeriesRef, tmp_path: Path) -> None:
    mask = mask_for(read_series(series))
    labels = read_rtstruct(_written(series, tmp_path / "rs.dcm"), series)
    assert list(labels.names.values()) == [spec.name for spec in SPECS]
    expected = np.select([mask.array == spec.value for spec in SPECS], [1, 2, 3], 0)
    np.testing.assert_array_equal(labels.array, expected)


def test_single_voxels_and_holes_come_back_on_an_enhanced_source(
    tmp_path: Path, shared_data: Callable[[str], Path]
) -> None:
    (enhanced,) = scan(shared_data("dicom-geometry/philips-enhanced-multiframe") / "dicom")
    assert enhanced.geometry is not None
    array = np.zeros(enhanced.geometry.shape, np.uint8)
    array[3, 100:140, 60:90] = 1
    array[3, 110:120, 70:80] = 0
    array[3, 115, 75] = array[5, 7, 9] = 2
    labels = Labels(array, enhanced.geometry, {})
    path = _written(enhanced, tmp_path / "rs.dcm", labels)
    np.testing.assert_array_equal(read_rtstruct(path, enhanced).array, array)
    image = pydicom.dcmread(path).ROIContourSequence[0].ContourSequence[0].ContourImageSequence[0]
    assert int(image.ReferencedFrameNumber) in enhanced.files[0].frames


def test_it_belongs_to_the_study_says_what_made_it_and_is_a_draft(series: SeriesRef, tmp_path: Path) -> None:
    d = pydicom.dcmread(_written(series, tmp_path / "rs.dcm"))
    header = series.header()
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "AccessionNumber", "FrameOfReferenceUID"):
        assert d[keyword].value == header[keyword].value
    assert d.SeriesInstanceUID != header.SeriesInstanceUID
    assert (d.Modality, d.ApprovalStatus, d.Manufacturer) == ("RTSTRUCT", "UNAPPROVED", "segloop")
    assert {roi.ROIGenerationAlgorithm for roi in d.StructureSetROISequence} == {"AUTOMATIC"}
    assert is_own_object(d)
    named = {
        c.ContourImageSequence[0].ReferencedSOPInstanceUID
        for item in d.ROIContourSequence
        for c in item.ContourSequence
    }
    assert named <= {file.sop_instance_uid for file in series.files}


def test_equal_input_gives_equal_bytes(series: SeriesRef, tmp_path: Path) -> None:
    first, second = (_written(series, tmp_path / name) for name in ("a.dcm", "b.dcm"))
    assert first.read_bytes() == second.read_bytes()


def test_what_disagrees_with_its_source_does_not_leave(series: SeriesRef, tmp_path: Path) -> None:
    path = _written(series, tmp_path / "rs.dcm")
    verify_against_source([path], series)

    def space(d: pydicom.Dataset) -> None:
        d.ReferencedFrameOfReferenceSequence[0].FrameOfReferenceUID = "2.25.9"

    def image(d: pydicom.Dataset) -> None:
        d.ROIContourSequence[1].ContourSequence[0].ContourImageSequence[0].ReferencedSOPInstanceUID = "2.25.9"

    def link(d: pydicom.Dataset) -> None:
        del d.ReferencedFrameOfReferenceSequence

    def study(d: pydicom.Dataset) -> None:
        referenced = d.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
        referenced.ReferencedSOPInstanceUID = "2.25.9"

    def patient(d: pydicom.Dataset) -> None:
        d.PatientID = "PID-2"

    changes = ((space, "FrameOfReferenceUID"), (link, "FrameOfReferenceUID"), (patient, "PatientID"))
    for mutate, found in (*changes, (image, "ReferencedSOPInstanceUID"), (study, "ReferencedSOPInstanceUID")):
        d = pydicom.dcmread(path)
        mutate(d)
        d.save_as(tmp_path / "mutated.dcm")
        with pytest.raises(PrivacyError, match=found) as refused:
            verify_against_source([tmp_path / "mutated.dcm"], series)
        assert refused.value.code == "identity.mismatch"


def test_an_empty_mask_another_grid_and_a_projection_are_refused(series: SeriesRef, tmp_path: Path) -> None:
    mask = mask_for(read_series(series))
    empty = Labels(np.zeros_like(mask.array), mask.geometry, {})
    with pytest.raises(InputError) as nothing:
        _written(series, tmp_path / "rs.dcm", empty)
    assert nothing.value.code == "input.empty"
    moved = Geometry(mask.geometry.shape, mask.geometry.spacing_mm, (0.0, 0.0, 0.0), mask.geometry.direction)
    with pytest.raises(InputError) as elsewhere:
        _written(series, tmp_path / "rs.dcm", Labels(mask.array, moved, {}))
    assert elsewhere.value.code == "geometry.mismatch"
    nowhere = dict.fromkeys(("ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID"))
    flat = write_series(tmp_path / "flat", shape=(1, 24, 20), changes={**nowhere, "Modality": "CR"})
    assert flat.geometry is not None
    array = np.zeros((1, 24, 20), np.uint8)
    array[0, 3:6, 4:9] = 1
    with pytest.raises(InputError, match="no place in the patient") as projection:
        _written(flat, tmp_path / "rs.dcm", Labels(array, flat.geometry, {}))
    assert projection.value.code == "geometry.invalid"
    assert not (tmp_path / "rs.dcm").exists()


def test_the_structure_set_is_written_only_when_asked_for(series: SeriesRef, tmp_path: Path) -> None:
    volume = read_series(series)
    mask = mask_for(volume)
    findings = collect(mask, (), SPECS, MODEL, CREATED)
    asked = write_all(findings, mask, volume, series, "key", tmp_path, rtstruct=True)
    assert asked["rtstruct"] == "rtstruct.dcm"
    assert read_rtstruct(tmp_path / "rtstruct.dcm", series).array.any()
    plain = write_all(findings, mask, volume, series, "key", tmp_path)
    assert "rtstruct" not in plain
    assert not (tmp_path / "rtstruct.dcm").exists()
    task = StudyTask(source=tmp_path, out=tmp_path, model="m")
    assert task.settings_digest != task.model_copy(update={"rtstruct": True}).settings_digest
