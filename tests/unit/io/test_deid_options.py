"""What each option of the profile keeps, and what each guard of the de-identification stops."""

from __future__ import annotations

import re
import shutil
import subprocess
import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian

import service_kit as kit
from segloop.errors import InputError, PrivacyError
from segloop.io import deid
from segloop.io.deid import table
from segloop.io.deid.burned import text_boxes
from segloop.io.deid.identity import Identities
from segloop.io.deid.scan import refuse_identity

KEY = b"k" * 32
CT = "1.2.840.10008.5.1.4.1.1.2"


def copy_of(folder: Path, profile: deid.Profile = deid.BASIC, **changes: object) -> Dataset:
    """The copy of one slice with these attributes."""
    shutil.rmtree(folder / "in", ignore_errors=True)
    sources = kit.write(folder / "in", kit.slice_of(1, **changes))
    return dcmread(deid.pseudonymise(sources, folder / "out", KEY, profile)[0])


def test_the_table_is_whole_and_says_its_edition() -> None:
    assert table.edition() == "DICOM PS3.15 2026c"
    assert len(table.attributes()) == 652
    assert sum(deid.Option.MODIFIED_DATES in row.options for row in table.attributes().values()) > 160
    assert len(table.safe_private()) > 400


def test_a_choice_of_actions_follows_from_the_attributes_type_in_the_object() -> None:
    institution, content_date = Tag("InstitutionName"), Tag("ContentDate")
    assert table.rules(frozenset(), CT)[institution] == "X"
    assert table.rules(frozenset(), CT)[content_date] == "Z"
    assert table.rules(frozenset(), "")[institution] == "D"
    assert table.rules(frozenset({deid.Option.INSTITUTION}), CT)[institution] == "K"


def test_cleaning_goes_before_keeping() -> None:
    both = frozenset({deid.Option.DEVICE, deid.Option.MODIFIED_DATES})
    assert table.rules(both, CT)[Tag("CalibrationDate")] == "C"
    assert table.rules(frozenset({deid.Option.DEVICE}), CT)[Tag("CalibrationDate")] == "K"


@pytest.mark.parametrize(
    ("retained", "date", "marker", "code"),
    [((), "", "REMOVED", None), (("dates",), "20260102", "UNMODIFIED", "113106"),
     (("longitudinal",), None, "MODIFIED", "113107")],
)  # fmt: skip
def test_dates_are_removed_retained_or_moved(
    tmp_path: Path, retained: tuple[str, ...], date: str | None, marker: str, code: str | None
) -> None:
    first = copy_of(tmp_path, deid.Profile.of(retained))
    assert first.LongitudinalTemporalInformationModified == marker
    codes = {item.CodeValue for item in first.DeidentificationMethodCodeSequence}
    assert codes == {"113100", code} - {None}
    if date is not None:
        assert first.StudyDate == date
        return
    later = copy_of(tmp_path, deid.Profile.of(retained), StudyDate="20260212", SOPInstanceUID="1.2.3.4.5.6.7.8")
    moved = [np.datetime64(f"{d[:4]}-{d[4:6]}-{d[6:]}") for d in (first.StudyDate, later.StudyDate)]
    assert moved[1] - moved[0] == np.timedelta64(41, "D")
    assert moved[0] < np.datetime64("2026-01-02") - 29
    assert first.StudyTime == "101500"


def test_a_date_that_is_none_becomes_a_dummy(tmp_path: Path) -> None:
    for wrong in ("00970122", "20261399"):
        assert copy_of(tmp_path, deid.Profile.of(["longitudinal"]), StudyDate=wrong).StudyDate == "19000101"


def test_both_ways_to_retain_dates_are_one_too_many() -> None:
    with pytest.raises(InputError) as caught:
        deid.Profile.of(["dates", "longitudinal"])
    assert caught.value.code == "usage"


def test_what_is_retained_is_still_cleared_of_names(tmp_path: Path) -> None:
    told = {"StationName": "ROOM3 QUILLARA", "DeviceSerialNumber": "4711", "PatientSize": "1.7"}
    kept = copy_of(tmp_path, deid.Profile.of(["device", "patient"]), **told)
    assert (kept.StationName, kept.DeviceSerialNumber, kept.PatientSize) == ("ROOM3", "4711", 1.7)
    gone = copy_of(tmp_path, **told)
    assert not {"StationName", "PatientSize"} & set(gone.dir())


def test_descriptors_are_cleaned_or_removed(tmp_path: Path) -> None:
    text = "CT chest abdomen pelvis - 55F Dr. Smith 12.03.2019 quillara zyxplanted"
    assert "StudyDescription" not in copy_of(tmp_path, StudyDescription=text)
    cleaned = copy_of(tmp_path, deid.Profile.of(clean=["descriptors"]), StudyDescription=text)
    assert cleaned.StudyDescription == "CT chest abdomen pelvis"
    endless = copy_of(tmp_path, deid.Profile.of(clean=["descriptors"]), ImageComments="x" * 10_001)
    assert endless.ImageComments == "REMOVED"


@pytest.mark.parametrize("syntax", [None, ImplicitVRLittleEndian])
def test_safe_private_elements_stay_with_their_creator_and_no_other(tmp_path: Path, syntax: str | None) -> None:
    slice_ = kit.slice_of(1)
    block = slice_.private_block(0x0019, "GEMS_ACQU_01", create=True)
    block.add_new(0x23, "DS", "1.5")
    block.add_new(0x24, "LO", "Zyxplanted")
    block.add_new(0x99, "LO", "Something")
    if syntax:
        slice_.file_meta.TransferSyntaxUID = syntax
    sources = kit.write(tmp_path / "in", slice_)
    safe = dcmread(deid.pseudonymise(sources, tmp_path / "a", KEY, deid.Profile.of(["safe-private"]))[0])
    private = [element.tag for element in safe if element.tag.is_private]
    assert private == [0x00190010, 0x00191023, 0x00191024]
    assert safe[0x00191023].value == 1.5
    assert not safe[0x00191024].value
    basic = dcmread(deid.pseudonymise(sources, tmp_path / "b", KEY)[0])
    assert not [element for element in basic if element.tag.is_private]


def test_uids_are_new_below_a_root_unless_they_name_no_instance(tmp_path: Path) -> None:
    told = {"SOPInstanceUIDOfConcatenationSource": "1.2.3.4.5", "InstanceCreatorUID": "1.2.3.4.6"}
    profile = deid.Profile(uid_root="1.2.826.0.1.3680043.10.999")
    copy = copy_of(tmp_path, profile, **told)
    assert copy.SOPInstanceUIDOfConcatenationSource.startswith("1.2.826.0.1.3680043.10.999.")
    assert copy.SOPInstanceUID.startswith("1.2.826.0.1.3680043.10.999.")
    assert max(len(copy[k].value) for k in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")) <= 64
    assert copy.SOPClassUID == kit.slice_of(1).SOPClassUID
    assert copy_of(tmp_path, deid.Profile.of(["uids"])).StudyInstanceUID == kit.STUDY_UID


def test_a_retained_uid_that_is_none_does_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    sources = kit.write(tmp_path / "in", kit.slice_of(1, SeriesInstanceUID="../../elsewhere"))
    (copy,) = deid.deidentify(sources, tmp_path / "out", KEY, deid.Profile.of(["uids"])).written
    assert copy.resolve().is_relative_to((tmp_path / "out").resolve())


def test_a_descriptor_that_is_written_as_bytes_cannot_be_cleaned_and_goes(tmp_path: Path) -> None:
    slice_, tag = kit.slice_of(1), Tag("StudyDescription")
    slice_[tag] = RawDataElement(tag, "OB", 8, b"by Ann K", 0, False, True)
    sources = kit.write(tmp_path / "in", slice_)
    copy = dcmread(deid.pseudonymise(sources, tmp_path / "out", KEY, deid.Profile.of(clean=["descriptors"]))[0])
    assert "StudyDescription" not in copy


def test_what_nobody_knows_goes(tmp_path: Path) -> None:
    slice_ = kit.slice_of(1)
    slice_.add_new(0x00180FF1, "LO", "harmless")
    slice_.add_new(0x50003000, "OB", b"curve\0")
    slice_.add_new(0x60003000, "OW", bytes(8))
    slice_.EvaluatorName, slice_.StudyUpdateDateTime = "Some^One", "20260102"
    copy = dcmread(deid.pseudonymise(kit.write(tmp_path / "in", slice_), tmp_path / "out", KEY)[0])
    assert not {0x00180FF1, 0x50003000, 0x60003000} & {int(element.tag) for element in copy}
    assert not copy.EvaluatorName
    assert not copy.StudyUpdateDateTime


def test_an_encapsulated_document_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PrivacyError) as caught:
        copy_of(tmp_path, EncapsulatedDocument=b"%PDF-1.4")
    assert caught.value.code == "identity.document"
    assert not list((tmp_path / "out").iterdir())


def test_one_uid_with_two_contents_is_refused_and_not_overwritten(tmp_path: Path) -> None:
    first = kit.write(tmp_path / "a", kit.slice_of(1))
    second = kit.write(tmp_path / "b", kit.slice_of(1, InstanceNumber=9))
    result = deid.deidentify([*first, *second], tmp_path / "out", KEY)
    assert [refused.code for refused in result.refused] == ["input.duplicate"]
    assert dcmread(result.written[0]).InstanceNumber == 1


def test_patients_without_a_number_stay_apart(tmp_path: Path) -> None:
    files = [
        kit.write(tmp_path / str(n), kit.slice_of(n, PatientID="", PatientName=name))[0]
        for n, name in enumerate(("One^Person", "Another^Person", "One^Person"))
    ]
    names = [dcmread(path).PatientID for path in deid.deidentify(files, tmp_path / "out", KEY).written]
    assert names[0] == names[2] != names[1]


def test_bytes_behind_the_pixels_are_cut_off(tmp_path: Path) -> None:
    pixels = kit.slice_of(1).PixelData
    copy = copy_of(tmp_path, PixelData=pixels + b"for Quillara")
    assert copy.PixelData == pixels


def test_an_overlay_inside_the_pixels_is_refused(tmp_path: Path) -> None:
    slice_ = kit.slice_of(1)
    slice_.add_new(0x60000102, "US", 15)
    with pytest.raises(PrivacyError) as caught:
        deid.pseudonymise(kit.write(tmp_path / "in", slice_), tmp_path / "out", KEY)
    assert caught.value.code == "pixels.uncleared"


@pytest.mark.parametrize(
    "plant",
    [
        pytest.param(lambda d: setattr(d, "SequenceName", "Zyxplanted"), id="text"),
        pytest.param(lambda d: setattr(d.file_meta, "ImplementationVersionName", "QUILLARA"), id="file meta"),
        pytest.param(lambda d: setattr(d, "preamble", b"quillara".ljust(128, b"\0")), id="preamble"),
        pytest.param(lambda d: d.add_new(0x00091001, "OB", b"..Quillara.."), id="private bytes"),
        pytest.param(lambda d: d.add_new(0x00091001, "OB", "Quillara".encode("utf-16-le")), id="UTF-16"),
        pytest.param(lambda d: setattr(d, "FrameOfReferenceUID", kit.STUDY_UID), id="UID"),
        pytest.param(lambda d: d.add_new(0x00091001, "UN", kit.STUDY_UID.encode()), id="UID in bytes"),
        pytest.param(lambda d: setattr(d, "SequenceName", "b. 29.11.1963"), id="birth date"),
        pytest.param(lambda d: setattr(d, "ScanOptions", "ACC-PLANTED-55"), id="accession number"),
        pytest.param(lambda d: setattr(d, "PixelData", b"\0" * 60 + b"Zyxplanted^Quillara" + b"\0" * 49), id="pixels"),
    ],
)
@pytest.mark.parametrize("syntax", [None, DeflatedExplicitVRLittleEndian])
def test_the_search_after_writing_finds_an_identity_anywhere(
    plant: Callable[[Dataset], object], syntax: str | None
) -> None:
    identities = Identities.of(kit.slice_of(1), frozenset())
    other = kit.slice_of(1, "1.2.3.4", PatientName="", PatientID="", PatientBirthDate="", AccessionNumber="")
    if syntax:
        other.file_meta.TransferSyntaxUID = syntax
    refuse_identity(_bytes(other), identities)
    plant(other)
    with pytest.raises(PrivacyError) as caught:
        refuse_identity(_bytes(other), identities)
    assert caught.value.code == "identity.found"
    assert "uillara" not in str(caught.value).lower()


def test_a_copy_in_which_an_identity_is_found_is_not_kept(tmp_path: Path) -> None:
    palette = b"the palette of ZyxPlanted, made for her"
    with pytest.raises(PrivacyError) as caught:
        copy_of(tmp_path, RedPaletteColorLookupTableData=palette + b"\0")
    assert caught.value.code == "identity.found"
    sources = sorted((tmp_path / "in").iterdir())
    result = deid.deidentify(sources, tmp_path / "out", KEY)
    assert [refused.code for refused in result.refused] == ["identity.found"]
    assert not list((tmp_path / "out").rglob("*"))


def test_no_warning_and_no_log_line_names_anybody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sources = kit.write(tmp_path / "in", kit.slice_of(1, SOPInstanceUID="1.2.quillara"))
    caplog.clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        deid.pseudonymise(sources, tmp_path / "out", KEY)
    said = [*(str(warning.message) for warning in caught), *(record.getMessage() for record in caplog.records)]
    assert not [line for line in said if "quillara" in line]


def test_a_value_that_cannot_be_read_refuses_its_file_only(tmp_path: Path) -> None:
    broken = kit.slice_of(1)
    tag = Tag("NumberOfFrames")
    broken[tag] = RawDataElement(tag, "IS", 8, b"quillara", 0, False, True)
    files = kit.write(tmp_path / "in", broken, kit.slice_of(2))
    result = deid.deidentify(files, tmp_path / "out", KEY)
    assert len(result.written) == 1
    assert [refused.code for refused in result.refused] == ["input.unreadable"]
    assert "quillara" not in result.refused[0].message


def test_a_name_that_is_a_term_of_the_standard_breaks_nothing(tmp_path: Path) -> None:
    copy = copy_of(tmp_path, PatientName="Container^Text", ValueType="TEXT", SequenceName="text")
    assert (copy.ValueType, copy.SequenceName) == ("TEXT", "REMOVED")


def test_a_number_that_is_the_patients_goes_from_numbers_too(tmp_path: Path) -> None:
    copy = copy_of(tmp_path, PatientID="123456", SeriesNumber=123456, InstanceNumber=12345)
    assert (copy.SeriesNumber, copy.InstanceNumber) == (None, 12345)


def test_a_code_in_place_of_a_name_is_looked_for_as_a_whole(tmp_path: Path) -> None:
    copy = copy_of(tmp_path, PatientName="QIN-HEADNECK-01", BodyPartExamined="HEADNECK", SequenceName="qin-headneck-01")
    assert (copy.BodyPartExamined, copy.SequenceName) == ("HEADNECK", "REMOVED")


def test_who_is_imaged_on_the_day_of_birth_can_keep_the_dates(tmp_path: Path) -> None:
    assert copy_of(tmp_path, deid.Profile.of(["dates"]), PatientBirthDate="20260102").StudyDate == "20260102"


def _bytes(dataset: Dataset) -> bytes:
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def test_a_name_is_found_however_it_is_written(tmp_path: Path) -> None:
    name = "Müller-Lüdenscheidt^Änne"
    for text in ("t1 MUELLER", "t1 muller", "t1 LÜDENSCHEIDT", "ＭÜＬＬＥＲ", "t1 ÄNNE"):
        copy = copy_of(tmp_path, PatientName=name, SequenceName=text)
        assert copy.SequenceName in ("t1", "REMOVED"), text
    assert copy_of(tmp_path, PatientName="Li^Ng", SequenceName="lining").SequenceName == "lining"
    assert copy_of(tmp_path, PatientName="Li^Ng", SequenceName="tse li ng").SequenceName == "tse"


def test_burned_in_text_is_found_without_a_flag(tmp_path: Path, shared_data: Callable[[str], Path]) -> None:
    source = shared_data("deid") / "burned-in" / "2_ORIGINAL.dcm"
    with pytest.raises(PrivacyError) as caught:
        deid.pseudonymise([source], tmp_path / "a", KEY)
    assert caught.value.code == "pixels.uncleared"
    (cleaned,) = deid.pseudonymise([source], tmp_path / "b", KEY, deid.Profile.of(pixels="clean"))
    before, after = dcmread(source).pixel_array, dcmread(cleaned)
    assert after.BurnedInAnnotation == "NO"
    assert not text_boxes(after.pixel_array)
    assert (after.pixel_array[:30, :235] == after.pixel_array[0, 0]).all()
    assert (after.pixel_array[80:] == before[80:]).all()


def test_an_image_that_may_have_text_is_refused_unless_it_says_it_has_none(
    tmp_path: Path, shared_data: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without text detection; with it, an image that does not say either way is looked at."""
    monkeypatch.setattr("segloop.io.deid.pixels.reader", lambda: None)
    files = sorted((shared_data("deid") / "burned-in-flag").glob("*.dcm"))
    for pixels in ("refuse", "clean"):
        result = deid.deidentify(files, tmp_path / pixels, KEY, deid.Profile.of(pixels=pixels))
        assert [path.stem for path in files if path not in {r.source for r in result.refused}] == ["burned_in_no"]
        assert {refused.code for refused in result.refused} == {"pixels.uncleared"}


def test_an_ultrasound_image_is_blanked_outside_of_its_own_regions(tmp_path: Path) -> None:
    region = Dataset()
    region.RegionLocationMinX0, region.RegionLocationMinY0 = 1, 2
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = 6, 7
    told = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.6.1", "Modality": "US", "SequenceOfUltrasoundRegions": [region]}
    with pytest.raises(PrivacyError):
        copy_of(tmp_path, **told)
    pixels = copy_of(tmp_path, deid.Profile.of(pixels="clean"), **told).pixel_array
    before = kit.slice_of(1).pixel_array
    assert (pixels[2:8, 1:7] == before[2:8, 1:7]).all()
    assert (np.delete(pixels, slice(1, 7), axis=1) == before.min()).all()
    assert (pixels[:2] == before.min()).all()


def test_pseudonyms_are_equal_within_and_differ_between_patients(
    tmp_path: Path, shared_data: Callable[[str], Path]
) -> None:
    files = sorted((shared_data("deid") / "consistency").glob("*.dcm"))
    copies = [dcmread(path) for path in deid.deidentify(files, tmp_path, KEY).written]
    ids = [copy.PatientID for copy in copies]
    assert ids[0] == ids[1] != ids[2] == ids[3]
    assert copies[0].StudyInstanceUID == copies[1].StudyInstanceUID
    assert len({copy.StudyInstanceUID for copy in copies}) == 3


@pytest.mark.peer
def test_no_new_error_of_dciodvfy(
    tmp_path: Path, shared_data: Callable[[str], Path], require_peer: Callable[[str], Path]
) -> None:
    program = require_peer("dciodvfy")

    def errors(path: Path) -> set[str]:
        run = subprocess.run([program, path], capture_output=True, text=True, check=False)
        lines = (run.stdout + run.stderr).splitlines()
        return {re.sub(r"UID \S+$", "UID", line) for line in lines if line.startswith("Error")}

    folder, results = shared_data("deid"), shared_data("dicom-seg-sr")
    files = [*sorted((folder / "consistency").glob("*.dcm")), folder / "burned-in" / "2_ORIGINAL.dcm"]
    files += [folder / "tcia-pseudo-phi-mr" / "1-01.dcm", *sorted((results / "dcmqi-tid1500").glob("*.dcm"))]
    files += sorted((results / "highdicom").glob("*.dcm"))
    files += [
        shared_data("dicom-zoo") / "multiframe" / "emri_small.dcm",
        shared_data("dicom-zoo") / "non-image" / "test-SR.dcm",
    ]
    options = (["longitudinal", "device"], ["descriptors", "structured-content", "graphics"])
    for profile in (deid.Profile.of(pixels="clean"), deid.Profile.of(*options, "clean")):
        result = deid.deidentify(files, tmp_path / str(len(profile.options)), KEY, profile)
        for source, copy in zip(files, result.written, strict=True):
            assert errors(copy) <= errors(source), source.name


def test_a_short_or_missing_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(b"secret\n")
    for name, code in (("short", "usage"), ("absent", "input.unreadable")):
        with pytest.raises(InputError) as caught:
            deid.read_key(tmp_path / name)
        assert caught.value.code == code
