"""`segloop convert` with segmentations: on the grid of their series, beside it or given, or refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from results import write_series
from rois_kit import drawn, segmentation, square, structure_set
from segloop.cli import main
from segloop.io import files
from segloop.io.dicom import SeriesRef
from segloop.volume import Labels

SHAPE = (5, 16, 18)


@pytest.fixture
def study(tmp_path: Path) -> tuple[Path, SeriesRef, Labels]:
    """A folder with a series, a SEG and a structure set of two structures that overlap."""
    folder = tmp_path / "study"
    series = write_series(folder / "images", shape=SHAPE)
    array = np.zeros(SHAPE, np.uint8)
    array[1:3, 4:8, 5:9] = 1
    assert series.geometry is not None
    labels = Labels(array, series.geometry, {1: "Anterior"})
    segmentation(folder / "seg.dcm", labels, series)
    lines = {"target": [drawn(series, 2, square(3.5, 4.5, 4))], "margin": [drawn(series, 2, square(2.5, 3.5, 6))]}
    structure_set(folder / "rs.dcm", series, lines)
    return folder, series, labels


def _convert(capsys: pytest.CaptureFixture[str], *arguments: object, status: int = 0) -> dict[str, Any]:
    assert main(["convert", *map(str, arguments), "--json"]) == status
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_a_segmentation_goes_on_the_grid_of_the_series_beside_it(
    study: tuple[Path, SeriesRef, Labels], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _, labels = study
    target = tmp_path / "out.nii.gz"
    document = _convert(capsys, folder / "seg.dcm", "-o", target)
    assert document["labels"] == {str(target): {"1": "Anterior"}}
    read = files.read_labels(target, {}).reoriented(labels.geometry.axis_codes)
    assert read.geometry.same_grid(labels.geometry)
    np.testing.assert_array_equal(read.array, labels.array)


def test_the_series_may_be_given_or_lacking(
    study: tuple[Path, SeriesRef, Labels], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, series, _ = study
    alone = tmp_path / "alone"
    alone.mkdir()
    for name in ("seg.dcm", "rs.dcm"):
        shutil.copy(folder / name, alone / name)
    assert main(["convert", str(alone / "seg.dcm"), "-o", str(tmp_path / "own.nii.gz")]) == 0
    assert "own grid is taken" in capsys.readouterr().out
    refused = _convert(capsys, alone / "rs.dcm", "-o", tmp_path / "rs.nii.gz", status=2)
    assert refused["error"]["code"] in ("labels.no_series", "input.not_an_image")
    given = ("--series-folder", folder / "images", "--apart", "-o", tmp_path / "parts")
    document = _convert(capsys, alone / "rs.dcm", *given)
    assert [Path(name).name for name in document["written"]] == ["rs_1.nii.gz", "rs_2.nii.gz"]
    sizes = [int((files.read_labels(Path(name), {}).array > 0).sum()) for name in document["written"]]
    assert sizes == [16, 36]
    wrong = ("--series", f"{series.series_uid}9", "-o", tmp_path / "x.nii.gz")
    assert _convert(capsys, folder / "seg.dcm", *wrong, status=2)["error"]["code"] == "labels.no_series"


def test_overlapping_structures_are_refused_as_one_map(
    study: tuple[Path, SeriesRef, Labels], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = _convert(capsys, study[0] / "rs.dcm", "-o", tmp_path / "rs.nii.gz", status=2)
    assert document["error"]["code"] == "labels.overlap"
    assert not (tmp_path / "rs.nii.gz").exists()
    usage = _convert(capsys, study[0] / "rs.dcm", "--apart", "-o", tmp_path / "rs.nii.gz", status=2)
    assert usage["error"]["code"] == "usage"


def test_a_folder_gives_its_series_and_their_segmentations(
    study: tuple[Path, SeriesRef, Labels], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, series, labels = study
    document = _convert(capsys, folder, "-o", tmp_path / "out")
    names = [Path(name).name for name in document["written"]]
    assert names == [f"{series.series_uid}.nii.gz", f"{series.series_uid}_seg1.nii.gz"]
    (refused,) = document["refused"]
    assert refused["file"] == "rs.dcm"
    assert "overlap" in refused["reasons"][0]
    mask = files.read_labels(tmp_path / "out" / names[1], {}).reoriented(labels.geometry.axis_codes)
    np.testing.assert_array_equal(mask.array, labels.array)
    one = _convert(capsys, folder, "-o", tmp_path / "image.nii.gz")
    assert one["written"] == [str(tmp_path / "image.nii.gz")]
