from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import UID

import service_kit as kit
from segloop.errors import InputError, PrivacyError
from segloop.io import deid

KEY = b"k" * 32


def test_a_copy_holds_no_identity_but_the_same_pixels_and_geometry(tmp_path: Path) -> None:
    sources = kit.study(tmp_path / "in", 3, InstitutionName="Planted Hospital", StationName="STATION7")
    copies = deid.pseudonymise(sources, tmp_path / "out", KEY)
    assert len(copies) == 3
    for source, copy in zip(sources, copies, strict=True):
        content = copy.read_bytes()
        for planted in (*kit.PLANTED, b"Planted Hospital", b"STATION7", b"20260102"):
            assert planted not in content
        before, after = dcmread(source), dcmread(copy)
        assert after.PixelData == before.PixelData
        assert after.ImagePositionPatient == before.ImagePositionPatient
        assert after.PatientIdentityRemoved == "YES"
        assert after.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
        assert after.SOPInstanceUID == after.file_meta.MediaStorageSOPInstanceUID != before.SOPInstanceUID
        assert after.SOPClassUID == before.SOPClassUID
        assert UID(after.StudyInstanceUID).is_valid


def test_pseudonyms_and_uids_are_consistent_and_need_the_key(tmp_path: Path) -> None:
    one, two = kit.study(tmp_path / "in", 2)
    a, b = (dcmread(p) for p in deid.pseudonymise([one, two], tmp_path / "a", KEY))
    c = dcmread(deid.pseudonymise([one], tmp_path / "c", b"x" * 32)[0])
    assert a.PatientID == b.PatientID
    assert (a.StudyInstanceUID, a.SeriesInstanceUID, a.FrameOfReferenceUID) == (
        b.StudyInstanceUID,
        b.SeriesInstanceUID,
        b.FrameOfReferenceUID,
    )
    assert a.SOPInstanceUID != b.SOPInstanceUID
    assert a.PatientID != c.PatientID
    assert a.StudyInstanceUID != c.StudyInstanceUID


def test_sequences_private_groups_and_references_are_cleaned(tmp_path: Path) -> None:
    slice_ = kit.slice_of(1)
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = slice_.SOPClassUID, "1.2.3.4.5"
    reference.PatientName = "Hidden^Name"
    slice_.SourceImageSequence = [reference]
    slice_.RequestAttributesSequence = [reference]
    slice_.private_block(0x0029, "PLANTED", create=True).add_new(1, "LO", "Zyxplanted")
    (copy,) = deid.pseudonymise(kit.write(tmp_path / "in", slice_), tmp_path / "out", KEY)
    dataset = dcmread(copy)
    assert b"Hidden" not in copy.read_bytes()
    assert not [e for e in dataset if e.tag.is_private]
    assert dataset.SourceImageSequence[0].ReferencedSOPInstanceUID == deid.new_uid("1.2.3.4.5", KEY)
    assert "RequestAttributesSequence" not in dataset


def test_a_name_in_free_text_that_the_profile_keeps_is_taken_out(tmp_path: Path) -> None:
    sources = kit.study(tmp_path / "in", 1, SequenceName="tse for quillara")
    (copy,) = deid.pseudonymise(sources, tmp_path / "out", KEY)
    assert dcmread(copy).SequenceName == "tse for"


def test_burned_in_text_is_refused(tmp_path: Path) -> None:
    sources = kit.study(tmp_path / "in", 1, BurnedInAnnotation="YES")
    with pytest.raises(PrivacyError) as caught:
        deid.pseudonymise(sources, tmp_path / "out", KEY)
    assert caught.value.code == "pixels.uncleared"


def test_two_patients_and_a_file_that_is_no_dicom(tmp_path: Path) -> None:
    mixed = kit.write(tmp_path / "in", kit.slice_of(1), kit.slice_of(2, PatientID="ANOTHER"))
    with pytest.raises(InputError) as caught:
        deid.pseudonymise(mixed, tmp_path / "out", KEY)
    assert caught.value.code == "input.two_patients"
    text = tmp_path / "text"
    text.write_text("hello")
    with pytest.raises(InputError):
        deid.pseudonymise([text], tmp_path / "out", KEY)


def test_real_planted_identities_are_gone(tmp_path: Path, shared_data: Callable[[str], Path]) -> None:
    folder = shared_data("deid") / "tcia-pseudo-phi-mr"
    sources = sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix == ".dcm")
    assert sources
    copies = deid.pseudonymise(sources, tmp_path, KEY)
    for copy in copies:
        content = copy.read_bytes().upper()
        for planted in (b"MILLER", b"BEVERLY", b"9894340694", b"WALNUT", b"555-225", b"SMITH", b"WADE", b"597B9256"):
            assert planted not in content
