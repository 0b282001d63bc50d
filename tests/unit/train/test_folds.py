from __future__ import annotations

import gzip
import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segloop.data.dataset import Dataset
from segloop.errors import InputError
from segloop.train.folds import Fold, make_folds, require_apart, torn_apart
from training_kit import write_dataset


@pytest.fixture(scope="module")
def balls(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write_dataset(tmp_path_factory.mktemp("balls"), cases=12)


def grouped(dataset: Dataset, patients: list[str], sites: list[str] | None = None) -> Dataset:
    sites = sites or [""] * len(patients)
    cases = [replace(c, patient=p, site=s) for c, p, s in zip(dataset.cases, patients, sites, strict=True)]
    return replace(dataset, cases=tuple(cases))


def test_the_folds_are_nnunets_when_every_case_is_a_patient(balls: Dataset) -> None:
    folds = make_folds(balls, 5)
    assert [(f.training, f.held_out) for f in folds] == list(balls.split(5))


@settings(max_examples=30, deadline=None)
@given(patients=st.integers(2, 12), folds=st.integers(2, 5), seed=st.integers(0, 1000))
def test_a_patient_is_never_on_both_sides(balls: Dataset, patients: int, folds: int, seed: int) -> None:
    names = [f"p{i % patients}" for i in range(12)]
    random.Random(seed).shuffle(names)
    dataset = grouped(balls, names)
    if patients < folds:
        with pytest.raises(InputError, match="cannot be cut"):
            make_folds(dataset, folds)
        return
    of = {case.id: case.patient for case in dataset.cases}
    made = make_folds(dataset, folds)
    assert sorted(c for fold in made for c in fold.held_out) == sorted(of)
    for fold in made:
        assert not {of[c] for c in fold.training} & {of[c] for c in fold.held_out}


def test_folds_that_would_split_a_patient_are_refused_wherever_they_come_from(balls: Dataset) -> None:
    dataset = grouped(balls, ["same", "same", *(f"p{i}" for i in range(10))])
    ids = [case.id for case in dataset.cases]
    parts = [ids[0::2], ids[1::2]]
    folds = [Fold(k, tuple(sorted(set(ids) - set(part))), tuple(part)) for k, part in enumerate(parts)]
    with pytest.raises(InputError, match="patient that it holds out") as caught:
        require_apart(dataset, folds)
    assert (caught.value.code, caught.value.found) == ("dataset.leak", ids[:2])
    with pytest.raises(InputError, match="exactly once"):
        require_apart(dataset, folds[:1])


@pytest.mark.parametrize("compressed_again", [False, True])
def test_a_copy_of_an_image_under_another_name_is_found(compressed_again: bool, tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "set", cases=4)
    held = make_folds(dataset, 2)[0].held_out
    trained = next(case for case in dataset.cases if case.id not in held)
    copy = dataset.case(held[0]).images[0]
    shutil.copyfile(trained.images[0], copy)
    if compressed_again:
        copy.write_bytes(gzip.compress(gzip.decompress(copy.read_bytes()), 1, mtime=7))
        assert dataset.digest(dataset.case(held[0])) != dataset.digest(trained)
    with pytest.raises(InputError, match="image that it holds out") as caught:
        make_folds(dataset, 2)
    assert set(caught.value.found) == {trained.id, held[0]}
    one_patient = [("p" if case.id in (trained.id, held[0]) else case.id) for case in dataset.cases]
    assert len(make_folds(grouped(dataset, one_patient), 2)) == 2


def test_one_site_is_left_out_at_a_time(balls: Dataset) -> None:
    sites = ["Bern"] * 3 + ["Basel"] * 5 + ["Zug"] * 4
    dataset = grouped(balls, [case.id for case in balls.cases], sites)
    folds = make_folds(dataset, leave_site_out=True)
    assert [(fold.site, len(fold.held_out), len(fold.training)) for fold in folds] == [
        ("Basel", 5, 7),
        ("Bern", 3, 9),
        ("Zug", 4, 8),
    ]


def test_leaving_sites_out_needs_sites_and_patients_of_one_site(balls: Dataset) -> None:
    own = [case.id for case in balls.cases]
    for sites, code in (([""] * 12, "dataset.invalid"), (["Bern"] * 12, "usage")):
        with pytest.raises(InputError) as caught:
            make_folds(grouped(balls, own, sites), leave_site_out=True)
        assert caught.value.code == code
    moved = grouped(balls, ["p", "p", *own[2:]], ["Bern", "Zug"] * 6)
    with pytest.raises(InputError) as caught:
        make_folds(moved, leave_site_out=True)
    assert caught.value.code == "dataset.leak"


def test_names_that_tell_one_patient_on_both_sides_are_warned_about(balls: Dataset) -> None:
    names = {case.id: f"sub-{i // 2:02d}_ses-{i % 2 + 1}" for i, case in enumerate(balls.cases)}
    named = replace(balls, cases=tuple(replace(c, id=names[c.id], patient=names[c.id]) for c in balls.cases))
    sides = ("sub-00_ses-1", "sub-01_ses-1", "sub-01_ses-2"), ("sub-00_ses-2",)
    (text,) = torn_apart(named, *sides)
    assert "sub-00_ses-1, sub-00_ses-2" in text
    assert "1 patients" in text
    assert torn_apart(named, sides[0][1:], ("sub-00_ses-1", "sub-00_ses-2")) == ()
    # What the dataset states is not doubted.
    assert torn_apart(grouped(named, ["p"] * 12), *sides) == ()
