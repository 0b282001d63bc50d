"""RTSTRUCT in: contours become the voxels whose centres they enclose; what lies off the slices is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results import write_series
from rois_kit import Drawn, drawn, highdicom_segmentation, square, structure_set
from segloop.errors import InputError
from segloop.io.dicom import SeriesRef
from segloop.io.rois import look, read_labels, read_rtstruct, read_structures
from segloop.io.rois.polygons import filled

SHAPE = (6, 20, 24)


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> SeriesRef:
    return write_series(tmp_path_factory.mktemp("s") / "source", shape=SHAPE)


def _read(tmp_path: Path, series: SeriesRef, *lines: Drawn) -> np.ndarray:
    return read_rtstruct(structure_set(tmp_path / "rs.dcm", series, {"part": lines}), series).array


def _refused(tmp_path: Path, series: SeriesRef, code: str, *lines: Drawn, frame: str | None = None) -> str:
    path = structure_set(tmp_path / "rs.dcm", series, {"part": lines}, frame)
    with pytest.raises(InputError) as refused:
        read_rtstruct(path, series)
    assert refused.value.code == code
    return str(refused.value)


@pytest.mark.parametrize("named", [True, False], ids=["by image", "by position"])
def test_a_contour_fills_the_pixels_whose_centres_it_encloses(tmp_path: Path, series: SeriesRef, named: bool) -> None:
    expected = np.zeros(SHAPE, np.uint8)
    expected[2, 4:9, 6:11] = 1
    np.testing.assert_array_equal(_read(tmp_path, series, drawn(series, 2, square(3.5, 5.5, 5), named=named)), expected)


def test_inner_contours_and_keyholes_are_holes(tmp_path: Path, series: SeriesRef) -> None:
    expected = np.zeros(SHAPE, np.uint8)
    expected[2, 3:13, 4:14] = 1
    expected[2, 6:9, 7:10] = 0
    outer, inner = square(2.5, 3.5, 10), square(5.5, 6.5, 3)
    island = square(6.5, 7.5, 1)
    apart = _read(tmp_path, series, drawn(series, 2, outer), drawn(series, 2, inner))
    np.testing.assert_array_equal(apart, expected)
    keyhole = [*outer, outer[0], inner[0], *inner[::-1], outer[0]]
    np.testing.assert_array_equal(_read(tmp_path, series, drawn(series, 2, keyhole)), expected)
    three = _read(tmp_path, series, *(drawn(series, 2, c) for c in (inner, island, outer)))
    expected[2, 7, 8] = 1
    np.testing.assert_array_equal(three, expected)


def test_a_contour_that_is_there_twice_counts_once(tmp_path: Path, series: SeriesRef) -> None:
    line = drawn(series, 1, square(3.5, 5.5, 5))
    assert _read(tmp_path, series, line, line).sum() == 25


def test_contours_that_cross_are_refused_unless_they_say_how(tmp_path: Path, series: SeriesRef) -> None:
    lines = drawn(series, 1, square(3.5, 5.5, 8)), drawn(series, 1, square(7.5, 9.5, 8))
    assert "cross each other" in _refused(tmp_path, series, "labels.mismatch", *lines)
    exclusive = [Drawn(line.points, line.image, "CLOSEDPLANAR_XOR") for line in lines]
    assert _read(tmp_path, series, *exclusive).sum() == 2 * (64 - 16)


def test_overlapping_structures_are_refused_and_can_be_had_one_by_one(tmp_path: Path, series: SeriesRef) -> None:
    structures = {"target": [drawn(series, 1, square(3.5, 5.5, 4))], "margin": [drawn(series, 1, square(2.5, 4.5, 6))]}
    path = structure_set(tmp_path / "rs.dcm", series, structures)
    with pytest.raises(InputError, match=r"'target'.*'margin'.*overlap") as refused:
        read_labels(path, series)
    assert refused.value.code == "labels.overlap"
    found = list(read_structures(path, series))
    assert [part.names for part in found] == [{1: "target"}, {2: "margin"}]
    assert [int((part.array > 0).sum()) for part in found] == [16, 36]
    assert read_rtstruct(path, series, ["margin"]).names == {1: "margin"}


def test_points_and_open_lines_are_no_areas(tmp_path: Path, series: SeriesRef) -> None:
    marker = Drawn(drawn(series, 3, [(4, 4)]).points, kind="POINT")
    line = Drawn(drawn(series, 3, square(3.5, 5.5, 4)).points, kind="OPEN_PLANAR")
    area = drawn(series, 3, square(3.5, 5.5, 4))
    path = structure_set(tmp_path / "rs.dcm", series, {"marker": [marker], "line": [line], "area": [area]})
    assert read_rtstruct(path, series).names == {1: "area"}
    assert "no structure with closed contours" in _refused(tmp_path, series, "labels.mismatch", marker)


def test_contours_between_slices_aslant_or_beyond_are_refused(tmp_path: Path, series: SeriesRef) -> None:
    between = drawn(series, 2, square(3.5, 5.5, 4), named=False)
    assert series.geometry is not None
    normal = np.array(series.geometry.direction[0]) * series.geometry.spacing_mm[0]
    half = Drawn(between.points + 0.4 * normal)
    assert "1.00 mm off slice 2" in _refused(tmp_path, series, "geometry.off_slices", half)
    named = Drawn(between.points + normal, series.files[2].sop_instance_uid)
    assert "2.50 mm off slice 2" in _refused(tmp_path, series, "geometry.off_slices", named)
    aslant = Drawn(between.points + np.outer([0, 0.4, 0.8, 0.4], normal))
    assert "aslant" in _refused(tmp_path, series, "geometry.off_slices", aslant)
    assert "last slice" in _refused(tmp_path, series, "geometry.off_slices", Drawn(between.points + 5 * normal))
    wide = drawn(series, 2, square(3.5, 21.5, 8))
    assert "beyond the image" in _refused(tmp_path, series, "geometry.off_slices", wide)


def test_rounded_positions_are_accepted(tmp_path: Path, series: SeriesRef) -> None:
    assert series.geometry is not None
    shift = 0.05 * np.array(series.geometry.direction[0]) * series.geometry.spacing_mm[0]
    line = Drawn(drawn(series, 2, square(3.5, 5.5, 4)).points + shift)
    assert _read(tmp_path, series, line)[2].sum() == 16


def test_a_structure_on_every_second_slice_is_refused(tmp_path: Path, series: SeriesRef) -> None:
    lines = [drawn(series, z, square(3.5, 5.5, 4)) for z in (0, 2, 4)]
    assert "no two of them neighbours" in _refused(tmp_path, series, "geometry.off_slices", *lines)


def test_another_frame_of_reference_is_refused(tmp_path: Path, series: SeriesRef) -> None:
    line = drawn(series, 2, square(3.5, 5.5, 4))
    _refused(tmp_path, series, "geometry.frame_of_reference", line, frame="2.25.4711")


def test_a_structure_set_needs_its_series(tmp_path: Path, series: SeriesRef) -> None:
    path = structure_set(tmp_path / "rs.dcm", series, {"part": [drawn(series, 2, square(3.5, 5.5, 4))]})
    with pytest.raises(InputError) as refused:
        read_labels(path)
    assert refused.value.code == "labels.no_series"
    found = look(path)
    assert found is not None
    assert found.series([series]) is series
    other = write_series(tmp_path / "other", shape=SHAPE)
    with pytest.raises(InputError) as unmatched:
        found.series([other])
    assert unmatched.value.code == "labels.no_series"


@settings(max_examples=60, deadline=None)
@given(
    corners=st.lists(st.tuples(st.floats(-2, 14), st.floats(-2, 14)), min_size=3, max_size=9),
    turn=st.integers(0, 8),
)
def test_filling_agrees_with_the_even_odd_rule_point_by_point(corners: list[tuple[float, float]], turn: int) -> None:
    polygon = np.array(corners)
    polygon[np.abs(polygon - np.rint(polygon)) < 1e-3] += 0.01
    mask = filled(np.roll(polygon, turn, axis=0)[:: 1 if turn % 2 else -1], (12, 13))
    for row in range(12):
        for column in range(13):
            crossings = [
                c0 + (row - r0) * (c1 - c0) / (r1 - r0)
                for (r0, c0), (r1, c1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True)
                if (r0 > row) != (r1 > row)
            ]
            # A centre on a line belongs to either side.
            if min((abs(crossing - column) for crossing in crossings), default=1.0) > 1e-6:
                assert mask[row, column] == bool(sum(crossing < column for crossing in crossings) % 2)


def test_a_structure_set_that_is_cut_off_anywhere_is_refused(tmp_path: Path, series: SeriesRef) -> None:
    lines = [drawn(series, z, square(3.5, 5.5, 4)) for z in (1, 2, 3)]
    content = structure_set(tmp_path / "whole.dcm", series, {"part": lines}).read_bytes()
    for length in range(1000, len(content) - 2, 97):
        (tmp_path / "cut.dcm").write_bytes(content[:length])
        with pytest.raises(InputError):
            read_labels(tmp_path / "cut.dcm", series)


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({"PatientID": "SOMEBODY-ELSE"}, True),
        ({"IssuerOfPatientID": "ELSEWHERE"}, True),
        ({"IssuerOfPatientID": ""}, False),
        ({"PatientID": ""}, False),
    ],
)
@pytest.mark.parametrize("kind", ["SEG", "RTSTRUCT"])
def test_what_was_drawn_on_another_patient_is_refused_even_where_all_uids_fit(
    tmp_path: Path, series: SeriesRef, kind: str, changes: dict[str, str], refused: bool
) -> None:
    path = tmp_path / "rois.dcm"
    if kind == "SEG":
        highdicom_segmentation(path, series, np.ones(series.geometry.shape, np.uint8), "BINARY")
    else:
        structure_set(path, series, {"one": [drawn(series, 1, square(2, 2, 4))]})
    dataset = pydicom.dcmread(path)
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path)
    if not refused:
        assert read_labels(path, series).array.any()
        return
    with pytest.raises(InputError) as caught:
        read_labels(path, series)
    assert caught.value.code == "input.two_patients"
    assert "SOMEBODY" not in str(caught.value)
