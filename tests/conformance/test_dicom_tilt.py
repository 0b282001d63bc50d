"""Masks of straight, tilted and unevenly spaced series, back on the source's own pixels in every orientation."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pydicom
import pytest

from results import CREATED, MODEL, SPECS, write_all, write_series
from segloop.io.dicom import SeriesRef, read_series, scan
from segloop.report import verify_against_source, write_seg
from segloop.report.findings import collect
from segloop.volume import Labels

AXES = [np.array(sign) * np.eye(3)[axis] for axis in range(3) for sign in (1, -1)]
UPRIGHT = [(row, column) for row, column in itertools.product(AXES, AXES) if not np.dot(row, column)]
OBLIQUE = [((0.954, -0.208, 0.215), (0.2790, 0.8800, -0.3844)), ((0.609, 0.791, 0.064), (-0.143, 0.188, -0.972))]
SHAPE = (7, 14, 12)


def source(folder: Path, row, column, tilt: float = 0.0, places=None, reverse: bool = False) -> SeriesRef:
    """Slices whose planes lie along `row` and `column`, shifted down the column by the tangent of `tilt`."""
    row, column = np.array(row, float), np.array(column, float)
    row /= np.linalg.norm(row)
    column -= (column @ row) * row
    column /= np.linalg.norm(column)
    normal = np.cross(row, column)
    write_series(
        folder, directions=(tuple(normal), tuple(column), tuple(row)), shape=SHAPE, modality="CT", reverse_names=reverse
    )
    for z, path in enumerate(sorted(folder.iterdir(), reverse=reverse)):
        dataset = pydicom.dcmread(path)
        place = 2.5 * z if places is None else places[z]
        position = np.array([-31.0, 12.5, 40.25]) + place * (normal + np.tan(np.radians(tilt)) * column)
        dataset.ImagePositionPatient = [f"{v:.6f}" for v in position]
        dataset.save_as(path)
    return scan(folder, "resample" if places else "refuse")[0]


def drawn_on(series: SeriesRef) -> np.ndarray:
    """A mask on the source's slices that no flip or turn leaves as it is."""
    drawn = np.zeros(SHAPE, np.uint8)
    drawn[2:5, 3:9, 2:7] = 1
    drawn[3, 9:12, 5:10] = 2
    drawn[1:3, 1:3, 8:11] = 4
    return drawn


def require_on_the_pixels(path: Path, series: SeriesRef, drawn: np.ndarray) -> None:
    """Each frame of the SEG lies at its source image's own position and holds the pixels that were drawn there."""
    seg = pydicom.dcmread(path)
    files = {f.sop_instance_uid: (z, pydicom.dcmread(f.path)) for z, f in enumerate(series.files)}
    frames = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)
    values = [spec.value for spec in SPECS if (drawn == spec.value).any()]
    orientation = seg.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient
    found = np.zeros_like(drawn)
    for frame, group in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        reference = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        z, image = files[reference]
        place = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        assert np.abs(place - np.array(image.ImagePositionPatient, float)).max() < 0.01
        assert np.allclose(orientation, image.ImageOrientationPatient, atol=1e-5)
        number = values[group.SegmentIdentificationSequence[0].ReferencedSegmentNumber - 1]
        found[z][frame > 0] = number
    assert (found == drawn).all()


def round_trip(series: SeriesRef, folder: Path) -> None:
    drawn = drawn_on(series)
    volume = read_series(series)
    array = drawn if series.regrid is None else series.regrid.labels(drawn)
    labels = Labels(array, volume.geometry, {spec.value: spec.name for spec in SPECS})
    findings = collect(labels, (), SPECS, MODEL, CREATED)
    write_seg(labels, series, findings, "1.2.3.4.5", folder / "seg.dcm")
    require_on_the_pixels(folder / "seg.dcm", series, drawn)


@pytest.mark.parametrize("reverse", [False, True], ids=["ascending", "descending"])
@pytest.mark.parametrize("tilt", [0.0, 17.3], ids=["straight", "tilted"])
def test_masks_return_to_their_pixels_in_every_orientation(tmp_path, tilt, reverse):
    """24 orientations times two file orders, and oblique ones."""
    assert len(UPRIGHT) == 24
    for n, (row, column) in enumerate([*UPRIGHT, *OBLIQUE]):
        series = source(tmp_path / str(n), row, column, tilt, reverse=reverse)
        assert (series.regrid is not None) == (tilt != 0)
        round_trip(series, tmp_path / str(n))


@pytest.mark.parametrize("tilt", [-30.0, -8.0, 0.5, 12.0, 30.0])
def test_any_tilt(tmp_path, tilt):
    series = source(tmp_path / "s", (1, 0, 0), (0, np.cos(0.3), -np.sin(0.3)), tilt)
    assert series.warnings == ("slices_sheared",)
    round_trip(series, tmp_path)


def test_every_result_of_a_tilted_series_says_so_and_belongs_to_it(tmp_path):
    series = source(tmp_path / "s", (1, 0, 0), (0, 1, 0), 14.0)
    made = write_all(series, tmp_path / "out")
    require_on_the_pixels(made.folder / "seg.dcm", series, series.regrid.to_source(made.labels))
    verify_against_source(made.objects, series)


def test_an_uneven_series_is_refused_unless_told_otherwise(tmp_path):
    places = (0, 2.5, 5, 7.6, 10.9, 12.5, 15)
    series = source(tmp_path / "s", (1, 0, 0), (0, 1, 0), 0.0, places)
    assert series.warnings == ("slices_resampled",)
    made = write_all(series, tmp_path / "out")
    require_on_the_pixels(made.folder / "seg.dcm", series, series.regrid.to_source(made.labels))
    refused = scan(tmp_path / "s")[0]
    assert [fault.code for fault in refused.faults] == ["geometry.nonuniform_spacing"]
