"""Values on the command line."""

from __future__ import annotations

import argparse

import pytest

from segloop.cli import values


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("15m", 900), ("1.5h", 5400), ("20", 20), ("2min", 120)])
def test_durations(text, seconds):
    assert values.duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "-5m", "0s", "5 days", "1e3"])
def test_bad_durations(text):
    with pytest.raises(argparse.ArgumentTypeError):
        values.duration_s(text)


@pytest.mark.parametrize(
    ("text", "size"), [("8GiB", 8 * 2**30), ("500MB", 500 * 10**6), ("10", 10), ("1.5g", 15 * 10**8)]
)
def test_sizes(text, size):
    assert values.size_bytes(text) == size


def test_bad_size():
    with pytest.raises(argparse.ArgumentTypeError):
        values.size_bytes("lots")


@pytest.mark.parametrize("text", ["0", "-3", "", "1.5", "x"])
def test_no_number_of_things(text):
    with pytest.raises(argparse.ArgumentTypeError, match="at least 1"):
        values.count(text)
    assert values.count("12") == 12


def test_outputs_that_cannot_be_are_refused_before_the_work(tmp_path):
    file = tmp_path / "file"
    file.touch()
    assert values.output_folder(str(tmp_path / "a" / "b")) == tmp_path / "a" / "b"
    assert values.output_file(str(file)) == file
    for bad in (file, file / "below"):
        with pytest.raises(argparse.ArgumentTypeError, match="is a file"):
            values.output_folder(str(bad))
    with pytest.raises(argparse.ArgumentTypeError, match="is a file"):
        values.output_file(str(file / "below"))
    with pytest.raises(argparse.ArgumentTypeError, match="is a folder"):
        values.output_file(str(tmp_path))


def test_settings_are_json_or_text():
    assert values.setting("training.epochs=5") == ("training.epochs", 5)
    assert values.setting("name=liver=v2") == ("name", "liver=v2")
    assert values.setting("training.patch=[1,2,3]") == ("training.patch", [1, 2, 3])
    with pytest.raises(argparse.ArgumentTypeError):
        values.setting("training.epochs")


def test_folds_and_peers():
    assert values.fold("all") is None
    assert values.fold("3") == 3
    assert values.peer("ORTHANC@127.0.0.1:4242") == ("ORTHANC", "127.0.0.1", 4242)
    assert values.peer("A@[::1]:104") == ("A", "::1", 104)
    for text in ("ORTHANC", "A@h", "A@h:0", "A@h:70000", "A" * 17 + "@h:1"):
        with pytest.raises(argparse.ArgumentTypeError):
            values.peer(text)


def test_receivers_are_peers_or_addresses():
    assert values.receiver("A@h:104") == ("A", "h", 104)
    assert values.receiver("https://pacs.example/dicom-web") == "https://pacs.example/dicom-web"
    for text in ("https://", "https://me:secret@pacs.example", "https://pacs.example/?a=1", "ftp://pacs.example"):
        with pytest.raises(argparse.ArgumentTypeError):
            values.receiver(text)
