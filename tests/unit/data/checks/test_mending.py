from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import check_kit as kit
from segloop.data.checks import check, mend, require_room
from segloop.errors import InputError, ServiceError
from segloop.io import files


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return kit.write_mr(tmp_path / "set")


def digest(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_cannot_be_mended_is_copied_and_listed(root: Path, tmp_path: Path) -> None:
    label = kit.get(root, "c03")[1]
    kit.put(root, "c03", None, np.where(label == 4, 9, label).astype(np.uint8))
    (root / "labelsTr" / "c05.nii.gz").unlink()
    (root / "notes.txt").write_text("kept")
    faults = check(root)
    result = mend(root, tmp_path / "out", faults)
    assert [(fault.kind, fault.case) for fault in result.left] == [("unknown_label", "c03")]
    assert [(fault.kind, fault.case) for fault in result.mended] == [("missing_label", "c05")]
    assert result.left_out == ("c05",)
    assert check(tmp_path / "out") == result.left
    before, after = digest(root), digest(tmp_path / "out")
    assert set(before) - set(after) == {"imagesTr/c05.nii.gz"}
    assert {name for name in after if after[name] != before[name]} == {"dataset.json"}


def test_the_copy_shares_no_file_with_the_original(root: Path, tmp_path: Path) -> None:
    mend(root, tmp_path / "out", ())
    with (tmp_path / "out" / "dataset.json").open("a") as stream:
        stream.write(" ")
    assert digest(root) != digest(tmp_path / "out")
    assert (root / "dataset.json").stat().st_nlink == 1


def test_several_faults_of_one_label_map_are_mended_together(root: Path, tmp_path: Path) -> None:
    drawn = files.read_labels(root / "labelsTr" / "c03.nii.gz", {})
    image, _ = kit.get(root, "c03")
    image[0, 0, :2] = np.inf
    kit.put(root, "c03", image, None)
    turned = drawn.reoriented("ARS")
    from segloop.volume import Volume

    files.write(Volume(turned.array.astype(np.float32) * 1.0001, turned.geometry), root / "labelsTr" / "c03.nii.gz")
    faults = check(root)
    assert {fault.kind for fault in faults} == {"mirrored_label", "fractional_label", "not_finite"}
    result = mend(root, tmp_path / "out", faults)
    assert result.left == ()
    written = files.read_labels(tmp_path / "out" / "labelsTr" / "c03.nii.gz", {})
    np.testing.assert_array_equal(written.array, drawn.array)
    assert np.isfinite(files.read(tmp_path / "out" / "imagesTr" / "c03.nii.gz").array).all()


def test_patients_are_named_for_every_case_and_sites_are_kept(root: Path, tmp_path: Path) -> None:
    rows = [f"{case},{'basel' if number % 2 else 'bern'}" for number, case in enumerate(kit.CASES)]
    (root / "groups.csv").write_text("\n".join(["case,site", *rows]))
    (root / "patients.csv").write_text("case,patient\nc00,p1\nc01,p1\nc02,p1\nc03,p1\n")
    faults = check(root)
    assert [fault.kind for fault in faults] == ["patient_in_two_folds"]
    mend(root, tmp_path / "out", faults)
    assert check(tmp_path / "out") == ()
    table = (tmp_path / "out" / "groups.csv").read_text().splitlines()
    assert table[:3] == ["case,patient,site", "c00,p1,bern", "c01,p1,basel"]
    assert len(table) == 13


def test_a_copy_without_any_case_is_not_written(root: Path, tmp_path: Path) -> None:
    shutil.rmtree(root / "labelsTr")
    with pytest.raises(InputError) as caught:
        mend(root, tmp_path / "out", check(root))
    assert caught.value.code == "input.empty"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", [".", "out", "..", "imagesTr"])
def test_the_copy_may_not_lie_in_the_dataset_nor_the_other_way_round(root: Path, place: str) -> None:
    with pytest.raises(InputError) as caught:
        require_room(root, root / place)
    assert caught.value.code == "usage"


def test_a_folder_that_holds_something_is_left_alone(root: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("mine")
    with pytest.raises(InputError, match="holds something"):
        mend(root, tmp_path / "out", ())
    assert (tmp_path / "out" / "precious").read_text() == "mine"


def test_a_place_that_is_no_folder_is_refused(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is no folder"):
        require_room(root, tmp_path / "file" / "out")


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A small disk of its own; the test is skipped where none may be mounted."""
    folder.mkdir()
    if shutil.which("mount") is None or not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=False).returncode:
        pytest.skip("this machine does not let tests mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.chaos
def test_a_disk_that_is_too_small_is_refused_before_anything_is_written(root: Path, tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=64k") as disk:
        with pytest.raises(ServiceError) as caught:
            mend(root, disk / "out", ())
        assert caught.value.code == "disk.full"
        assert caught.value.found < caught.value.expected
        assert not list(disk.iterdir())


@pytest.mark.chaos
def test_a_disk_that_fills_up_meanwhile_leaves_nothing_behind(root: Path, tmp_path: Path) -> None:
    def fill(done: int, total: int) -> None:
        if done == 3:
            with contextlib.suppress(OSError), (disk / "ballast").open("wb", buffering=0) as stream:
                while stream.write(b"\0" * 4096):
                    pass

    with mounted(tmp_path / "disk", "size=4m") as disk:
        with pytest.raises(ServiceError) as caught:
            mend(root, disk / "out", (), progress=fill)
        assert caught.value.code == "disk.full"
        assert [path.name for path in disk.iterdir()] == ["ballast"]


@pytest.mark.chaos
def test_a_read_only_disk_is_refused_and_can_be_checked(root: Path, tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=8m") as disk:
        shutil.copytree(root, disk / "set")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        assert check(disk / "set") == ()
        with pytest.raises(InputError, match="read-only"):
            require_room(root, disk / "out")
