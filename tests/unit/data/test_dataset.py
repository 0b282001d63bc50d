from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segloop.data import Dataset, fingerprint, split
from segloop.data.checks import check
from segloop.errors import GeometryMismatch, InputError
from segloop.io import files
from segloop.volume import Geometry, Labels, Volume

GRID = Geometry((4, 6, 5), (2.0, 1.0, 1.0))


def write_decathlon(
    root: Path,
    cases: int = 3,
    *,
    document: dict[str, object] | None = None,
    label_grid: Geometry = GRID,
    channels: int = 0,
) -> Path:
    random = np.random.default_rng(0)
    (root / "imagesTr").mkdir(parents=True)
    (root / "labelsTr").mkdir()
    for number in range(cases):
        label = random.integers(0, 3, label_grid.shape).astype(np.uint8)
        files.write(Labels(label, label_grid), root / "labelsTr" / f"c_{number}.nii.gz")
        for suffix in [f"_{i:04d}" for i in range(channels)] or [""]:
            image = random.normal(size=GRID.shape).astype(np.float32)
            files.write(Volume(image, GRID), root / "imagesTr" / f"c_{number}{suffix}.nii.gz")
    document = document or {
        "name": "A set",
        "labels": {"0": "background", "1": "liver", "2": "tumour"},
        "modality": {"0": "CT"},
    }
    (root / "dataset.json").write_text(json.dumps(document), "utf-8")
    return root


def write_pictures(root: Path, image: str, mask: str, values: tuple[int, ...] = (0, 255)) -> Path:
    random = np.random.default_rng(0)
    grid = Geometry((1, 8, 9))
    for stem in ("p1", "p2"):
        for path in (root / image.format(stem), root / mask.format(stem)):
            path.parent.mkdir(parents=True, exist_ok=True)
        files.write(Volume(random.integers(0, 255, (*grid.shape, 3), dtype=np.uint8), grid), root / image.format(stem))
        mask_array = random.choice(np.array(values, np.uint8), grid.shape)
        mask_array[0, 0, : len(values)] = values
        files.write(Volume(mask_array, grid), root / mask.format(stem))
    return root


def test_labels_keep_numbers_and_names_and_the_modality_is_a_dicom_one(tmp_path: Path) -> None:
    dataset = Dataset.load(write_decathlon(tmp_path / "set"))
    assert dataset.label_names == {1: "liver", 2: "tumour"}
    assert (dataset.name, dataset.modality, dataset.channels) == ("A-set", "CT", 1)
    assert [label.components for label in dataset.labels] == [False, True]
    volume, labels = dataset.read(dataset.cases[0])
    assert volume.modality == "CT"
    assert volume.geometry == labels.geometry


def test_nnunet_channels_become_the_last_axis_in_channel_order(tmp_path: Path) -> None:
    names = {"background": 0, "liver": 1, "tumour": 2}
    document = {
        "channel_names": {"0": "T1w", "1": "FLAIR"},
        "labels": names,
        "numTraining": 3,
        "file_ending": ".nii.gz",
    }
    dataset = Dataset.load(write_decathlon(tmp_path / "set", document=document, channels=2))
    volume, _ = dataset.read(dataset.cases[1])
    second = files.read(tmp_path / "set" / "imagesTr" / "c_1_0001.nii.gz")
    assert dataset.channels == 2
    assert dataset.modality == "MR"
    np.testing.assert_array_equal(volume.array[..., 1], second.array)


def test_the_digest_is_of_the_image_file_and_of_all_channels_where_there_are_several(tmp_path: Path) -> None:
    one = Dataset.load(write_decathlon(tmp_path / "one"))
    content = (tmp_path / "one" / "imagesTr" / "c_0.nii.gz").read_bytes()
    assert one.digest(one.cases[0]) == hashlib.sha256(content).hexdigest()
    two = Dataset.load(write_decathlon(tmp_path / "two", channels=2))
    assert len({two.digest(case) for case in two.cases}) == 3


def test_files_that_macos_leaves_are_no_cases(tmp_path: Path) -> None:
    document = {"labels": {"background": 0, "liver": 1, "tumour": 2}}
    root = write_decathlon(tmp_path / "set", document=document)
    for folder in ("imagesTr", "labelsTr"):
        (root / folder / "._c_0.nii.gz").write_bytes(b"\0\5\26\7")
    assert len(Dataset.load(root).cases) == 3


@pytest.mark.parametrize(
    ("values", "meaning"),
    [((0, 255), {1: "foreground"}), ((0, 1), {1: "foreground"}), ((0, 1, 2), {1: "label 1", 2: "label 2"})],
)
def test_a_picture_mask_of_0_and_255_means_label_1(
    tmp_path: Path, values: tuple[int, ...], meaning: dict[int, str]
) -> None:
    dataset = Dataset.load(write_pictures(tmp_path / "set", "images/{}.png", "masks/{}.png", values))
    _, labels = dataset.read(dataset.cases[0])
    assert dataset.label_names == meaning
    assert dataset.photographs
    assert set(np.unique(labels.array)) == {0, *meaning}


def test_greys_that_jpeg_left_in_a_mask_are_no_labels(tmp_path: Path) -> None:
    mask = np.zeros((32, 32), np.uint8)
    mask[8:21, 9:23] = 255
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        Image.fromarray(mask).save(tmp_path / folder / "a.jpg", quality=50)
    assert len(np.unique(files.read_labels(tmp_path / "masks" / "a.jpg", {}).array)) > 2
    with pytest.raises(InputError, match=r"Case a: .* JPEG") as caught:
        Dataset.load(tmp_path)
    assert caught.value.code == "labels.mismatch"
    faults = check(tmp_path)
    assert {(fault.kind, fault.severity) for fault in faults} >= {("unknown_label", "error")}
    assert not any(fault.kind == "unused_label" for fault in faults)


def test_a_description_names_the_labels_of_an_image_folder(tmp_path: Path) -> None:
    root = write_pictures(tmp_path / "set", "image/{}.png", "label/{}_mask.png")
    (root / "dataset.json").write_text('{"name": "eyes", "labels": {"1": "vessel"}, "license": "CC BY 4.0"}')
    dataset = Dataset.load(root)
    _, labels = dataset.read(dataset.cases[0])
    assert (dataset.name, dataset.licence, dataset.label_names) == ("eyes", "CC BY 4.0", {1: "vessel"})
    assert labels.array.max() == 1


def test_a_label_map_of_another_shape_names_the_case(tmp_path: Path) -> None:
    dataset = Dataset.load(write_decathlon(tmp_path / "set", label_grid=Geometry((4, 6, 6), GRID.spacing_mm)))
    with pytest.raises(InputError, match="Case c_0: the label map has 4×6×6") as caught:
        dataset.read(dataset.cases[0])
    assert caught.value.code == "labels.mismatch"


def test_a_shifted_label_map_is_refused_and_a_rounded_one_is_not(tmp_path: Path) -> None:
    shifted = Dataset.load(
        write_decathlon(tmp_path / "a", label_grid=Geometry(GRID.shape, GRID.spacing_mm, (0.0, 0.0, 1.0)))
    )
    with pytest.raises(GeometryMismatch, match="Case c_0"):
        shifted.read(shifted.cases[0])
    tilt = 1e-6
    direction = ((0.0, 0.0, 1.0), (tilt, 1.0, 0.0), (1.0, -tilt, 0.0))
    rounded = Dataset.load(
        write_decathlon(tmp_path / "b", label_grid=Geometry(GRID.shape, GRID.spacing_mm, direction=direction))
    )
    volume, labels = rounded.read(rounded.cases[0])
    assert labels.geometry == volume.geometry


def test_a_number_that_the_dataset_does_not_name_is_refused(tmp_path: Path) -> None:
    dataset = Dataset.load(write_decathlon(tmp_path / "set", document={"labels": {"0": "background", "1": "liver"}}))
    with pytest.raises(InputError) as caught:
        dataset.read(dataset.cases[0])
    assert caught.value.code == "labels.mismatch"


def _lone_image(root: Path) -> None:
    write_decathlon(root, document={"labels": {"1": "liver", "2": "tumour"}})
    (root / "labelsTr" / "c_1.nii.gz").unlink()


def _no_names(root: Path) -> None:
    write_decathlon(root, document={"name": "x"})


def _regions(root: Path) -> None:
    write_decathlon(root, document={"labels": {"background": 0, "whole tumour": [1, 2]}})


def _no_masks(root: Path) -> None:
    files_folder = root / "pictures"
    files_folder.mkdir(parents=True)
    (files_folder / "a.png").write_bytes(b"")


def _broken_description(root: Path) -> None:
    write_decathlon(root)
    (root / "dataset.json").write_text("{")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (_lone_image, r"c_1 \(label\)"),
        (_no_names, "names no labels"),
        (_regions, "regions"),
        (_no_masks, "pictures/"),
        (_broken_description, "cannot be read"),
    ],
)
def test_a_folder_in_no_known_layout_says_what_was_found(
    tmp_path: Path, make: Callable[[Path], None], says: str
) -> None:
    make(tmp_path / "set")
    with pytest.raises(InputError, match=says) as caught:
        Dataset.load(tmp_path / "set")
    assert caught.value.code == "dataset.invalid"


def test_an_absent_and_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "absent"):
        with pytest.raises(InputError, match=name) as caught:
            Dataset.load(tmp_path / name)
        assert caught.value.code == "input.empty"


def test_the_split_is_scikit_learns_and_so_nnunets() -> None:
    # KFold(5, shuffle=True, random_state=12345).split(range(11)), scikit-learn 1.7.
    expected = [["0", "3", "7"], ["10", "6"], ["8", "9"], ["1", "4"], ["2", "5"]]
    names = [f"{i:02d}" for i in range(11)]
    assert [[str(int(v)) for v in validation] for _, validation in split(names)] == [
        sorted(e, key=int) for e in expected
    ]
    for training, validation in split(reversed(names)):  # type: ignore[arg-type]
        assert sorted((*training, *validation)) == names


def test_the_split_of_the_hippocampus_cases(shared_data: Callable[[str], Path]) -> None:
    document = json.loads((shared_data("hippocampus") / "nnunet-per-case.json").read_text())
    folds = [list(validation) for _, validation in split(list(document["cases"]))]
    assert folds[0][:4] == ["hippocampus_025", "hippocampus_040", "hippocampus_041", "hippocampus_050"]
    # Of scikit-learn's result, as JSON.
    assert hashlib.sha256(json.dumps(folds).encode()).hexdigest().startswith("e299155558ba94da")


def test_both_eyes_of_a_patient_stay_on_one_side(shared_data: Callable[[str], Path]) -> None:
    dataset = Dataset.load(shared_data("chase-db1"))
    for training, validation in dataset.split():
        assert {name[:-1] for name in training} & {name[:-1] for name in validation} == set()


def test_a_split_into_more_folds_than_cases_is_refused() -> None:
    with pytest.raises(InputError, match="cannot be cut"):
        split(["a", "b"], folds=3)


def test_a_subset_keeps_all_but_the_cases(tmp_path: Path) -> None:
    dataset = Dataset.load(write_decathlon(tmp_path / "set"))
    part = dataset.subset(["c_2", "c_0"])
    assert [case.id for case in part.cases] == ["c_0", "c_2"]
    assert part.labels == dataset.labels
    with pytest.raises(InputError, match="no case 'c_9'"):
        dataset.subset(["c_9"])


def test_a_number_to_ignore_may_occur_and_is_no_label(tmp_path: Path) -> None:
    dataset = Dataset.load(write_decathlon(tmp_path / "set", document={"labels": {"liver": 1, "ignore": 2}}))
    assert dataset.label_names == {1: "liver"}
    assert dataset.ignore_label == 2
    _, labels = dataset.read(dataset.cases[0])
    assert set(np.unique(labels.array)) == {0, 1, 2}
    facts = fingerprint(dataset)
    assert facts.ignore_label == 2
    assert [label.spec.value for label in facts.labels] == [1]
    # Values of what nobody could tell say nothing about the label.
    inside = np.concatenate([v.array[m.array == 1] for v, m in map(dataset.read, dataset.cases)])
    assert facts.intensities[0].mean == pytest.approx(inside.mean(), rel=1e-5)


def test_regions_of_a_dataset_are_one_output_each(tmp_path: Path) -> None:
    named = {"labels": {"both": [1, 2], "inner": 2}, "regions_class_order": [1, 2]}
    dataset = Dataset.load(write_decathlon(tmp_path / "set", document=named))
    assert [(r.name, r.labels, r.paints) for r in dataset.regions] == [("both", (1, 2), 1), ("inner", (2,), 2)]
    assert dataset.label_names == {1: "both without inner", 2: "inner"}
    facts = fingerprint(dataset)
    assert (facts.regions, facts.outputs) == (dataset.regions, 2)


def test_white_may_be_what_is_to_be_ignored(tmp_path: Path) -> None:
    root = write_pictures(tmp_path / "set", "images/{}.png", "masks/{}.png", (0, 1, 255))
    (root / "dataset.json").write_text(json.dumps({"labels": {"vessel": 1, "ignore": 255}}), "utf-8")
    dataset = Dataset.load(root)
    assert not dataset.white_is_one
    _, labels = dataset.read(dataset.cases[0])
    assert set(np.unique(labels.array)) == {0, 1, 255}
