"""Files to a peer or to a web server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from segloop.cli.main import main
from segloop.cli.verbs import send


def test_images_do_not_cross_a_network_in_the_clear(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.dcm"
    file.write_bytes(b"x")
    assert main(["send", str(file), "--to", "http://pacs.example/dicom-web", "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["code"], error["found"]) == ("usage", "http://pacs.example/dicom-web")


def test_a_request_is_only_so_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(send, "_REQUEST_BYTES", 10)
    files = []
    for number, size in enumerate((4, 6, 1, 20, 3, 3)):
        files.append(tmp_path / str(number))
        files[-1].write_bytes(bytes(size))
    parts = list(send._parts(files))
    assert [len(part) for part in parts] == [2, 1, 1, 2]
    assert [file for part in parts for file in part] == files


def test_a_folder_without_dicom_is_said_to_be_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text("x")
    assert main(["send", str(tmp_path), "--to", "A@127.0.0.1:104", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "input.empty"
