"""Results about images in several multi-frame files: each frame named is the frame that the mask was drawn on."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)

from report_mutations import SR, items
from results import CREATED, MODEL, SPECS, mask_for, write_series
from seg_mutations import SEG, frame_source
from segloop.errors import GeometryMismatch
from segloop.io import deid
from segloop.io.dicom import SeriesRef, read_series, scan
from segloop.io.rois import read_rtstruct, read_segmentation
from segloop.measure import measure_labels
from segloop.report import Findings, collect, verify_against_source, verify_content, write_seg
from segloop.report.dicom.seg import Form
from segloop.report.dicom.source import on_source
from segloop.report.writing import write_all
from segloop.volume import Labels
from series_kinds import OBLIQUE, enhanced, write_parts

Change = Callable[[Dataset], object]
SHARES = ((5, 0, 3), (8, 1), (2, 7, 4, 6))
AXES = [
    tuple(
        tuple(float(sign if place == axis else 0) for place in range(3))
        for axis, sign in zip(order, signs, strict=True)
    )
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[SeriesRef, Labels, Findings, Path]:
    """Everything that the workflow writes about a concatenation, no two slices of the mask alike."""
    folder = tmp_path_factory.mktemp("parts")
    (series,) = scan(write_parts(folder / "source", SHARES))
    volume = read_series(series)
    mask = mask_for(volume)
    array = mask.array.copy()
    for z in range(1, len(array)):
        array[z, z, -1] = 1
    labels = Labels(array, mask.geometry, mask.names)
    findings = collect(labels, measure_labels(labels, volume, SPECS), SPECS, MODEL, CREATED)
    out = folder / "out"
    out.mkdir()
    write_all(findings, labels, volume, series, "key", out, rtstruct=True)
    return series, labels, findings, out


def _headers(source: Path) -> dict[str, Dataset]:
    return {str(d.SOPInstanceUID): d for d in map(pydicom.dcmread, source.iterdir())}


def _place(headers: dict[str, Dataset], reference: Dataset) -> np.ndarray:
    """Where the frame that is named lies, as its own file says."""
    header = headers[str(reference.ReferencedSOPInstanceUID)]
    assert reference.ReferencedSOPClassUID == header.SOPClassUID
    group = header.PerFrameFunctionalGroupsSequence[int(reference.ReferencedFrameNumber) - 1]
    return np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(AXES),
    st.sampled_from([0.0, 0.3]),
    st.permutations(range(7)),
    st.sets(st.integers(1, 6), max_size=3),
    st.integers(0, 2**32 - 1),
)
def test_a_mask_comes_back_whatever_frame_each_slice_is(
    tmp_path_factory: pytest.TempPathFactory,
    axes: tuple[tuple[float, ...], ...],
    angle: float,
    order: list[int],
    cuts: set[int],
    seed: int,
) -> None:
    folder = tmp_path_factory.mktemp("s")
    c, s = float(np.cos(angle)), float(np.sin(angle))
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    directions = [tuple(turn @ axis) for axis in axes]
    edges = [0, *sorted(cuts), len(order)]
    shares = [order[begin:end] for begin, end in itertools.pairwise(edges)]
    (series,) = scan(write_parts(folder / "source", shares, directions=directions))
    assert series.geometry is not None
    drawn = np.random.default_rng(seed).choice(np.array([0, 0, 0, 1, 2], np.uint8), series.geometry.shape)
    drawn[1:3, :, :5] = 0
    labels = Labels(drawn, series.geometry, {})
    findings = collect(labels, (), SPECS, MODEL, CREATED)
    path = write_seg(labels, series, findings, "2.25.7", folder / "seg.dcm")
    verify_content([path], labels, series, findings)
    np.testing.assert_array_equal(read_segmentation(path, series).array, drawn)
    alone = read_segmentation(path)
    place = alone.geometry.to_lps(np.argwhere(alone.array).astype(float))
    back = series.geometry.to_index(place)
    assert np.abs(back - np.rint(back)).max() < 1e-4
    np.testing.assert_array_equal(drawn[tuple(np.rint(back).astype(int).T)], alone.array[alone.array > 0])
    headers = _headers(folder / "source")
    for group in pydicom.dcmread(path).PerFrameFunctionalGroupsSequence:
        (source,) = group.DerivationImageSequence[0].SourceImageSequence
        here = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        assert np.abs(_place(headers, source) - here).max() < 1e-2


def test_every_object_names_the_parts_and_nothing_else(made: tuple[SeriesRef, Labels, Findings, Path]) -> None:
    series, _, _, out = made
    uids = {file.sop_instance_uid for file in series.files}
    results = {str(pydicom.dcmread(path).SOPInstanceUID) for path in out.glob("*.dcm")}
    for path in sorted(out.glob("*.dcm")):
        named = set[str]()
        pydicom.dcmread(path).walk(
            lambda _, e, named=named: named.add(str(e.value)) if e.keyword == "ReferencedSOPInstanceUID" else None
        )
        studies = {series.study_uid} if path.name == "rtstruct.dcm" else set()
        sources = named - results - studies
        # Key objects name what is shown, and that need not be in every part.
        assert sources == uids or (path.name == "key_objects.dcm" and sources and sources < uids), path.name
    listed = pydicom.dcmread(out / "seg.dcm").ReferencedSeriesSequence[0]
    assert listed.SeriesInstanceUID == series.series_uid
    assert sorted(i.ReferencedSOPInstanceUID for i in listed.ReferencedInstanceSequence) == sorted(uids)


def test_report_contours_and_key_objects_name_the_frames_that_show_a_label(
    made: tuple[SeriesRef, Labels, Findings, Path],
) -> None:
    series, labels, _, out = made
    headers = _headers(series.files[0].path.parent)

    def slices(references: list[Dataset]) -> list[int]:
        """The slices of the frames named, found by their places."""
        found = []
        for reference in references:
            for number in np.atleast_1d(reference.ReferencedFrameNumber).astype(int).tolist():
                one = Dataset()
                one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID, one.ReferencedFrameNumber = (
                    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID, number,
                )  # fmt: skip
                index = labels.geometry.to_index(_place(headers, one)[None])[0]
                assert np.abs(index - [round(index[0]), 0, 0]).max() < 1e-2
                found.append(round(float(index[0])))
        return sorted(found)

    shown = {v: np.flatnonzero((labels.array == v).any(axis=(1, 2))).tolist() for v in (1, 2, 4)}
    report = pydicom.dcmread(out / "sr.dcm")
    groups = [group for group in items(report, "125007") if list(items(group, "121233"))]
    told = [[i.ReferencedSOPSequence[0] for i in items(group, "121233")] for group in groups]
    assert [slices(references) for references in told] == list(shown.values())
    structures = pydicom.dcmread(out / "rtstruct.dcm")
    for structure, expected in zip(structures.ROIContourSequence, shown.values(), strict=True):
        named = []
        for contour in structure.ContourSequence:
            (image,) = contour.ContourImageSequence
            points = np.array(contour.ContourData, float).reshape(-1, 3)
            (z,) = slices([image])
            assert np.abs(labels.geometry.to_index(points)[:, 0] - z).max() < 1e-3
            named.append(z)
        assert sorted(set(named)) == expected
    np.testing.assert_array_equal(
        np.array([0, 1, 2, 4])[read_rtstruct(out / "rtstruct.dcm", series).array], labels.array
    )
    keys = pydicom.dcmread(out / "key_objects.dcm")
    images = [i.ReferencedSOPSequence[0] for i in keys.ContentSequence if i.ValueType == "IMAGE"]
    framed = [i for i in images if str(i.ReferencedSOPInstanceUID) in headers]
    assert framed
    assert all(labels.array[z].any() for z in slices(framed))


def test_highdicom_finds_each_frame_of_each_part(made: tuple[SeriesRef, Labels, Findings, Path]) -> None:
    series, labels, findings, out = made
    seg = hd.seg.segread(out / "seg.dcm")
    table = np.zeros(5, np.uint8)
    for value, number in findings.segment_numbers.items():
        table[value] = number
    for z, (file, frame) in enumerate(series.images):
        (plane,) = seg.get_pixels_by_source_frame(
            file.sop_instance_uid, [frame], combine_segments=True, assert_missing_frames_are_empty=True
        )
        np.testing.assert_array_equal(plane, table[labels.array[z]])
    volume = seg.get_volume(combine_segments=True)
    places = volume.map_indices_to_reference(np.argwhere(volume.array))
    index = np.rint(labels.geometry.to_index(places)).astype(int)
    np.testing.assert_array_equal(volume.array[volume.array > 0], table[labels.array[tuple(index.T)]])
    assert int(np.count_nonzero(volume.array)) == int(np.count_nonzero(labels.array))


def _of_another_frame(d: Dataset) -> None:
    source = frame_source(d)
    source.ReferencedFrameNumber = 1 if int(source.ReferencedFrameNumber) != 1 else 2


def _sr_references(d: Dataset) -> list[Dataset]:
    return [item.ReferencedSOPSequence[0] for item in items(d, "121233")]


def _one_frame_less(d: Dataset) -> None:
    several = next(r for r in _sr_references(d) if len(np.atleast_1d(r.ReferencedFrameNumber)) > 1)
    several.ReferencedFrameNumber = list(several.ReferencedFrameNumber)[1:]


MUTATIONS: dict[str, tuple[str, Change, str]] = {
    "another frame of the same part": ("seg.dcm", _of_another_frame, "ReferencedSOPInstanceUID"),
    "no frame number": ("seg.dcm", lambda d: frame_source(d).pop("ReferencedFrameNumber"), "ReferencedSOPInstanceUID"),
    "the same frame of another part": (
        "seg.dcm",
        lambda d: setattr(frame_source(d), "ReferencedSOPInstanceUID", "2.25.774"),
        "ReferencedSOPInstanceUID",
    ),
    "a frame of the report left out": ("sr.dcm", _one_frame_less, "SourceImageForSegmentation"),
    "no frame numbers in the report": (
        "sr.dcm",
        lambda d: _sr_references(d)[0].pop("ReferencedFrameNumber"),
        "SourceImageForSegmentation",
    ),
    "another part in the report": (
        "sr.dcm",
        lambda d: setattr(
            _sr_references(d)[0], "ReferencedSOPInstanceUID", _sr_references(d)[1].ReferencedSOPInstanceUID
        ),
        "SourceImageForSegmentation",
    ),
}


_OF_SEG = (
    *("stack upside down", "pixels of two frames exchanged", "one pixel more", "a frame left out", "no source image"),
    *("shifted by a slice", "image of another slice", "image of another series", "another pixel spacing"),
)
MUTATIONS |= {name: ("seg.dcm", *SEG[name]) for name in _OF_SEG}
MUTATIONS |= {name: ("sr.dcm", *SR[name]) for name in ("an image that does not show the label", "an image left out")}


@pytest.mark.parametrize("fault", MUTATIONS)
def test_a_wrong_frame_is_refused(made: tuple[SeriesRef, Labels, Findings, Path], tmp_path: Path, fault: str) -> None:
    series, labels, findings, out = made
    name, change, attribute = MUTATIONS[fault]
    dataset = pydicom.dcmread(out / name)
    change(dataset)
    dataset.save_as(tmp_path / name)
    others = [out / other for other in ("seg.dcm", "sr.dcm") if other != name]
    with pytest.raises(GeometryMismatch) as caught:
        verify_content([tmp_path / name, *others], labels, series, findings)
    assert attribute in caught.value.found[name]


def test_the_order_of_frames_and_parts_makes_no_difference(tmp_path: Path) -> None:
    """In one file, in two, shuffled, encoded otherwise: the same volume and, but for its sources, the same SEG."""
    kinds: dict[str, tuple[tuple[tuple[int, ...], ...], str]] = {
        "one": ((tuple(range(9)),), ExplicitVRLittleEndian),
        "two": ((tuple(range(5)), tuple(range(5, 9))), ExplicitVRLittleEndian),
        "backwards": ((tuple(range(8, 3, -1)), tuple(range(3, -1, -1))), ExplicitVRLittleEndian),
        "RLE": (SHARES, RLELossless),
        "JPEG-LS": (SHARES, JPEGLSLossless),
        "big endian": (SHARES, ExplicitVRBigEndian),
        "implicit": (SHARES, ImplicitVRLittleEndian),
        "deflated": (SHARES, DeflatedExplicitVRLittleEndian),
    }
    volumes, pixels = [], []
    for name, (shares, syntax) in kinds.items():
        # The name of the folder gives the UIDs.
        (series,) = scan(write_parts(tmp_path / name / "source", shares, directions=OBLIQUE, syntax=syntax))
        volume = read_series(series)
        labels = mask_for(volume)
        findings = collect(labels, (), SPECS, MODEL, CREATED)
        seg = pydicom.dcmread(write_seg(labels, series, findings, "2.25.7", tmp_path / name / "seg.dcm"))
        for group in seg.PerFrameFunctionalGroupsSequence:
            del group.DerivationImageSequence
        del seg.ReferencedSeriesSequence
        volumes.append(volume)
        pixels.append(seg)
    for name, volume, seg in zip(kinds, volumes, pixels, strict=True):
        assert volume.geometry.same_grid(volumes[0].geometry), name
        np.testing.assert_array_equal(volume.array, volumes[0].array, err_msg=name)
        assert seg.PixelData == pixels[0].PixelData, name
        assert seg.PerFrameFunctionalGroupsSequence == pixels[0].PerFrameFunctionalGroupsSequence, name


def _sheared(index: int, place: list[float]) -> list[float]:
    return [place[0], place[1] + 0.2 * place[2], place[2]]


def _spread(index: int, place: list[float]) -> list[float]:
    return [place[0], place[1], float((0, 2, 5, 9, 11, 13, 15, 17, 19)[index])]


@pytest.mark.parametrize("form", ["binary", "labelmap"])
@pytest.mark.parametrize(("moved", "warning"), [(_sheared, "slices_sheared"), (_spread, "slices_resampled")])
def test_slices_that_form_no_grid_are_named_by_their_frames_too(
    tmp_path: Path, moved: Callable[[int, list[float]], list[float]], warning: str, form: Form
) -> None:
    folder = write_parts(tmp_path / "source", SHARES, directions=((0, 0, 1), (0, 1, 0), (1, 0, 0)))
    for path, share in zip(sorted(folder.iterdir(), reverse=True), SHARES, strict=True):
        dataset = pydicom.dcmread(path)
        for group, index in zip(dataset.PerFrameFunctionalGroupsSequence, share, strict=True):
            position = group.PlanePositionSequence[0]
            position.ImagePositionPatient = moved(index, [float(v) for v in position.ImagePositionPatient])
        dataset.save_as(path)
    (series,) = scan(folder, "resample")
    assert series.warnings == (warning,)
    labels = mask_for(read_series(series))
    findings = collect(labels, (), SPECS, MODEL, CREATED)
    path = write_seg(labels, series, findings, "2.25.7", tmp_path / "seg.dcm", form=form)
    verify_content([path], labels, series, findings)
    headers = _headers(folder)
    shown = set[tuple[str, int]]()
    for group in pydicom.dcmread(path).PerFrameFunctionalGroupsSequence:
        (source,) = group.DerivationImageSequence[0].SourceImageSequence
        here = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        assert np.abs(_place(headers, source) - here).max() < 1e-2
        shown.add((str(source.ReferencedSOPInstanceUID), int(source.ReferencedFrameNumber)))
    assert len(shown) >= 4
    back = read_segmentation(path, series)
    read = Labels(np.array([0, 1, 2, 4], np.uint8)[back.array], back.geometry, {})
    np.testing.assert_array_equal(on_source(read, series), on_source(labels, series))


def test_single_images_among_frames_are_named_without_a_frame(tmp_path: Path) -> None:
    write_series(tmp_path / "source", shape=(7, 24, 20), modality="CT")
    paths = sorted((tmp_path / "source").iterdir())
    part = enhanced([pydicom.dcmread(paths[z]) for z in (3, 2, 4)], "2.1", "CT")
    part.SOPInstanceUID = part.file_meta.MediaStorageSOPInstanceUID = "2.25.99"
    for z in (2, 3, 4):
        paths[z].unlink()
    part.save_as(tmp_path / "source" / "part.dcm")
    (series,) = scan(tmp_path / "source")
    assert [frame for _, frame in series.images] == [0, 0, 2, 1, 3, 0, 0]
    volume = read_series(series)
    labels = mask_for(volume)
    findings = collect(labels, measure_labels(labels, volume, SPECS), SPECS, MODEL, CREATED)
    out = tmp_path / "out"
    out.mkdir()
    write_all(findings, labels, volume, series, "key", out, rtstruct=True)
    for reader, name in ((read_segmentation, "seg.dcm"), (read_rtstruct, "rtstruct.dcm")):
        np.testing.assert_array_equal(np.array([0, 1, 2, 4])[reader(out / name, series).array], labels.array)
    classes = {file.sop_instance_uid: file.sop_class_uid for file in series.files}
    named = [
        group.DerivationImageSequence[0].SourceImageSequence[0]
        for group in pydicom.dcmread(out / "seg.dcm").PerFrameFunctionalGroupsSequence
    ]
    assert {i.ReferencedSOPClassUID for i in named} == set(classes.values())
    for item in named:
        assert item.ReferencedSOPClassUID == classes[item.ReferencedSOPInstanceUID]
        assert ("ReferencedFrameNumber" in item) == (item.ReferencedSOPInstanceUID == "2.25.99")


def test_results_about_pseudonymised_parts_find_back(tmp_path: Path) -> None:
    key, source = b"k" * 32, write_parts(tmp_path / "source", SHARES)
    (original,) = scan(source)
    mapping = deid.MappingTable(tmp_path / "map", key)
    assert not deid.deidentify(sorted(source.iterdir()), tmp_path / "copies", key, mapping=mapping).refused
    (copies,) = scan(tmp_path / "copies")
    labels = mask_for(read_series(copies))
    path = write_seg(labels, copies, collect(labels, (), SPECS, MODEL, CREATED), "2.25.7", tmp_path / "seg.dcm")
    back = deid.reidentify([path], tmp_path / "back", key, deid.read_links(tmp_path / "map", key))
    assert not back.refused
    verify_against_source(back.written, original)
    found = read_segmentation(back.written[0], original)
    np.testing.assert_array_equal(np.array([0, 1, 2, 4])[found.array], labels.array)
