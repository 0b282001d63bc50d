from __future__ import annotations

from pathlib import Path

import pytest

from segloop.data.checks.entries import Entry
from segloop.data.checks.patients import folds_of, patient_faults, suspects
from segloop.data.checks.survey import Survey
from segloop.data.dataset import split


def dataset(*ids: str, patients: dict[str, str] | None = None) -> Survey:
    where = Path("set")
    entries = [Entry(case, (where / case,), where / f"{case}_label", (patients or {}).get(case, case)) for case in ids]
    return Survey(where, {}, {}, None, "", (), False, tuple(entries), ())


@pytest.mark.parametrize(
    ("first", "second", "who"),
    [
        ("P001_a", "P001_b", "P001"),
        ("P001_L", "P001_R", "P001"),
        ("sub-07_left", "sub-07_right", "sub-07"),
        ("case12_pre", "case12_post", "case12"),
        ("pat3_t1", "pat3_t2", "pat3"),
        ("sub-03_ses-01", "sub-03_ses-02", "sub-03"),
        ("ID9_20190102", "ID9_20200304", "ID9"),
        ("scan4", "scan4 copy", None),
        ("img7(1)", "img7(2)", "img7"),
    ],
)
def test_names_that_tell_a_patient(first: str, second: str, who: str | None) -> None:
    (_, sure), _ = suspects(dataset(first, second, "other"))
    assert sure == ({who: sorted([first, second])} if who else {})


@pytest.mark.parametrize(
    "ids",
    [
        [f"hippocampus_{n:03d}" for n in (1, 3, 6, 11)],
        [f"STS_{n:03d}" for n in range(5)],
        [f"{n:02d}" for n in range(24)],
        [f"Task04_{n:02d}" for n in range(30)],
        [f"site{s}_{n:02d}" for s in (1, 2) for n in range(20)],
        ["liver_1", "liver_12", "liver_112"],
    ],
)
def test_names_that_only_number_cases_tell_none(ids: list[str]) -> None:
    assert all(not groups for _, groups in suspects(dataset(*ids)))


def test_a_patient_that_is_certain_is_not_suspected_as_well() -> None:
    (_, sure), (_, unsure) = suspects(dataset(*(f"sub-{n:02d}_ses-{s}" for n in range(5) for s in (1, 2))))
    assert len(sure) == 5
    assert unsure == {}


def test_numbered_images_of_one_name_are_only_a_suspicion() -> None:
    ids = [f"p{patient}_{scan}" for patient in range(6) for scan in (1, 2)]
    survey = dataset(*ids)
    faults = list(patient_faults(survey, folds_of(survey)))
    assert faults
    assert {(fault.kind, fault.severity, fault.mendable) for fault in faults} == {
        ("patient_in_two_folds", "warning", False)
    }


def test_patients_that_the_dataset_states_are_believed_and_kept_together() -> None:
    ids = [f"P{patient:03d}_{scan}" for patient in range(6) for scan in "ab"]
    stated = {case: case[:4] for case in ids}
    survey = dataset(*ids, patients=stated)
    folds = folds_of(survey)
    assert all(folds[f"{who}_a"] == folds[f"{who}_b"] for who in set(stated.values()))
    assert list(patient_faults(survey, folds)) == []
    assert len(list(patient_faults(dataset(*ids), folds_of(dataset(*ids))))) > 0


def test_the_folds_are_those_of_training() -> None:
    ids = [f"c{number:02d}" for number in range(11)]
    held = {case: number for number, (_, part) in enumerate(split(ids)) for case in part}
    assert folds_of(dataset(*ids)) == held
    assert folds_of(dataset(*ids[:3])) == {}
