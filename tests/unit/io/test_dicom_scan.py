"""What a scan finds, names and refuses."""

from __future__ import annotations

import shutil
import zipfile

import numpy as np
import pydicom
import pytest
from pydicom.uid import EncapsulatedPDFStorage, SegmentationStorage, generate_uid

from segloop.errors import InputError
from segloop.io import dicom


def codes(series) -> list[str]:
    return [fault.code for fault in series.faults]


def only(source):
    (series,) = dicom.scan(source)
    return series


def test_a_series_and_its_volume(make_series):
    series = only(make_series(places=(6, 0, 4, 2)))
    assert series.faults == ()
    assert series.geometry.spacing_mm == pytest.approx((2, 0.8, 0.7))
    assert series.geometry.origin_mm == (-10, -20, 0)
    assert (series.series_uid, series.study_uid, series.modality) == ("1.2.3.4", "1.2.3", "CT")
    assert series.linkable
    assert "P1" not in repr(series)
    assert "Doe" not in repr(series)
    assert "Doe" not in series.title
    volume = dicom.read_series(series)
    assert volume.array.dtype == np.int16
    assert volume.modality == "CT"
    # Stored values are the files' numbers; the file at z = 0 is number 1.
    assert volume.array[:, 0, 0].tolist() == [1 - 1024, 3 - 1024, 2 - 1024, -1024]
    assert series.header().PatientName == "Doe^Jane"
    assert "PixelData" not in series.header()


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 192", "Wang^XiaoDong=王^小东"),
        ("GB18030", "Zhang^XiaoDong=张^小东"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
    ],
)
def test_names_in_any_script(make_series, charset, name):
    series = only(make_series(SpecificCharacterSet=charset, PatientName=name, StudyDescription="Head"))
    assert series.patient.name == name
    assert series.study.description == "Head"


def test_names_of_files_mean_nothing(make_series, tmp_path):
    folder = make_series()
    (folder / "000.dcm").rename(folder / "患者 扫描")
    (folder / "readme.txt").write_text("no image")
    (folder / ".hidden").write_bytes(b"x")
    assert only(tmp_path).geometry.shape == (4, 6, 5)


def test_zip_is_scanned_and_cleaned_up(make_series, tmp_path):
    folder = make_series("一号")
    archive = shutil.make_archive(str(tmp_path / "study"), "zip", folder)
    series = only(tmp_path / "study.zip")
    assert dicom.read_series(series).array.shape == (4, 6, 5)
    with dicom.opened(tmp_path / "study.zip") as files:
        root = files.root
        assert len(dicom.scan_files(files)[0].files) == 4
    assert not root.exists()
    damaged = tmp_path / "damaged.zip"
    damaged.write_bytes(bytes((tmp_path / "study.zip").read_bytes()[:-200]))
    with pytest.raises(InputError, match=r"damaged\.zip"):
        dicom.scan(damaged)
    assert archive


@pytest.mark.parametrize("name", ["../evil.dcm", "/evil.dcm", "a/../../evil.dcm", "..\\evil.dcm"])
def test_a_zip_cannot_write_outside_itself(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(InputError, match="outside itself"):
        dicom.scan(tmp_path / "a.zip")


def test_opened_takes_only_the_files_asked_for(make_series):
    folder = make_series()
    with dicom.opened(folder, ("000.dcm", "001.dcm")) as files:
        assert [p.name for p in files.paths] == ["000.dcm", "001.dcm"]
    with pytest.raises(InputError, match="lacks 1 of the 2"), dicom.opened(folder, ("000.dcm", "x.dcm")):
        pass


def test_nothing_there(tmp_path):
    with pytest.raises(InputError) as caught:
        dicom.scan(tmp_path)
    assert caught.value.code == "input.empty"
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(InputError) as caught:
        dicom.scan(tmp_path)
    assert caught.value.code == "input.empty"
    with pytest.raises(InputError, match="no such file"):
        dicom.scan(tmp_path / "absent")


def test_two_patients(make_series, tmp_path):
    make_series("a")
    make_series("b", PatientID="P2", StudyInstanceUID="1.9", SeriesInstanceUID="1.9.1")
    with pytest.raises(InputError) as caught:
        dicom.scan(tmp_path)
    assert caught.value.code == "input.two_patients"
    assert "Doe" not in str(caught.value)
    assert "P2" not in str(caught.value)


def test_one_study_under_two_names(make_series, tmp_path):
    make_series("a")
    make_series("b", PatientName="Smith^Jane", SeriesInstanceUID="1.2.3.9")
    with pytest.raises(InputError) as caught:
        dicom.scan(tmp_path)
    assert caught.value.code == "input.two_patients"
    assert "Smith" not in str(caught.value)


def test_spelling_variants_are_one_patient(make_series, tmp_path):
    make_series("a")
    make_series("b", PatientName="DOE^JANE^^", SeriesInstanceUID="1.2.3.9", IssuerOfPatientID="HOSPITAL")
    assert len(dicom.scan(tmp_path)) == 2


@pytest.mark.parametrize("cut", [1, 59, 100, 800])
def test_a_truncated_slice_spoils_its_series_and_is_named(make_series, cut):
    folder = make_series()
    victim = folder / "002.dcm"
    victim.write_bytes(victim.read_bytes()[:-cut])
    with pytest.raises(InputError, match=r"002\.dcm") as caught:
        dicom.read_series(only(folder))
    assert caught.value.code == "input.unreadable"


def test_a_last_slice_cut_anywhere_never_goes_unnoticed(make_series):
    folder = make_series()
    victim = folder / "003.dcm"
    content = victim.read_bytes()
    for kept in range(0, len(content), 3):
        victim.write_bytes(content[:kept])
        assert all(series.faults for series in dicom.scan(folder) if series.is_image), kept


def test_an_empty_file_beside_a_series_may_be_its_slice(make_series):
    folder = make_series()
    (folder / "003.dcm").write_bytes(b"")
    assert codes(only(folder)) == ["input.unreadable"]


def test_a_copy_counts_once_and_a_changed_copy_is_a_fault(make_series):
    folder = make_series()
    shutil.copy(folder / "000.dcm", folder / "copy.dcm")
    assert only(folder).geometry.shape[0] == 4
    dataset = pydicom.dcmread(folder / "000.dcm")
    dataset.PixelData = b"\1" * len(dataset.PixelData)
    dataset.save_as(folder / "copy.dcm")
    assert codes(only(folder)) == ["input.duplicate"]


def test_what_is_no_image_is_said(make_series, tmp_path):
    make_series("a")
    other = {"SOPClassUID": SegmentationStorage, "SeriesInstanceUID": "1.2.3.8", "Modality": "SEG"}
    make_series("seg", places=(0,), **other)
    images, refused = sorted(dicom.scan(tmp_path), key=lambda s: not s.is_image)
    assert images.modality == "CT"
    assert codes(refused) == ["input.not_an_image"]
    with pytest.raises(InputError) as caught:
        dicom.scan(tmp_path / "seg")
    assert caught.value.code == "input.not_an_image"


def test_our_own_results_are_known(make_series):
    pdf = {"SOPClassUID": EncapsulatedPDFStorage, "Manufacturer": "segloop", "SeriesInstanceUID": "1.7"}
    with pytest.raises(InputError, match="result of segloop") as caught:
        dicom.scan(make_series(places=(0,), **pdf))
    assert caught.value.code == "input.not_an_image"


def test_series_without_uids_reads_but_cannot_be_linked(make_series):
    folder = make_series(SeriesInstanceUID="", StudyInstanceUID="", PatientID="")
    series = only(folder)
    assert dicom.read_series(series).array.shape == (4, 6, 5)
    assert not series.linkable
    with pytest.raises(InputError) as caught:
        series.require_linkable()
    assert caught.value.code == "input.unlinkable"


def test_digest_follows_every_byte(make_series):
    folder = make_series()
    before = dicom.digest(only(folder))
    assert before == dicom.digest(only(folder))
    (folder / "003.dcm").unlink()
    after = dicom.digest(only(folder))
    assert after != before
    assert len(dicom.digests(only(folder))) == 3


def test_varying_slopes_give_floats(make_series):
    folder = make_series(places=(0, 2))
    dataset = pydicom.dcmread(folder / "001.dcm")
    dataset.RescaleSlope, dataset.RescaleIntercept = 0.5, 3
    dataset.save_as(folder / "001.dcm")
    volume = dicom.read_series(only(folder))
    assert volume.array.dtype == np.float32
    assert volume.array[:, 0, 0].tolist() == [-1024, 3.5]


def test_wide_values_give_int32(make_series):
    stored = np.full((6, 5), 65535, np.uint16).tobytes()
    volume = dicom.read_series(only(make_series(BitsStored=16, HighBit=15, PixelData=stored)))
    assert volume.array.dtype == np.int32
    assert volume.array.max() == 65535 - 1024


def test_monochrome1_and_single_slices_are_noted(make_series):
    series = only(make_series(places=(0,), PhotometricInterpretation="MONOCHROME1"))
    assert any("MONOCHROME1" in note for note in series.notes)
    assert any("single slice" in note for note in series.notes)
    assert series.geometry.spacing_mm[0] == 9


def test_colour_has_three_channels(make_series):
    colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0, "BitsAllocated": 8}
    pixels = np.arange(90, dtype=np.uint8)
    series = only(make_series(places=(0, 1), **colour, BitsStored=8, HighBit=7, PixelData=pixels.tobytes()))
    assert series.channels == 3
    assert (dicom.read_series(series).array[1].ravel() == pixels).all()


def test_odd_values_are_not_printed(make_series, capfd, recwarn):
    odd = {"StudyDescription": "x" * 90, "AccessionNumber": "SECRET" * 9, "PatientBirthDate": "SECRET"}
    dicom.read_series(only(make_series(SOPInstanceUID=generate_uid() + ".0SECRET", places=(0,), **odd)))
    out, err = capfd.readouterr()
    assert "SECRET" not in out + err + "".join(str(w.message) for w in recwarn.list if w.filename.startswith("src"))


def test_images_of_two_patient_spaces_are_never_stacked(make_series):
    folder = make_series()
    moved = pydicom.dcmread(folder / "002.dcm")
    for space, faults in (("1.2.3.4", ["geometry.frame_of_reference"]), ("", [])):
        moved.FrameOfReferenceUID = space
        moved.save_as(folder / "002.dcm")
        assert [fault.code for fault in only(folder).faults] == faults


@pytest.mark.parametrize(
    ("rescale", "code"),
    [((0, 0), "input.unreadable"), (("nan", 0), "input.unreadable"), ((1, "inf"), "input.unreadable")],
)
def test_a_rescale_that_leaves_no_image_is_refused(make_series, rescale, code):
    folder = make_series()
    dataset = pydicom.dcmread(folder / "001.dcm")
    dataset.PixelData = b"\1\0" * (len(dataset.PixelData) // 2)
    for keyword, value in zip(("RescaleSlope", "RescaleIntercept"), rescale, strict=True):
        dataset[keyword]._value = value
    dataset.save_as(folder / "001.dcm")
    with pytest.raises(InputError) as caught:
        dicom.read_series(only(folder))
    assert caught.value.code == code
    assert "rescale" in str(caught.value)


def test_an_empty_slice_may_have_any_factor(make_series):
    zeros = bytes(60)
    volume = dicom.read_series(only(make_series(RescaleSlope=0, RescaleIntercept=0, PixelData=zeros)))
    assert not volume.array.any()


def test_an_image_that_does_not_say_how_many_bits_it_uses_is_no_black_one(make_series):
    folder = make_series(places=(0,))
    dataset = pydicom.dcmread(folder / "000.dcm")
    del dataset.BitsStored
    dataset.save_as(folder / "000.dcm")
    with pytest.raises(InputError) as caught:
        dicom.read_series(only(folder))
    assert caught.value.code == "input.unreadable"
