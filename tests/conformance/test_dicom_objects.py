"""Every DICOM object that segloop writes, before the validators and readers of others."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest

from results import CREATED, MODEL, SPECS, Made, mask_for, write_all, write_series
from segloop.io.dicom import SeriesRef, read_series, scan
from segloop.io.dicom.own import is_own_object
from segloop.io.rois import read_segmentation
from segloop.report import verify_against_source, verify_content, write_seg
from segloop.report.findings import collect
from segloop.volume import Labels

Peer = Callable[[str], Path]
OBJECTS = ("seg.dcm", "sr.dcm", "report.dcm", "capture.dcm")
C, S = float(np.cos(0.4)), float(np.sin(0.4))
GRIDS = {
    "axial": ((0, 0, 1), (0, 1, 0), (1, 0, 0)),
    "axial, feet first": ((0, 0, -1), (0, 1, 0), (-1, 0, 0)),
    "sagittal": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
    "coronal": ((0, 1, 0), (0, 0, -1), (1, 0, 0)),
    "oblique": ((0, -S, C), (0, C, S), (1, 0, 0)),
    "doubly oblique": ((S * S, -S * C, C), (C, S, 0), (-S * C, C * C, S)),
}
SOURCES = ("brain-mr-dicom/Study1/13_HCropVolume", "sarcoma-ct/STS_019/dicom", "lung-ct/PAT2/dicom")
SOURCES += ("dicom-geometry/hitachi-oblique/dicom", "dicom-geometry/generic-sagittal/dicom")
SOURCES += ("dicom-geometry/philips-enhanced-multiframe/dicom", "brain-mr-dicom/Study3/11_HCropVolume")
FLAT = tuple(
    f"dicom-zoo/{n}.dcm" for n in ("pixels/CR-MONO1-10-chest", "pixels/US-color-px", "non-image/UnknownSopClassUid")
)
CHARSETS = {
    "chinese GB18030": ("GB18030", "Wang^XiaoDong=王^小东"),
    "chinese GBK": ("GBK", "王^小东"),
    "japanese": (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    "japanese half width": (["ISO 2022 IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
    "korean": (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
    "latin 1": ("ISO_IR 100", "Müller^Zoë"),
    "utf-8": ("ISO_IR 192", "Wang^XiaoDong=王^小东"),
}


@pytest.fixture(scope="session")
def results_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Made]:
    """The results of a source folder, made once."""
    done: dict[Path, Made] = {}

    def make(folder: Path) -> Made:
        if folder not in done:
            done[folder] = write_all(scan(folder)[0], tmp_path_factory.mktemp("results"))
        return done[folder]

    return make


def _lines(command: list[str | Path], word: str = "Error") -> list[str]:
    done = subprocess.run(command, check=False, capture_output=True, timeout=900)
    text = (done.stdout + done.stderr).decode(errors="replace")
    assert text.strip() or done.returncode == 0, f"{command[0]} said nothing and ended with {done.returncode}"
    return [line for line in text.splitlines() if word in line]


def _dciodvfy(tool: Path, made: Made) -> list[str]:
    return [f"{path.name}: {line}" for path in made.objects for line in _lines([tool, "-new", path])]


def _validate_sr(java: Path, path: Path) -> list[str]:
    jars = sorted(Path("/usr/share/java").glob("*.jar"))
    limits = [f"-Djdk.xml.xpath{name}OpLimit=0" for name in ("Expr", "Total")] + ["-Djdk.xml.xpathExprGrpLimit=0"]
    classes = os.pathsep.join(map(str, sorted(jars, key=lambda jar: "pixelmed" not in jar.name)))
    command = [java, "-cp", classes, *limits, "com.pixelmed.validate.DicomSRValidator", path]
    assert _lines([*command], "Root Template Validation Complete")
    return _lines([*command])


@pytest.mark.peer
@pytest.mark.parametrize("source", SOURCES)
def test_validators_find_no_error_on_real_studies(
    source: str, shared_data: Callable[[str], Path], require_peer: Peer, results_of: Callable[[Path], Made]
) -> None:
    dciodvfy, dcentvfy = require_peer("dciodvfy"), require_peer("dcentvfy")
    folder = shared_data(source)
    made = results_of(folder)
    assert _dciodvfy(dciodvfy, made) == []
    assert _lines([dcentvfy, *[i.path for i in made.series.files], *made.objects]) == []
    verify_against_source(made.objects, made.series)
    verify_content(made.objects, made.labels, made.series, made.findings)


@pytest.mark.peer
@pytest.mark.long
@pytest.mark.timeout(1000)
@pytest.mark.parametrize("kind", ["found", "empty", "part"])
def test_the_report_follows_its_template(tmp_path: Path, require_peer: Peer, kind: str) -> None:
    java = require_peer("java")
    require_peer("/usr/share/java/pixelmed.jar")
    series = write_series(tmp_path / "source")
    full = mask_for(read_series(series))
    array = {"found": full.array, "empty": full.array * 0, "part": np.where(full.array == 2, 0, full.array)}[kind]
    made = write_all(series, tmp_path / "out", Labels(array, full.geometry, full.names))
    assert _dciodvfy(require_peer("dciodvfy"), made) == []
    assert _validate_sr(java, made.folder / "sr.dcm") == []
    verify_against_source(made.objects, made.series)
    verify_content(made.objects, made.labels, made.series, made.findings)


@pytest.mark.parametrize("source", FLAT)
def test_an_image_without_a_place_or_with_a_class_of_its_own_gets_its_results(
    source: str, tmp_path: Path, shared_data: Callable[[str], Path]
) -> None:
    """A projection, an ultrasound of a retired class, and a picture of a private one."""
    (series,) = scan(shared_data(source))
    volume = read_series(series)
    array = np.zeros(volume.geometry.shape, np.uint8)
    array[0, 5:12, 4:9], array[0, 14:18, 3:8] = 1, 4
    made = write_all(series, tmp_path, Labels(array, volume.geometry, {}))
    verify_against_source(made.objects, series)
    verify_content(made.objects, made.labels, series, made.findings)
    np.testing.assert_array_equal(np.array([0, 1, 4])[read_segmentation(tmp_path / "seg.dcm", series).array], array)
    classes: set[str] = set()
    for name in ("seg.dcm", "sr.dcm"):
        pydicom.dcmread(tmp_path / name).walk(
            lambda _, e: classes.add(str(e.value)) if e.keyword == "ReferencedSOPClassUID" else None
        )
    assert series.files[0].sop_class_uid in classes


@pytest.mark.peer
@pytest.mark.parametrize("body_part", ["CHEST", "BREAST", ""])
def test_validators_find_no_error_about_a_projection(
    body_part: str, tmp_path: Path, shared_data: Callable[[str], Path], require_peer: Peer
) -> None:
    dataset = pydicom.dcmread(shared_data(FLAT[0]))
    dataset.BodyPartExamined = body_part
    dataset.save_as(tmp_path / "image.dcm")
    (series,) = scan(tmp_path / "image.dcm")
    made = write_all(series, tmp_path / "out")
    assert _dciodvfy(require_peer("dciodvfy"), made) == []


@pytest.mark.peer
@pytest.mark.parametrize("missing", ["patient", "equipment", "frame of reference", "study"])
def test_validators_find_no_error_when_the_source_lacks_attributes(
    tmp_path: Path, require_peer: Peer, missing: str
) -> None:
    removed = {
        "patient": ("PatientName", "PatientBirthDate", "PatientSex", "IssuerOfPatientID"),
        "equipment": ("Manufacturer", "SeriesNumber", "SeriesDescription", "ImageType", "SliceThickness"),
        "frame of reference": ("FrameOfReferenceUID",),
        "study": ("StudyDate", "StudyTime", "AccessionNumber", "StudyID", "ReferringPhysicianName"),
    }[missing]
    made = write_all(write_series(tmp_path / "s", changes=dict.fromkeys(removed)), tmp_path / "out")
    assert _dciodvfy(require_peer("dciodvfy"), made) == []
    verify_against_source(made.objects, made.series)
    verify_content(made.objects, made.labels, made.series, made.findings)


@pytest.mark.peer
@pytest.mark.parametrize("reverse", [False, True], ids=["ascending", "descending"])
@pytest.mark.parametrize("grid", GRIDS)
def test_another_reader_finds_the_mask_in_the_same_place(
    tmp_path: Path, require_peer: Peer, grid: str, reverse: bool
) -> None:
    series = write_series(tmp_path / "source", directions=GRIDS[grid], reverse_names=reverse)
    mask = mask_for(read_series(series))
    _decoded_equals(require_peer("segimage2itkimage"), write_all(series, tmp_path / "out", mask), tmp_path)


@pytest.mark.peer
@pytest.mark.parametrize("source", SOURCES)
def test_another_reader_finds_the_mask_in_the_same_place_on_real_studies(
    source: str,
    tmp_path: Path,
    shared_data: Callable[[str], Path],
    require_peer: Peer,
    results_of: Callable[[Path], Made],
) -> None:
    _decoded_equals(require_peer("segimage2itkimage"), results_of(shared_data(source)), tmp_path)


def _decoded_equals(tool: Path, made: Made, folder: Path) -> None:
    """The SEG as dcmqi reads it has the voxels, grid and names of the mask."""
    import SimpleITK as sitk  # noqa: N813 - the package's own custom

    out = folder / "decoded"
    out.mkdir()
    command = [tool, "--inputDICOM", made.folder / "seg.dcm", "--outputDirectory", out, "--outputType", "nrrd"]
    done = subprocess.run(command, check=False, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stdout
    meta = json.loads((out / "meta.json").read_text())
    names = {item["labelID"]: item["SegmentLabel"] for group in meta["segmentAttributes"] for item in group}
    decoded = np.zeros_like(made.labels.array)
    specs = {spec.name: spec.value for spec in SPECS}
    for path in sorted(out.glob("*.nrrd")):
        image = sitk.ReadImage(str(path))
        array = sitk.GetArrayFromImage(image)
        assert array.shape == made.labels.array.shape
        decoded_names = {int(v): names[int(v)] for v in np.unique(array) if v}
        for value, name in decoded_names.items():
            index = np.argwhere(array == value)
            points = [image.TransformIndexToPhysicalPoint([int(i) for i in row[::-1]]) for row in index]
            placed = np.rint(made.labels.geometry.to_index(np.array(points)))
            assert np.abs(made.labels.geometry.to_index(np.array(points)) - placed).max() < 0.02
            decoded[tuple(placed.astype(int).T)] = specs[name]
    np.testing.assert_array_equal(decoded, made.labels.array)


@pytest.mark.parametrize("charset", CHARSETS)
def test_names_of_every_character_set_come_out_right(tmp_path: Path, charset: str) -> None:
    encoding, name = CHARSETS[charset]
    changes = {"SpecificCharacterSet": encoding, "PatientName": name}
    series = write_series(tmp_path / "source", shape=(3, 16, 16), changes=changes)
    made = write_all(series, tmp_path / "out")
    for path in made.objects:
        dataset = pydicom.dcmread(path)
        assert dataset.SpecificCharacterSet == "ISO_IR 192"
        assert str(dataset.PatientName) == name
        raw = path.read_bytes()
        assert name.encode() in raw
    verify_against_source(made.objects, series)
    verify_content(made.objects, made.labels, made.series, made.findings)


def test_chinese_names_as_the_standard_encodes_them_come_out_right(tmp_path: Path) -> None:
    """PS3.5 K.2: the character set is designated anew after each delimiter; pydicom itself writes no designation."""
    source = write_series(tmp_path / "source", shape=(3, 16, 16), changes={"PatientName": "N" * 36})
    encoded = b"Wang^XiaoDong=\x1b$)A\xcd\xf5^\x1b$)A\xd0\xa1\xb6\xab".ljust(36)
    for instance in source.files:
        dataset = pydicom.dcmread(instance.path)
        dataset.SpecificCharacterSet = ["", "ISO 2022 IR 58"]
        dataset.save_as(instance.path)
        instance.path.write_bytes(instance.path.read_bytes().replace(b"N" * 36, encoded))
    made = write_all(scan(tmp_path / "source")[0], tmp_path / "out")
    for path in made.objects:
        assert str(pydicom.dcmread(path).PatientName) == "Wang^XiaoDong=王^小东"
    verify_against_source(made.objects, made.series)
    verify_content(made.objects, made.labels, made.series, made.findings)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("made")
    return write_all(write_series(folder / "source"), folder / "out")


@pytest.mark.parametrize("name", OBJECTS)
def test_every_object_belongs_to_the_study_and_says_what_made_it(made: Made, name: str) -> None:
    dataset = pydicom.dcmread(made.folder / name)
    header = made.series.header()
    for keyword in (
        "PatientName",
        "PatientID",
        "IssuerOfPatientID",
        "StudyInstanceUID",
        "StudyDate",
        "AccessionNumber",
    ):
        assert dataset[keyword].value == header[keyword].value
    assert dataset.SeriesInstanceUID != header.SeriesInstanceUID
    assert dataset.Manufacturer == "segloop"
    assert MODEL.name in dataset.SeriesDescription
    assert MODEL.digest in dataset.ContributingEquipmentSequence[0].ContributionDescription
    assert MODEL.digest.endswith(dataset.DeviceSerialNumber)
    assert (dataset.ContentDate, dataset.ContentTime) == ("20261122", "093000")
    assert is_own_object(dataset)
    assert not is_own_object(header)


def test_series_of_the_results_differ_from_each_other(made: Made) -> None:
    read = [pydicom.dcmread(path, stop_before_pixels=True) for path in made.objects]
    assert len({d.SeriesInstanceUID for d in read}) == len({d.SeriesNumber for d in read}) == len(OBJECTS)
    assert [d.Modality for d in read] == ["OT", "DOC", "SEG", "SR"]


def test_model_name_version_and_digest_stand_in_each_segment(made: Made) -> None:
    for segment in pydicom.dcmread(made.folder / "seg.dcm").SegmentSequence:
        assert segment.SegmentAlgorithmName == "hippocampus-mr 1.0"
        assert MODEL.digest in segment.SegmentDescription
        assert MODEL.digest in segment.SegmentationAlgorithmIdentificationSequence[0].AlgorithmParameters


def test_only_frames_with_voxels_and_the_two_ends_are_kept(made: Made) -> None:
    dataset = pydicom.dcmread(made.folder / "seg.dcm")
    used = sum(int((made.labels.array == spec.value).any(axis=(1, 2)).sum()) for spec in SPECS)
    assert dataset.NumberOfFrames == used + 2
    assert int(dataset.pixel_array.sum()) == int((made.labels.array > 0).sum())


def test_report_and_segmentation_track_the_same_label(made: Made) -> None:
    from highdicom.sr import Comprehensive3DSR

    report = Comprehensive3DSR.from_dataset(pydicom.dcmread(made.folder / "sr.dcm"))
    groups = report.content.get_volumetric_roi_measurement_groups()
    tracked = {group.tracking_identifier: group.tracking_uid for group in groups}
    segments = pydicom.dcmread(made.folder / "seg.dcm").SegmentSequence
    assert {s.TrackingID: s.TrackingUID for s in segments}.items() <= tracked.items()
    assert sorted(tracked) == ["Anterior", "Lesion", "Lesion 1", "Lesion 2", "Posterior"]
    volumes = {g.tracking_identifier: g.get_measurements(_volume_code())[0].value for g in groups}
    expected = {g.spec.name: g.measurements[0].value for g in made.findings.groups if not g.component}
    assert {name: volumes[name] for name in expected} == pytest.approx(expected, abs=5e-4)


def _texts(report: pydicom.Dataset) -> set[str]:
    """Every text and code meaning of a report."""
    found: set[str] = set()
    report.walk(lambda _, e: found.add(str(e.value)) if e.keyword in ("TextValue", "CodeMeaning") else None)
    return found


def _volume_code() -> object:
    from highdicom.sr import CodedConcept

    return CodedConcept(value="118565006", scheme_designator="SCT", meaning="Volume")


def test_research_use_and_draft_state_stand_in_report_and_document(made: Made) -> None:
    report = pydicom.dcmread(made.folder / "sr.dcm")
    assert "For research use only. Not for diagnosis." in _texts(report)
    assert (report.PreliminaryFlag, report.VerificationFlag) == ("PRELIMINARY", "UNVERIFIED")
    document = pydicom.dcmread(made.folder / "report.dcm")
    assert (document.VerificationFlag, document.BurnedInAnnotation) == ("UNVERIFIED", "YES")
    pdf = document.EncapsulatedDocument[: document.EncapsulatedDocumentLength]
    assert pdf == (made.folder / "report.pdf").read_bytes()


def test_equal_input_gives_equal_bytes(made: Made, tmp_path: Path) -> None:
    again = write_all(made.series, tmp_path)
    assert [p.read_bytes() for p in made.objects] == [p.read_bytes() for p in again.objects]


def test_an_empty_mask_gives_no_segmentation_and_a_report_that_says_so(made: Made, tmp_path: Path) -> None:
    empty = Labels(np.zeros_like(made.labels.array), made.labels.geometry, made.labels.names)
    found = write_all(made.series, tmp_path, empty)
    assert [p.name for p in found.objects] == ["capture.dcm", "report.dcm", "sr.dcm"]
    text = _texts(pydicom.dcmread(tmp_path / "sr.dcm"))
    assert {"Lesion: not found.", "empty_result", "Absent"} <= text


def test_a_mask_that_fills_its_grid_and_one_label_alone_are_written(tmp_path: Path) -> None:
    series: SeriesRef = write_series(tmp_path / "source", shape=(3, 7, 5))
    volume = read_series(series)
    mask = Labels(np.full((3, 7, 5), 2, np.uint8), volume.geometry, {})
    findings = collect(mask, (), SPECS, MODEL, CREATED)
    dataset = pydicom.dcmread(write_seg(mask, series, findings, "2.25.7", tmp_path / "seg.dcm"))
    assert dataset.NumberOfFrames == 3
    assert dataset.pixel_array.all()
