"""`segloop deidentify`: what it writes, what it refuses, and the exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydicom import dcmread

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


@pytest.mark.parametrize("more", [("--retain", "dates", "longitudinal"), ("--uid-root", "abc"), ("--retain", "all")])
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
