"""`segloop run` on real studies: every file, linked to its source, in the right place, the same again on a retry."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813 - the name its own documentation uses

from segloop import workflow
from segloop.cli import main
from segloop.errors import InputError
from segloop.io import dicom, files, rois
from segloop.study import StudyTask
from segloop.workflow import STEPS, process_study

MODEL = "hippocampus-mr"
FILES = {
    "labels": "labels.nii.gz",
    "seg": "seg.dcm",
    "sr": "sr.dcm",
    "report": "report.dcm",
    "pdf": "report.pdf",
    "capture": "capture.dcm",
    "key_objects": "key_objects.dcm",
    "overlay": "overlay.png",
    "oru": "oru.hl7",
    "fhir": "fhir.json",
}


@pytest.fixture(scope="module")
def crop(shared_data) -> Path:
    return shared_data("brain-mr-dicom") / "Study1" / "13_HCropVolume"


@pytest.fixture(scope="module")
def result(crop, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    return out, process_study(StudyTask(source=crop, out=out, model=MODEL))


def test_every_file_is_there_and_named_in_the_result(result):
    out, found = result
    assert found.files == FILES
    assert all((out / name).stat().st_size > 500 for name in FILES.values())
    assert {m.quantity for m in found.measurements} >= {"volume", "longest_diameter", "perpendicular_diameter"}
    assert {m.name for m in found.measurements} == {"Anterior", "Posterior"}
    assert set(found.seconds) == {"read", "prepare", "network", "restore", "post", "report", "total"}
    document = json.loads((out / "result.json").read_text("utf-8"))
    assert document["schema"] == 1
    assert document["model"]["digest"].startswith("sha256:")


def test_the_volume_is_a_hippocampus_and_equals_the_voxels_counted(result):
    out, found = result
    labels = files.read_labels(out / "labels.nii.gz", {1: "Anterior", 2: "Posterior"})
    for value, name in labels.names.items():
        (volume,) = [m.value for m in found.measurements if m.name == name and m.quantity == "volume"]
        assert volume == pytest.approx(np.count_nonzero(labels.array == value) * labels.geometry.voxel_ml)
        assert 0.8 < volume < 3.0


def test_anterior_lies_in_front_of_posterior_in_patient_space(result):
    out, _ = result
    labels = files.read_labels(out / "labels.nii.gz", {1: "Anterior", 2: "Posterior"})
    centre = {v: labels.geometry.to_lps(np.argwhere(labels.array == v).mean(0)) for v in (1, 2)}
    assert centre[1][1] < centre[2][1] - 5


def test_the_segmentation_can_be_a_label_map_of_the_same_mask(result, crop, tmp_path):
    out, found = result
    arguments = ["run", str(crop), "--model", MODEL, "-o", str(tmp_path), "--seg", "labelmap", "--json"]
    assert main(arguments) == 0
    (series,) = dicom.scan(crop)
    assert pydicom.dcmread(tmp_path / "seg.dcm").SegmentationType == "LABELMAP"
    mask = files.read_labels(out / "labels.nii.gz", {1: "Anterior", 2: "Posterior"})
    for folder in (out, tmp_path):
        labels = rois.read_segmentation(folder / "seg.dcm", series).reoriented(mask.geometry.axis_codes)
        np.testing.assert_array_equal(labels.array, mask.array)
    assert json.loads((tmp_path / "result.json").read_text("utf-8"))["key"] != found.key


def test_no_record_between_the_steps_names_the_patient(result, crop):
    out, _ = result
    header = pydicom.dcmread(next(crop.iterdir()), stop_before_pixels=True)
    identity = [*str(header.PatientName).replace("^", " ").split(), str(header.PatientID)]
    for path in set(out.glob("*.json")) - {out / FILES["fhir"]}:
        text = path.read_text("utf-8")
        assert not [word for word in identity if word and word in text], path.name


def test_the_model_stands_in_seg_and_sr(result):
    out, found = result
    for name in ("seg.dcm", "sr.dcm"):
        text = str(pydicom.dcmread(out / name))
        assert found.model.name in text
        assert found.model.digest in text, name
        assert found.model.version in text


def test_a_retry_writes_the_same_bytes(result, crop, tmp_path):
    out, found = result
    copy = tmp_path / "again"
    shutil.copytree(out, copy)
    again = process_study(StudyTask(source=crop, out=copy, model=MODEL))
    assert again.key == found.key
    for name in FILES.values():
        assert _sha256(copy / name) == _sha256(out / name), name


@pytest.mark.parametrize("killed_after", range(1, len(STEPS)))
def test_work_goes_on_after_any_step(result, crop, tmp_path, killed_after):
    _, found = result
    task = StudyTask(source=crop, out=tmp_path, model=MODEL)
    for step in STEPS[:killed_after]:
        step.run(task)
    for step in STEPS[killed_after - 1 :]:
        step.run(task)
    assert {m.value for m in workflow.read_record(workflow.StudyResult, tmp_path / "result.json").measurements} == {
        m.value for m in found.measurements
    }


def test_a_file_changed_between_the_steps_stops_the_work(crop, tmp_path):
    study = tmp_path / "study"
    shutil.copytree(crop, study)
    task = StudyTask(source=study, out=tmp_path / "out", model=MODEL)
    STEPS[0].run(task)
    victim = next(study.iterdir())
    dataset = pydicom.dcmread(victim)
    dataset.PixelData = bytes(len(dataset.PixelData))
    dataset.save_as(victim)
    with pytest.raises(InputError, match="changed"):
        STEPS[1].run(task)


def test_of_a_whole_study_the_crop_is_taken_and_each_other_series_refused_with_a_reason(shared_data, tmp_path, capsys):
    study = shared_data("brain-mr-dicom") / "Study3"
    assert main(["run", str(study), "--model", MODEL, "-o", str(tmp_path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    (chosen,) = {
        pydicom.dcmread(path, stop_before_pixels=True).SeriesInstanceUID
        for path in study.rglob("*")
        if path.is_file() and "HCrop" in str(path.parent)
    }
    assert document["series_uid"] == chosen
    others = {p.parent.name for p in study.rglob("*") if p.is_file() and "HCrop" not in str(p.parent)}
    assert len(document["refused"]) == len(others)
    assert all("spacing" in " ".join(series["reasons"]) for series in document["refused"])


def test_the_same_brain_stored_as_a_sagittal_stack_gives_the_same_mask_in_the_patient(result, crop, tmp_path):
    out, _ = result
    stack = tmp_path / "sagittal"
    stack.mkdir()
    _restack(crop, stack)
    process_study(StudyTask(source=stack, out=tmp_path / "out", model=MODEL))
    first = files.read_labels(out / "labels.nii.gz", {1: "Anterior", 2: "Posterior"}).reoriented("SPL")
    second = files.read_labels(tmp_path / "out" / "labels.nii.gz", dict(first.names)).reoriented("SPL")
    assert first.geometry.same_grid(second.geometry)
    np.testing.assert_array_equal(first.array, second.array)
    stored = files.read_labels(tmp_path / "out" / "labels.nii.gz", dict(first.names))
    assert stored.geometry.axis_codes[0] in "LR"


@pytest.mark.peer
@pytest.mark.parametrize("stack", ["axial", "sagittal"])
def test_dcmqi_reads_the_seg_as_the_same_voxels_in_the_same_place(crop, tmp_path, require_peer, stack):
    reader = require_peer("segimage2itkimage")
    source = crop
    if stack == "sagittal":
        source = tmp_path / "stack"
        source.mkdir()
        _restack(crop, source)
    out = tmp_path / "out"
    process_study(StudyTask(source=source, out=out, model=MODEL))
    decoded = tmp_path / "decoded"
    decoded.mkdir()
    command = [reader, "--inputDICOM", out / "seg.dcm", "--outputDirectory", decoded, "--outputType", "nifti"]
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
    labels = sitk.ReadImage(str(out / "labels.nii.gz"))
    values = sitk.GetArrayFromImage(labels)
    for number, value in enumerate(np.unique(values[values > 0]), 1):
        segment = sitk.ReadImage(str(decoded / f"{number}.nii.gz"))
        onto = sitk.Resample(segment, labels, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
        np.testing.assert_array_equal(sitk.GetArrayFromImage(onto) > 0, values == value)
        assert np.count_nonzero(sitk.GetArrayFromImage(segment)) == np.count_nonzero(values == value)


def _restack(source: Path, target: Path) -> None:
    """The same voxels in the same places as a stack of sagittal slices, left to right reversed."""
    slices = sorted((pydicom.dcmread(p) for p in source.iterdir()), key=lambda d: float(d.ImagePositionPatient[2]))
    block = np.stack([d.pixel_array for d in slices])
    first = np.asarray(slices[0].ImagePositionPatient, float)
    step = np.asarray(slices[1].ImagePositionPatient, float) - first
    row, column = np.asarray(slices[0].ImageOrientationPatient, float).reshape(2, 3)
    spacing_y, spacing_x = map(float, slices[0].PixelSpacing)
    for number, x in enumerate(reversed(range(block.shape[2]))):
        dataset = pydicom.dcmread(next(source.iterdir()))
        dataset.SOPInstanceUID = f"{slices[0].SeriesInstanceUID[:50]}.{number + 1}"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.InstanceNumber = number + 1
        plane = block[::-1, :, x]  # rows run down the body, columns to the back
        dataset.Rows, dataset.Columns = plane.shape
        dataset.PixelData = np.ascontiguousarray(plane).tobytes()
        origin = first + step * (block.shape[0] - 1) + row * spacing_x * x
        dataset.ImagePositionPatient = [float(v) for v in origin]
        dataset.ImageOrientationPatient = [float(v) for v in (*column, *(-step / np.linalg.norm(step)))]
        dataset.PixelSpacing = [float(np.linalg.norm(step)), spacing_y]
        dataset.save_as(target / f"{number:03}.dcm")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
