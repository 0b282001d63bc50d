"""`segloop deidentify`: what it writes, what it refuses, and the exit status."""

from __future__ import annotations

import json
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread, dcmwrite
from pydicom.fileset import FileSet

import service_kit as kit
from segloop.cli import main


def arguments(folder: Path, *more: str) -> list[str]:
    (folder / "key").write_bytes(b"k" * 32)
    return ["deidentify", str(folder / "in"), "-o", str(folder / "out"), "--key-file", str(folder / "key"), *more]


def test_copies_lie_by_pseudonym_and_series_and_name_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kit.study(tmp_path / "in", 2)
    assert main(arguments(tmp_path, "--retain", "longitudinal", "device", "--clean", "descriptors", "--json")) == 0
    written = [Path(path) for path in json.loads(capsys.readouterr().out)["written"]]
    assert len(written) == 2
    for path in written:
        copy = dcmread(path)
        inside = path.relative_to(tmp_path / "out").parts
        assert inside == (copy.PatientID, copy.SeriesInstanceUID, f"{copy.SOPInstanceUID}.dcm")
        assert not any(planted in path.read_bytes() for planted in kit.PLANTED)


def test_one_file_that_cannot_be_cleared_does_not_stop_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kit.write(tmp_path / "in", kit.slice_of(1), kit.slice_of(2, BurnedInAnnotation="YES"))
    assert main(arguments(tmp_path, "--json")) == 5
    document = json.loads(capsys.readouterr().out)
    assert len(document["written"]) == 1
    assert [refused["code"] for refused in document["refused"]] == ["pixels.uncleared"]
    assert document["error"]["code"] == "pixels.uncleared"
    assert len(list((tmp_path / "out").rglob("*.*cm"))) == 1


@pytest.mark.parametrize(
    "more",
    [
        ("--retain", "dates", "longitudinal"),
        ("--retain", "dates", "--retain", "longitudinal"),
        ("--uid-root", "abc"),
        ("--retain", "all"),
    ],
)
def test_wrong_usage(tmp_path: Path, more: tuple[str, ...]) -> None:
    kit.study(tmp_path / "in", 1)
    assert main(arguments(tmp_path, *more)) == 2
    assert not (tmp_path / "out").exists()


def test_copies_among_the_originals_are_refused(tmp_path: Path) -> None:
    kit.study(tmp_path / "in", 1)
    line = arguments(tmp_path)
    line[3] = str(tmp_path / "in" / "copies")
    assert main(line) == 2


def test_a_broken_file_is_named_and_the_verb_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kit.study(tmp_path / "in", 1)
    (tmp_path / "in" / "broken.dcm").write_bytes(bytes(128) + b"DICM" + b"\xff" * 20)
    assert main(arguments(tmp_path)) == 2
    assert "1 of 2 files written" in capsys.readouterr().out


def test_a_repeated_option_adds_to_what_was_said_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kit.study(tmp_path / "in", 1)
    more = ("--retain", "longitudinal", "--retain", "device", "--clean", "descriptors", "--clean", "graphics")
    assert main(arguments(tmp_path, *more, "--json")) == 0
    (path,) = json.loads(capsys.readouterr().out)["written"]
    copy = dcmread(path)
    codes = [item.CodeValue for item in copy.DeidentificationMethodCodeSequence]
    assert codes == ["113100", "113103", "113105", "113107", "113109"]


def test_a_disc_and_an_archive_are_taken_as_they_come(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slices = [kit.slice_of(n) for n in (1, 2)]
    disc = FileSet()
    for each in slices:
        disc.add(each)
    disc.write(tmp_path / "in")
    bare = BytesIO()
    dcmwrite(bare, kit.slice_of(3), enforce_file_format=True)
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for path in (tmp_path / "in").rglob("*"):
            archive.write(path, path.relative_to(tmp_path))
        archive.writestr("in/readme.txt", "no DICOM")
    for name in ("in", "in/DICOMDIR", "in.zip"):
        line = arguments(tmp_path, "--json")
        line[1], line[3] = str(tmp_path / name), str(tmp_path / f"out-{Path(name).suffix}-{Path(name).stem}")
        assert main(line) == 0
        assert len(json.loads(capsys.readouterr().out)["written"]) == 2
    (tmp_path / "in" / "bare").write_bytes(bare.getvalue()[132:])
    assert main(arguments(tmp_path, "--json")) == 2
    document = json.loads(capsys.readouterr().out)
    assert (len(document["written"]), len(document["refused"])) == (2, 1)
