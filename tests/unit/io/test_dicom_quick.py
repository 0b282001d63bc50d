"""The quick way finds what pydicom finds, or leaves the file to pydicom."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from segloop.errors import InputError
from segloop.io import dicom
from segloop.io.dicom.header import TAGS, quiet, read_header
from segloop.io.dicom.native import native_of
from segloop.io.dicom.quick import quick_header

WANTED = frozenset(pydicom.datadict.tag_for_keyword(keyword) for keyword in TAGS)


def require_same(path) -> bool:
    """Both ways to one header agree; False when the quick one left it."""
    with path.open("rb") as stream, quiet():
        quick = quick_header(stream, WANTED)
        if quick is None:
            return False
        stream.seek(0)
        slow = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=TAGS)
        assert stream.tell() == quick[1]
        assert list(map(str, slow)) == list(map(str, quick[0]))
        assert str(slow.file_meta) == str(quick[0].file_meta)
    return True


@pytest.mark.parametrize(
    "folder",
    ["dicom-zoo", "dicom-geometry", "dicom-seg-sr", "deid", "brain-mr-dicom/Study1", "lung-ct/PAT1/dicom"],
)
def test_real_headers(shared_data, folder):
    files = [p for p in sorted(shared_data(folder).rglob("*")) if p.is_file()][:150]
    taken = [require_same(p) for p in files if p.read_bytes()[128:132] == b"DICM"]
    assert sum(taken) >= 0.5 * len(taken)


def nested(depth: int) -> Dataset:
    item = Dataset()
    item.SeriesDescription = "inner, which is not the series' own"
    item.add_new(0x00091001, "UN", b"private")
    if depth:
        item.ReferencedSeriesSequence = [nested(depth - 1), Dataset()]
        item["ReferencedSeriesSequence"].is_undefined_length = True
        item.is_undefined_length_sequence_item = depth % 2 == 0
    return item


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("padding", [0, 16000, 200_000])
def test_sequences_long_headers_and_any_script(make_series, syntax, padding):
    folder = make_series(places=(0,), SpecificCharacterSet="GB18030", PatientName="Zhang^XiaoDong=张^小东")
    path = folder / "000.dcm"
    dataset = pydicom.dcmread(path)
    dataset.ReferencedStudySequence = [nested(3)]
    dataset["ReferencedStudySequence"].is_undefined_length = True
    dataset.add_new(0x00291010, "OB", bytes(padding))
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = np.zeros(30, np.uint16).tobytes()
    big = syntax == ExplicitVRBigEndian
    pydicom.dcmwrite(path, dataset, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=not big)
    assert require_same(path) is not big
    (series,) = dicom.scan(path)
    assert series.patient.name == "Zhang^XiaoDong=张^小东"
    assert series.description == "thorax"


def test_a_header_cut_anywhere_is_no_shorter_header(make_series):
    path = make_series(places=(0,)) / "000.dcm"
    content = path.read_bytes()
    with path.open("rb") as stream:
        _, end = quick_header(stream, WANTED)
    for kept in range(132, end, 5):
        path.write_bytes(content[:kept])
        try:
            # Where a cut falls between two elements the shorter header is well formed.
            assert require_same(path) in (True, False)
        except (EOFError, pydicom.errors.InvalidDicomError):
            pytest.fail("the quick way took what pydicom refuses")


@pytest.mark.parametrize(
    ("changes", "is_native"),
    [
        ({}, True),
        ({"PhotometricInterpretation": "MONOCHROME1"}, True),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, False),
        ({"BitsStored": 13, "HighBit": 11}, False),
        ({"RescaleSlope": None, "RescaleIntercept": None}, True),
        ({"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31, "PixelData": bytes(120)}, False),
        ({"NumberOfFrames": 2, "PixelData": bytes(120)}, False),
    ],
)
def test_only_plain_pixels_are_read_in_place(make_series, changes, is_native):
    header = read_header(make_series(places=(0,), **changes) / "000.dcm")
    assert (native_of(header) is not None) == is_native


def test_a_file_that_shrinks_between_scan_and_reading_is_refused(make_series):
    folder = make_series()
    (series,) = dicom.scan(folder)
    path = folder / "002.dcm"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match=r"002\.dcm") as caught:
        dicom.read_series(series)
    assert caught.value.code == "input.unreadable"
