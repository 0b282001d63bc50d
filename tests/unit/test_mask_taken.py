"""A study made anew takes the mask that it has already, if the network would find the same; else the network runs."""

from __future__ import annotations

from pathlib import Path

import pytest

import service_kit as kit
from segloop.errors import SegloopError
from segloop.io.files import read_labels
from segloop.plan import SeriesRule
from segloop.study import InferenceRecord, StudyTask, file_digest, read_record
from segloop.workflow import LABELS, infer, select


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> StudyTask:
    """A task whose mask is there. Its model has no weights, so a network that is asked for fails."""
    root = tmp_path_factory.mktemp("mask")
    kit.study(root / "in", 4)
    bundle = str(kit.paper_bundle(root / "bundle"))
    task = StudyTask(source=root / "in", out=root / "out", model=bundle, runtime="openvino")
    select(task)
    kit.drawn(task)
    return task


def test_the_mask_of_the_same_images_is_taken_for_another_result_of_them(made: StudyTask, tmp_path: Path) -> None:
    task = made.model_copy(update={"out": tmp_path, "revision": "2", "priors": ("k",), "mask_from": made.out})
    select(task)
    infer(task)
    assert file_digest(tmp_path / LABELS) == file_digest(made.out / LABELS)
    assert read_labels(tmp_path / LABELS, {1: "one"}).array.any()
    record = read_record(InferenceRecord, tmp_path / "inference.json")
    assert record == read_record(InferenceRecord, made.out / "inference.json")


@pytest.mark.parametrize("other", ["images", "way", "mask", "model", "none"])
def test_no_mask_of_anything_else_is_taken(made: StudyTask, tmp_path: Path, other: str) -> None:
    given = {"out": tmp_path / "out", "mask_from": made.out}
    if other == "images":
        kit.study(tmp_path / "in", 4, SliceThickness=2)
        given["source"] = tmp_path / "in"
    elif other == "way":
        given["uneven_slices"] = "resample"
    elif other == "model":
        rule = SeriesRule(modalities=("MR",), min_slices=2)
        given["model"] = str(kit.paper_bundle(tmp_path / "bundle", rule))
    elif other == "mask":
        given["mask_from"] = tmp_path / "theirs"
        given["mask_from"].mkdir()
        for path in made.out.iterdir():
            (given["mask_from"] / path.name).write_bytes(path.read_bytes() + (b"x" if path.name == LABELS else b""))
    else:
        given["mask_from"] = None
    task = made.model_copy(update=given)
    select(task)
    with pytest.raises(SegloopError) as caught:
        infer(task)
    assert caught.value.code.startswith(("bundle.", "runtime.", "model."))
    assert not (tmp_path / "out" / LABELS).exists()
