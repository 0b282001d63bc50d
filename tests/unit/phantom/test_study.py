"""The phantom's DICOM study: valid, consistent, and readable by segloop itself."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest

from segloop.io import dicom, files
from segloop.phantom import Phantom, Scan, generate, write_dataset, write_study
from segloop.plan import SeriesRule

SMALL = Scan(slices=36, slice_mm=5.0, matrix=80, pixel_mm=4.4)


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return generate(11, lesions=2, scan=SMALL)


@pytest.fixture(scope="module")
def study(phantom: Phantom, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("phantom")
    write_study(phantom, out)
    return out


def test_one_file_per_slice_head_first_and_a_scout(study: Path) -> None:
    slices = [pydicom.dcmread(p) for p in sorted((study / "axial").iterdir())]
    assert len(slices) == SMALL.slices
    assert len(list((study / "scout").iterdir())) == 1
    heights = [float(d.ImagePositionPatient[2]) for d in slices]
    assert heights == sorted(heights, reverse=True)
    assert [d.InstanceNumber for d in slices] == list(range(1, SMALL.slices + 1))


def test_every_object_shares_patient_study_and_frame(study: Path) -> None:
    datasets = [pydicom.dcmread(p) for p in study.rglob("*.dcm")]
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "FrameOfReferenceUID", "AccessionNumber"):
        assert len({str(d[keyword].value) for d in datasets}) == 1
    assert len({d.SOPInstanceUID for d in datasets}) == len(datasets)
    assert len({d.SeriesInstanceUID for d in datasets}) == 2
    assert all(d.SOPInstanceUID.startswith("2.25.") and len(d.SOPInstanceUID) <= 64 for d in datasets)


def test_chinese_and_latin_names(tmp_path: Path) -> None:
    for seed, groups in ((1, 2), (2, 1)):
        out = tmp_path / str(seed)
        write_study(generate(seed, scan=SMALL), out)
        dataset = pydicom.dcmread(next((out / "axial").iterdir()))
        assert dataset.SpecificCharacterSet == "ISO_IR 192"
        assert bool(dataset.PatientName.ideographic) == (groups == 2)
        assert dataset.PatientName.alphabetic.isascii()


def test_writing_twice_gives_the_same_bytes(phantom: Phantom, study: Path, tmp_path: Path) -> None:
    write_study(phantom, tmp_path)
    for path in study.rglob("*.dcm"):
        assert (tmp_path / path.relative_to(study)).read_bytes() == path.read_bytes()


def test_another_phantom_shares_no_uid(study: Path, tmp_path: Path) -> None:
    write_study(generate(11, lesions=1, scan=SMALL), tmp_path)
    first, second = (pydicom.dcmread(folder / "axial" / "IM0001.dcm") for folder in (study, tmp_path))
    assert first.StudyInstanceUID != second.StudyInstanceUID
    assert first.SOPInstanceUID != second.SOPInstanceUID


def test_truth_has_the_form_of_a_result(phantom: Phantom, study: Path) -> None:
    truth = json.loads((study / "truth.json").read_text("utf-8"))
    dataset = pydicom.dcmread(study / "axial" / "IM0001.dcm")
    assert truth["schema"] == 1
    assert truth["study_uid"] == dataset.StudyInstanceUID
    assert truth["series_uid"] == dataset.SeriesInstanceUID
    assert [m["component"] for m in truth["measurements"]] == [0, 0, 1, 2]
    assert set(truth["measurements"][0]) == {"label", "name", "component", "quantity", "value", "unit"}
    assert truth["measurements"][0]["value"] == phantom.truth[0].value


def test_reading_the_series_back_gives_the_volume(phantom: Phantom, study: Path) -> None:
    selection = dicom.select(dicom.scan(study), SeriesRule(modalities=("CT",), min_slices=10))
    assert [reference.description for reference, _ in selection.refused] == ["Scout"]
    volume = dicom.read_series(selection.chosen).reoriented("SPL")
    assert volume.modality == "CT"
    assert volume.geometry.same_grid(phantom.volume.geometry)
    np.testing.assert_array_equal(np.asarray(volume.array), phantom.volume.array)


@pytest.mark.peer
def test_dicom_validators_find_no_error(study: Path, require_peer: Callable[[str], Path]) -> None:
    validator = require_peer("dciodvfy")
    for path in (study / "axial" / "IM0001.dcm", study / "axial" / "IM0020.dcm", study / "scout" / "IM0001.dcm"):
        run = subprocess.run([validator, "-new", path], capture_output=True, text=True, check=False)
        assert "Error" not in run.stderr + run.stdout
    run = subprocess.run([require_peer("dcentvfy"), *study.rglob("*.dcm")], capture_output=True, text=True, check=False)
    assert "Error" not in run.stderr + run.stdout


def test_a_dataset_folder_holds_cases_and_licence(tmp_path: Path) -> None:
    write_dataset(tmp_path, range(3), SMALL)
    document = json.loads((tmp_path / "dataset.json").read_text("utf-8"))
    assert document["modality"] == {"0": "CT"}
    assert document["licence"] == "Apache-2.0 (synthetic)"
    assert document["labels"] == {"0": "background", "1": "liver", "2": "lesion"}
    assert len(document["training"]) == 3
    phantom = generate(2, scan=SMALL)
    image = files.read(tmp_path / document["training"][2]["image"])
    label = files.read_labels(tmp_path / document["training"][2]["label"], {1: "liver", 2: "lesion"})
    turned, truth = image.reoriented("SPL"), label.reoriented("SPL")
    assert turned.geometry.same_grid(phantom.volume.geometry)
    np.testing.assert_array_equal(turned.array, phantom.volume.array)
    np.testing.assert_array_equal(truth.array, phantom.labels.array)
