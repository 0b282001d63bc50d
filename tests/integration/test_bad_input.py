"""Bad input at the command line: the code, the exit status and a sentence, and no result left behind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from segloop.cli import main
from segloop.io import files
from segloop.registry import shipped
from segloop.volume import Geometry, Labels, Volume

MODEL = "hippocampus-mr"


@pytest.fixture
def crop(shared_data, tmp_path) -> Path:
    """A writable copy of a real series that the model accepts."""
    study = tmp_path / "study"
    shutil.copytree(shared_data("brain-mr-dicom") / "Study1" / "13_HCropVolume", study)
    return study


def refused(capsys, *arguments: str | Path) -> tuple[int, dict[str, object]]:
    status = main([*map(str, arguments), "--json"])
    out, err = capsys.readouterr()
    error = json.loads(out)["error"]
    assert len(error["message"]) > 20
    assert err.startswith(f"segloop: {error['code']}: ")
    return status, error


def run(capsys, study: Path, out: Path, model: str | Path = MODEL) -> tuple[int, dict[str, object]]:
    answer = refused(capsys, "run", study, "--model", model, "-o", out)
    assert not (out / "result.json").exists()
    return answer


def slices(study: Path) -> list[Path]:
    return sorted(
        (p for p in study.iterdir() if p.is_file()), key=lambda p: float(pydicom.dcmread(p).ImagePositionPatient[2])
    )


def test_truncated_file(capsys, crop, tmp_path):
    victim = slices(crop)[7]
    victim.write_bytes(victim.read_bytes()[:-100])
    status, error = run(capsys, crop, tmp_path / "out")
    assert (status, error["code"]) == (2, "input.unreadable")
    assert victim.name in str(error["message"])


def test_non_image_object(capsys, shared_data, tmp_path):
    study = tmp_path / "sr"
    study.mkdir()
    (report,) = shared_data("dicom-seg-sr").glob("highdicom/*sr*.dcm")
    shutil.copy(report, study)
    status, error = run(capsys, study, tmp_path / "out")
    assert (status, error["code"]) == (2, "input.not_an_image")


def test_missing_slice(capsys, crop, tmp_path):
    slices(crop)[10].unlink()
    status, error = run(capsys, crop, tmp_path / "out")
    assert (status, error["code"]) == (2, "geometry.missing_slices")


def test_two_patients_in_one_folder(capsys, crop, shared_data, tmp_path):
    shutil.copytree(shared_data("brain-mr-dicom") / "Study3", crop / "other")
    status, error = run(capsys, crop, tmp_path / "out")
    assert (status, error["code"]) == (2, "input.two_patients")
    assert "Dumbledore" not in json.dumps(error)
    assert "Avasarala" not in json.dumps(error)


def test_one_study_uid_under_two_patients(capsys, crop, tmp_path):
    for path in slices(crop)[:5]:
        dataset = pydicom.dcmread(path)
        dataset.PatientID, dataset.PatientName = "SOMEONE-ELSE", "Else^Someone"
        dataset.save_as(path)
    status, error = run(capsys, crop, tmp_path / "out")
    assert (status, error["code"]) == (2, "input.two_patients")


def test_empty_folder(capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    status, error = run(capsys, tmp_path / "empty", tmp_path / "out")
    assert (status, error["code"]) == (2, "input.empty")


def test_ct_given_to_an_mr_model(capsys, shared_data, tmp_path):
    status, error = run(capsys, shared_data("sarcoma-ct") / "STS_002" / "dicom", tmp_path / "out")
    assert (status, error["code"]) == (2, "input.not_applicable")
    assert "CT" in str(error["message"])


def test_bundle_with_a_flipped_byte(capsys, crop, tmp_path):
    bundle = tmp_path / "bundle"
    shutil.copytree(shipped()[MODEL], bundle)
    weights = bundle / "weights" / "weights.npz"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    status, error = run(capsys, crop, tmp_path / "out", bundle)
    assert (status, error["code"]) == (4, "bundle.corrupt")
    assert "weights.npz" in str(error["message"])


def test_unknown_model(capsys, crop, tmp_path):
    status, error = run(capsys, crop, tmp_path / "out", "no-such-model")
    assert (status, error["code"]) == (4, "model.unknown")
    assert MODEL in json.dumps(error)


def test_label_map_of_another_shape(capsys, tmp_path):
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / "set" / folder).mkdir(parents=True)
    for name, depth in (("a", 20), ("b", 21)):
        grid, other = Geometry((20, 20, 20)), Geometry((depth, 20, 20))
        files.write(
            Volume(np.random.default_rng(0).normal(size=grid.shape), grid), tmp_path / "set/imagesTr" / f"{name}.nii.gz"
        )
        mask = np.zeros(other.shape, np.uint8)
        mask[5:9, 5:9, 5:9] = 1
        files.write(Labels(mask, other), tmp_path / "set/labelsTr" / f"{name}.nii.gz")
    (tmp_path / "set" / "dataset.json").write_text(json.dumps({"name": "toy", "labels": {"0": "background", "1": "x"}}))
    status, error = refused(capsys, "plan", tmp_path / "set", "-o", tmp_path / "plan.json")
    assert (status, error["code"]) == (2, "labels.mismatch")
    assert "b" in str(error["message"])
    assert not (tmp_path / "plan.json").exists()


def test_more_than_one_fitting_series_lists_them(capsys, crop, tmp_path):
    second = crop / "second"
    second.mkdir()
    series = generate_uid()
    for number, path in enumerate(slices(crop)):
        dataset = pydicom.dcmread(path)
        dataset.SeriesInstanceUID = series
        dataset.SOPInstanceUID = generate_uid()
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.save_as(second / f"{number}.dcm")
    status, error = run(capsys, crop, tmp_path / "out")
    assert (status, error["code"]) == (2, "input.ambiguous_series")
    assert "--series" in json.dumps(error)
