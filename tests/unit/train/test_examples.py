"""Datasets to classes on the training grid; made-up images."""

from __future__ import annotations

import gzip
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

import tiny_models
from segloop.data.digests import voxels_digest
from segloop.errors import InputError, PlanError
from segloop.io import files
from segloop.plan import LabelSpec
from segloop.train.checkpoint import State
from segloop.train.examples import cases_digest, classes, load_examples, require_unseen, seen_by, split_ids, voxels_of
from segloop.train.fitting import _leaks, fit
from segloop.train.selftest import made_up
from segloop.volume import Geometry, Labels, Volume
from training_kit import plan, write_cases, write_dataset


def test_label_numbers_become_classes_in_the_plans_order() -> None:
    labels = Labels(np.array([[[0, 2, 7, 2]]], np.uint8), Geometry((1, 1, 4)), {})
    np.testing.assert_array_equal(classes(labels, {2: 1, 7: 2}), [[[0, 1, 2, 1]]])


def test_examples_are_what_inference_would_see(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "d", 2)
    (example,) = load_examples(plan(), dataset, ("c1",))
    assert example.image.shape == (16, 16, 16, 1)
    assert abs(float(example.image.mean())) < 1e-3
    assert example.labels.sum() == dataset.read(dataset.case("c1"))[1].array.sum()


def test_labels_the_plan_does_not_know_are_refused(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "d", 1)
    other = plan().changed({"labels": [LabelSpec(value=4, name="other").model_dump()]})
    with pytest.raises(PlanError, match=r"labels \[1\]"):
        load_examples(other, dataset, ("c0",))


@pytest.mark.parametrize("fault", ["truncated", "absent", "not finite"])
def test_a_case_that_went_bad_is_named(tmp_path: Path, fault: str) -> None:
    dataset = write_dataset(tmp_path / "d", 3)
    image = dataset.case("c1").images[0]
    volume, whole = files.read(image), image.read_bytes()
    image.unlink()
    if fault == "truncated":
        image.write_bytes(whole[: len(whole) // 2])
    elif fault == "not finite":
        values = volume.array.copy()
        values[3, 3, 3] = np.nan
        files.write(Volume(values, volume.geometry), image)
    with pytest.raises(InputError, match=r"^Case c1: ") as raised:
        load_examples(plan(), dataset, ("c0", "c1", "c2"))
    assert raised.value.code == "input.unreadable"


def test_a_volume_becomes_slices_for_a_2d_plan(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "d", 1)
    flat = plan().changed(
        {
            "network.dims": 2,
            "network.kernels": [[1, 3, 3]] * 2,
            "network.strides": [[1, 1, 1], [1, 2, 2]],
            "training.patch": [1, 16, 16],
            "inference.patch": [1, 16, 16],
        }
    )
    examples = load_examples(flat, dataset, ("c0",))
    assert [e.image.shape for e in examples] == [(1, 16, 16, 1)] * 16


def test_without_a_fold_every_case_is_trained_on(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "d", 5)
    assert split_ids(plan(), dataset, None) == (("c0", "c1", "c2", "c3", "c4"), ())
    train, held = split_ids(plan(), dataset, 2)
    assert len(train) == 4
    assert len(held) == 1


def test_made_up_images_fit_the_plan_and_are_always_the_same() -> None:
    one, two = made_up(plan(), 2)
    assert one.geometry.axis_codes == plan().preparation.orientation
    assert not np.array_equal(one.array, two.array)
    np.testing.assert_array_equal(one.array, made_up(plan(), 1)[0].array)


def test_cases_are_told_apart_by_ids_files_and_sides(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "d", 3)
    first = cases_digest(dataset, ("c0", "c1"), ("c2",))
    assert first == cases_digest(dataset, ("c1", "c0"), ("c2",))
    assert first != cases_digest(dataset, ("c0", "c2"), ("c1",))
    label = dataset.case("c0").label
    drawn = files.read_labels(label, {})
    files.write(Labels(np.where(drawn.array > 0, 0, drawn.array), drawn.geometry, {}), label)
    assert first != cases_digest(dataset, ("c0", "c1"), ("c2",))


def test_a_run_is_not_resumed_with_another_case(tmp_path: Path) -> None:
    dataset, out = write_dataset(tmp_path / "d", 6), tmp_path / "run"
    recipe = plan(folds=2)
    state = State(plan=recipe.digest, seed=0, fold=0, cases=cases_digest(dataset, *split_ids(recipe, dataset, 0)))
    (out / "checkpoint").mkdir(parents=True)
    np.savez(out / "checkpoint" / "state.npz", state=np.frombuffer(state.model_dump_json().encode(), np.uint8))
    grown = write_dataset(tmp_path / "grown", 7)
    # One case more makes other folds: without this guard the model scores on cases it has learnt from.
    assert set(split_ids(recipe, grown, 0)[1]) & set(split_ids(recipe, dataset, 0)[0])
    with pytest.raises(PlanError, match="cannot be resumed"):
        fit(recipe, grown, out, fold=0, resume=True, seed=0)


def _stored_otherwise(path: Path, how: str) -> None:
    """The same image in another file: nothing a person sees is different."""
    image = nib.load(path)
    if how == "compressed again":
        path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), 1, mtime=7))
    elif how == "other axes":
        nib.save(
            nib.Nifti1Image(np.asarray(image.dataobj), image.affine).as_reoriented([[1, 1], [0, -1], [2, 1]]), path
        )
    else:
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj).astype(np.float64), image.affine), path)


@pytest.mark.parametrize("how", ["compressed again", "other axes", "other numbers"])
def test_an_image_that_was_seen_is_known_in_any_file(how: str, tmp_path: Path) -> None:
    dataset, source = write_dataset(tmp_path / "d", 3), tiny_models.bundle()
    case = dataset.case("c1")
    seen = {"training_images": {"x": dataset.digest(case)}, "training_voxels": {"x": dataset.voxels_digest(case)}}
    known = SimpleNamespace(
        manifest=source.manifest.model_copy(update={"provenance": source.manifest.provenance.model_copy(update=seen)})
    )
    file, voxels = dataset.digest(case), dataset.read(case)[0].array
    _stored_otherwise(case.images[0], how)
    _stored_otherwise(case.label, how)
    assert dataset.digest(case) != file
    assert dataset.read(case)[0].array.sum() == pytest.approx(voxels.sum())
    assert seen_by(known, dataset, ("c0", "c1", "c2")) == ("c1",)


def test_images_without_contrast_are_not_taken_for_each_other(tmp_path: Path) -> None:
    blank = np.zeros((16, 16, 16))
    dataset = write_cases(tmp_path / "d", [(blank, blank), (blank, blank)], labels={"0": "background", "1": "ball"})
    assert dataset.voxels_digest(dataset.case("c0")) == ""
    red = np.tile(np.array([255.0, 0, 0]), (1, 8, 8, 1))
    assert voxels_digest(Volume(red, Geometry((1, 8, 8)))) == ""
    red[0, 0, 0, 2] = 1
    assert voxels_digest(Volume(red, Geometry((1, 8, 8))))
    examples = load_examples(plan(), dataset, ("c0", "c1"))
    assert voxels_of(examples, ("c0", "c1")) == {}


def test_slices_carry_the_digest_of_their_volume(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "d", 2)
    flat = plan().changed(
        {
            "network.dims": 2,
            "network.strides": [[1, 1, 1], [1, 2, 2]],
            "network.kernels": [[1, 3, 3]] * 2,
            "training.patch": [1, 16, 16],
            "inference.patch": [1, 16, 16],
        }
    )
    found = voxels_of(load_examples(flat, dataset, ("c0", "c1")), ("c0", "c1"))
    assert found == {case.id: dataset.voxels_digest(case) for case in dataset.cases}


def test_weights_that_saw_a_held_out_case_are_refused(tmp_path: Path) -> None:
    dataset, source = write_dataset(tmp_path / "d", 3), tiny_models.bundle()
    provenance = source.manifest.provenance.model_copy(
        update={"training_images": {"other/x": dataset.digest(dataset.case("c1"))}}
    )
    known = SimpleNamespace(manifest=source.manifest.model_copy(update={"provenance": provenance}))
    require_unseen(known, dataset, ("c0", "c2"))
    assert list(_leaks(dataset, ("c1",), ("c0", "c2"), known)) == []
    (notice,) = _leaks(dataset, ("c2",), ("c0", "c1"), known)
    assert "1 of the 2 cases held out (c1)" in notice.text
    with pytest.raises(InputError, match="c1") as caught:
        require_unseen(known, dataset, ("c0", "c1"))
    assert caught.value.code == "dataset.leak"
