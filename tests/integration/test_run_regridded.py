"""`segloop run` on a tilted and on an unevenly spaced series: never silent, and on the source's own pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from segloop.errors import InputError
from segloop.io import dicom, files
from segloop.study import StudyTask
from segloop.workflow import process_study

MODEL = "hippocampus-mr"


@pytest.fixture
def moved(shared_data, tmp_path):
    """The crop with each slice moved by `shift(place along the stack, row, column, normal)` mm."""

    def make(shift) -> Path:
        folder = tmp_path / "source"
        folder.mkdir()
        (series,) = dicom.scan(shared_data("brain-mr-dicom") / "Study1" / "13_HCropVolume")
        normal, column, row = map(np.array, series.geometry.direction)
        for z, file in enumerate(series.files):
            dataset = pydicom.dcmread(file.path)
            place = z * series.geometry.spacing_mm[0]
            position = np.array(dataset.ImagePositionPatient, float) + shift(place, row, column, normal)
            dataset.ImagePositionPatient = [f"{v:.5f}" for v in position]
            dataset.save_as(folder / f"{z:03d}.dcm")
        return folder

    return make


def require_on_the_source(folder: Path, out: Path) -> None:
    """Every frame of the SEG stands at the position of the very image it refers to."""
    images = {d.SOPInstanceUID: d for d in map(pydicom.dcmread, folder.iterdir())}
    seg = pydicom.dcmread(out / "seg.dcm")
    assert (seg.Rows, seg.Columns) == {(d.Rows, d.Columns) for d in images.values()}.pop()
    for group in seg.PerFrameFunctionalGroupsSequence:
        image = images[group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID]
        place = group.PlanePositionSequence[0].ImagePositionPatient
        assert np.abs(np.array(place, float) - np.array(image.ImagePositionPatient, float)).max() < 0.01


def test_a_tilted_study_is_segmented_and_every_result_says_that_it_was_sheared(moved, tmp_path):
    folder = moved(lambda place, _row, column, _normal: place * np.tan(np.radians(8)) * column)
    result = process_study(StudyTask(source=folder, out=tmp_path / "out", model=MODEL))
    assert "slices_sheared" in result.warnings
    assert {m.name for m in result.measurements} == {"Anterior", "Posterior"}
    assert files.read(tmp_path / "out" / "labels.nii.gz").array.any()
    require_on_the_source(folder, tmp_path / "out")


def test_an_uneven_study_is_refused_and_resampled_only_when_told(moved, tmp_path):
    folder = moved(lambda place, _row, _column, normal: 0.35 * np.sin(place) * normal)
    with pytest.raises(InputError) as caught:
        process_study(StudyTask(source=folder, out=tmp_path / "refused", model=MODEL))
    assert caught.value.code == "geometry.nonuniform_spacing"
    task = StudyTask(source=folder, out=tmp_path / "out", model=MODEL, uneven_slices="resample")
    assert "slices_resampled" in process_study(task).warnings
    require_on_the_source(folder, tmp_path / "out")
    assert task.settings_digest != task.model_copy(update={"uneven_slices": "refuse"}).settings_digest
