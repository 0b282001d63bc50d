"""A Plan that asks for uptake gets it in every step of the walk, and one that does not gets the values as stored."""

from __future__ import annotations

import pydicom
import pytest
from pydicom.dataset import Dataset

import tiny_models
from results import write_series
from segloop.errors import InputError
from segloop.study import StudyTask
from segloop.workflow import process_study

DOSE_BQ, WEIGHT_KG = 4e8, 80.0
PLAN = {"inputs__modalities": ["PT"], "preparation__normalisation": [{"kind": "zscore"}]}


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """A PET series in Bq/ml, decay corrected to the injection."""
    folder = tmp_path_factory.mktemp("pet")
    write_series(folder, shape=(20, 22, 18), spacing_mm=(1.0, 1.0, 1.0))
    drug = Dataset()
    drug.RadionuclideTotalDose, drug.RadionuclideHalfLife = DOSE_BQ, 6586.2
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.128"
        dataset.Modality, dataset.Units, dataset.DecayCorrection = "PT", "BQML", "ADMIN"
        dataset.PatientWeight = WEIGHT_KG
        dataset.RescaleSlope, dataset.RescaleIntercept = 20, 0
        dataset.RadiopharmaceuticalInformationSequence = [drug]
        dataset.save_as(path)
    return folder


def means(source, out, bundle) -> dict[str, float]:
    result = process_study(StudyTask(source=source, out=out, model=str(bundle.path), runtime="openvino"))
    return {m.name: m.value for m in result.measurements if m.quantity == "mean_intensity"}


@pytest.mark.long
def test_the_plan_decides_whether_values_are_uptake(scan, tmp_path):
    stored = means(scan, tmp_path / "a", tiny_models.export(tmp_path / "stored", **PLAN))
    wanted = tiny_models.export(tmp_path / "suv", reading__pet="suv-bw", **PLAN)
    uptake = means(scan, tmp_path / "b", wanted)
    assert stored
    # Standardised per image, both are the same input for the network, so the labels are the same.
    factor = WEIGHT_KG * 1000 / DOSE_BQ
    assert uptake == pytest.approx({name: value * factor for name, value in stored.items()}, rel=1e-3)
    for path in scan.iterdir():
        dataset = pydicom.dcmread(path)
        del dataset.PatientWeight
        dataset.save_as(path)
    with pytest.raises(InputError) as caught:
        means(scan, tmp_path / "c", wanted)
    assert caught.value.code == "input.suv"
