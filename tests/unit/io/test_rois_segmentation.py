"""DICOM SEG in: every way of storing frames gives the same voxels, and what contradicts itself is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import RLELossless
from scipy.spatial.transform import Rotation

from results import write_series
from rois_kit import frames_in_order, highdicom_segmentation, run_length_encoded, segmentation
from segloop.errors import InputError
from segloop.io.dicom import SeriesRef, scan
from segloop.io.rois import find_rois, look, read_labels, read_segmentation, read_segments
from segloop.volume import Geometry, Labels

SHAPE = (7, 21, 19)


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> SeriesRef:
    return write_series(tmp_path_factory.mktemp("s") / "source", shape=SHAPE)


def _mask(series: SeriesRef) -> Labels:
    array = np.zeros(SHAPE, np.uint8)
    array[1:4, 3:9, 5:11] = 1
    array[3:6, 12:14, 2:4] = 2
    assert series.geometry is not None
    return Labels(array, series.geometry, {1: "Anterior", 2: "Posterior"})


@pytest.fixture(scope="module")
def file(series: SeriesRef, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return segmentation(tmp_path_factory.mktemp("seg") / "seg.dcm", _mask(series), series)


def _refused(file: Path, series: SeriesRef | None, code: str) -> str:
    with pytest.raises(InputError) as refused:
        read_segmentation(file, series)
    assert refused.value.code == code
    return str(refused.value)


def test_frames_in_any_order_and_sparse_frames_come_out_in_their_places(
    file: Path, series: SeriesRef, tmp_path: Path
) -> None:
    count = int(pydicom.dcmread(file).NumberOfFrames)
    order = np.random.default_rng(3).permutation(count).tolist()
    shuffled = frames_in_order(file, tmp_path / "shuffled.dcm", order)
    np.testing.assert_array_equal(read_segmentation(shuffled, series).array, _mask(series).array)
    np.testing.assert_array_equal(read_segmentation(shuffled).array, _mask(series).array)
    groups = pydicom.dcmread(file).PerFrameFunctionalGroupsSequence
    first = [i for i, g in enumerate(groups) if g.SegmentIdentificationSequence[0].ReferencedSegmentNumber == 1]
    sparse = frames_in_order(file, tmp_path / "sparse.dcm", first)
    expected = np.where(_mask(series).array == 1, 1, 0)
    np.testing.assert_array_equal(read_segmentation(sparse, series).array, expected)


def test_run_length_encoded_bits_come_out_right(file: Path, series: SeriesRef, tmp_path: Path) -> None:
    packed = run_length_encoded(file, tmp_path / "rle.dcm")
    assert packed.stat().st_size != file.stat().st_size
    np.testing.assert_array_equal(read_segmentation(packed, series).array, _mask(series).array)


@pytest.mark.parametrize("compressed", [False, True], ids=["native", "rle"])
def test_label_maps_come_out_right(series: SeriesRef, tmp_path: Path, compressed: bool) -> None:
    options = {"transfer_syntax_uid": RLELossless} if compressed else {}
    path = highdicom_segmentation(tmp_path / "map.dcm", series, _mask(series).array, "LABELMAP", **options)
    labels = read_labels(path, series)
    np.testing.assert_array_equal(labels.array, _mask(series).array)
    assert labels.names == {1: "part 1", 2: "part 2"}
    found = look(path)
    assert found is not None
    assert (found.kind, found.series([series])) == ("SEG", series)
    second = list(read_segments(path, series))[1]
    np.testing.assert_array_equal(second.array, np.where(_mask(series).array == 2, 2, 0))


@pytest.mark.parametrize("compressed", [False, True], ids=["native", "rle"])
def test_a_voxel_is_inside_from_half_of_the_maximum_on(series: SeriesRef, tmp_path: Path, compressed: bool) -> None:
    options = {"transfer_syntax_uid": RLELossless} if compressed else {}
    share = np.zeros(SHAPE, np.float32)
    share[2, 5, 4:8] = (0.2, 0.49, 0.51, 1.0)
    kind = {"fractional_type": "PROBABILITY", "max_fractional_value": 200, **options}
    path = highdicom_segmentation(tmp_path / "fraction.dcm", series, share, "FRACTIONAL", **kind)
    np.testing.assert_array_equal(read_segmentation(path, series).array, (share >= 0.5).astype(np.uint8))


@pytest.mark.parametrize("stored", [1, 255])
def test_a_binary_mask_in_fractional_bytes_as_ohif_stores_it_is_kept(
    series: SeriesRef, tmp_path: Path, stored: int
) -> None:
    inside = (_mask(series).array == 1).astype(np.float32)
    kind = {"fractional_type": "PROBABILITY", "max_fractional_value": 255, "omit_empty_frames": False}
    path = highdicom_segmentation(tmp_path / "ohif.dcm", series, inside, "FRACTIONAL", **kind)
    d = pydicom.dcmread(path)
    d.PixelData = np.where(d.pixel_array > 0, stored, 0).astype(np.uint8).tobytes().ljust(len(d.PixelData), b"\0")
    d.save_as(path)
    np.testing.assert_array_equal(read_segmentation(path, series).array, inside.astype(np.uint8))


def test_forty_segments_come_back_with_their_numbers(series: SeriesRef, tmp_path: Path) -> None:
    array = (np.arange(np.prod(SHAPE)).reshape(SHAPE) % 41).astype(np.uint8)
    binary = highdicom_segmentation(tmp_path / "many.dcm", series, array, "BINARY")
    np.testing.assert_array_equal(read_segmentation(binary, series).array, array)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(turn=st.tuples(*[st.floats(-3.1, 3.1)] * 3), seed=st.integers(0, 999))
def test_masks_come_back_from_any_oblique_grid(
    tmp_path_factory: pytest.TempPathFactory, turn: tuple[float, float, float], seed: int
) -> None:
    folder = tmp_path_factory.mktemp("oblique")
    axes = Rotation.from_euler("xyz", turn).as_matrix()
    oblique = write_series(folder / "source", directions=axes.tolist(), shape=(4, 9, 11))
    assert oblique.geometry is not None
    array = np.random.default_rng(seed).integers(0, 3, (4, 9, 11)).astype(np.uint8)
    path = segmentation(folder / "seg.dcm", Labels(array, oblique.geometry, {}), oblique)
    alone = read_segmentation(path)
    assert alone.geometry.same_grid(oblique.geometry, 0.01)
    for labels in (read_segmentation(path, oblique), alone):
        np.testing.assert_array_equal(labels.array, array)


def test_a_segmentation_is_put_on_the_axes_of_the_grid_that_is_given(file: Path, series: SeriesRef) -> None:
    turned = _mask(series).reoriented("ASR")
    np.testing.assert_array_equal(read_segmentation(file, turned.geometry).array, turned.array)


def test_another_frame_of_reference_is_refused(file: Path, tmp_path: Path) -> None:
    other = write_series(tmp_path / "other", shape=SHAPE)
    assert "another frame of reference" in _refused(file, other, "geometry.frame_of_reference")


def test_without_a_frame_of_reference_the_series_must_be_named(file: Path, tmp_path: Path) -> None:
    bare = write_series(tmp_path / "source", shape=SHAPE, changes={"FrameOfReferenceUID": None})
    assert read_segmentation(file, bare).array.any()
    stranger = write_series(tmp_path / "stranger", shape=SHAPE, changes={"FrameOfReferenceUID": None})
    _refused(file, stranger, "geometry.frame_of_reference")


def _edited(file: Path, tmp_path: Path, frame: int, **changes: object) -> Path:
    d = pydicom.dcmread(file)
    group = d.PerFrameFunctionalGroupsSequence[frame]
    for keyword, value in changes.items():
        place = {
            "ImagePositionPatient": lambda: group.PlanePositionSequence[0],
            "ReferencedSegmentNumber": lambda: group.SegmentIdentificationSequence[0],
            "ReferencedSOPInstanceUID": lambda: group.DerivationImageSequence[0].SourceImageSequence[0],
            "PixelSpacing": lambda: d.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0],
        }[keyword]()
        setattr(place, keyword, value)
    target = tmp_path / "edited.dcm"
    d.save_as(target)
    return target


def test_a_frame_off_the_voxels_is_refused(file: Path, series: SeriesRef, tmp_path: Path) -> None:
    place = pydicom.dcmread(file).PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0].ImagePositionPatient
    moved = _edited(file, tmp_path, 1, ImagePositionPatient=[place[0] + 0.4, place[1], place[2]])
    assert "voxels off" in _refused(moved, series, "geometry.mismatch")


def test_pixels_of_another_size_are_refused(file: Path, series: SeriesRef, tmp_path: Path) -> None:
    coarse = _edited(file, tmp_path, 0, PixelSpacing=[1.7, 0.9])
    assert "does not lie on the voxels" in _refused(coarse, series, "geometry.mismatch")


def test_a_frame_that_names_the_image_of_another_slice_is_refused(
    file: Path, series: SeriesRef, tmp_path: Path
) -> None:
    wrong = _edited(file, tmp_path, 1, ReferencedSOPInstanceUID=series.files[6].sop_instance_uid)
    assert "names the image of slice 6" in _refused(wrong, series, "geometry.mismatch")


def test_two_frames_of_a_segment_at_one_place_are_refused(file: Path, series: SeriesRef, tmp_path: Path) -> None:
    twice = frames_in_order(file, tmp_path / "twice.dcm", [1, 2, 1])
    assert "at one place" in _refused(twice, series, "labels.mismatch")


def test_a_frame_of_no_described_segment_is_refused(file: Path, series: SeriesRef, tmp_path: Path) -> None:
    _refused(_edited(file, tmp_path, 1, ReferencedSegmentNumber=9), series, "input.unreadable")


def test_a_segment_that_reaches_beyond_the_series_is_refused(file: Path, series: SeriesRef, tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.mkdir()
    for instance in series.files[:4]:
        (part / instance.path.name).write_bytes(instance.path.read_bytes())
    assert "beyond the images" in _refused(file, scan(part)[0], "geometry.mismatch")


def test_a_smaller_grid_takes_what_lies_within_and_refuses_what_is_cut_off(file: Path, series: SeriesRef) -> None:
    assert series.geometry is not None
    start = series.geometry.to_lps(np.array([0, 2, 1.0]))
    affine = series.geometry.affine
    affine[:3, 3] = start
    large = Geometry.from_affine(affine, (7, 15, 12))
    np.testing.assert_array_equal(read_segmentation(file, large).array, _mask(series).array[:, 2:17, 1:13])
    for cut in ((7, 11, 12), (7, 15, 9)):
        with pytest.raises(InputError, match="beyond the images") as refused:
            read_segmentation(file, Geometry.from_affine(affine, cut))
        assert refused.value.code == "geometry.mismatch"


def test_cut_off_pixels_are_refused(file: Path, series: SeriesRef, tmp_path: Path) -> None:
    d = pydicom.dcmread(file)
    d.PixelData = d.PixelData[: len(d.PixelData) // 4 * 2]
    d.save_as(tmp_path / "cut.dcm")
    _refused(tmp_path / "cut.dcm", series, "input.unreadable")


def test_labels_carry_no_identity(file: Path, series: SeriesRef) -> None:
    shown = repr(read_segmentation(file, series)) + repr(look(file))
    for secret in (series.patient.name, series.patient.id, series.study.accession_number):
        assert secret
        assert secret not in shown


def test_only_segmentations_are_found(file: Path, series: SeriesRef, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no DICOM")
    found = find_rois([series.files[0].path, file, tmp_path / "notes.txt"])
    assert [roi.path for roi in found] == [file]
    with pytest.raises(InputError) as refused:
        read_labels(series.files[0].path)
    assert refused.value.code == "input.not_an_image"
