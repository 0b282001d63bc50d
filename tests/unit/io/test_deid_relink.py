"""Results about pseudonymised copies find back to their patient and study, and to nobody else's."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from results import SPECS, Made, write_all, write_series
from segloop.cli import main
from segloop.io import deid, rois
from segloop.io.dicom import SeriesRef, read_series, scan
from segloop.report import verify_against_source, write_rtstruct

KEY = b"k" * 32
NAME = "Wang^XiaoDong=王^小东"


class Site:
    """A hospital with two patients whose copies have left, with a table, and results that have come back."""

    def __init__(self, folder: Path, originals: dict[str, SeriesRef], profile: deid.Profile = deid.BASIC) -> None:
        self.folder, self.table, self.originals = folder, folder / "table", originals
        self.results: dict[str, Made] = {}
        for name, series in originals.items():
            sources = [file.path for file in series.files]
            mapping = deid.MappingTable(self.table, KEY)
            copies = deid.deidentify(sources, folder / "copies" / name, KEY, profile, mapping=mapping)
            assert not copies.refused
            made = write_all(scan(folder / "copies" / name)[0], folder / "results" / name)
            write_rtstruct(made.labels, made.series, made.findings, "2.25.88", made.folder / "rtstruct.dcm")
            self.results[name] = made

    def back(self, *paths: Path, out: str = "back") -> deid.Reidentified:
        return deid.reidentify(paths, self.folder / out, KEY, deid.read_links(self.table, KEY))

    def edited(self, name: str, change: Callable[[Dataset], None]) -> Path:
        """A result of patient `a`, tampered with."""
        dataset = dcmread(self.results["a"].folder / name)
        change(dataset)
        path = self.folder / "edited" / name
        path.parent.mkdir(exist_ok=True)
        dataset.save_as(path)
        return path


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("site")
    shape = (5, 16, 18)
    first = {"PatientName": NAME, "SpecificCharacterSet": "GB18030", "ReferringPhysicianName": "Li^Si=李^四"}
    other = {"PatientID": "PID-2", "PatientName": "Roe^Richard", "IssuerOfPatientID": None, "StudyDescription": None}
    a = write_series(folder / "originals" / "a", shape=shape, changes=first)
    b = write_series(folder / "originals" / "b", shape=shape, changes=other)
    return Site(folder, {"a": a, "b": b})


def code_of(result: deid.Reidentified) -> str:
    assert not result.written
    (refused,) = result.refused
    return refused.code


def by_modality(paths: tuple[Path, ...]) -> dict[str, Dataset]:
    return {str(d.Modality): d for d in map(dcmread, paths)}


@pytest.mark.parametrize("name", ["a", "b"])
def test_every_result_belongs_to_the_original_study_again(site: Site, name: str) -> None:
    made, original = site.results[name], site.originals[name]
    result = site.back(*made.objects, out=f"back-{name}")
    assert not result.refused
    found = by_modality(result.written)
    assert sorted(found) == ["DOC", "OT", "RTSTRUCT", "SEG", "SR"]
    # Patient, study, frame of reference and each reference, by the very check that stands before anything is sent
    verify_against_source(result.written, original)
    header = original.header()
    for before, after in zip(map(dcmread, made.objects), map(dcmread, result.written), strict=True):
        for keyword in ("StudyDate", "StudyTime", "StudyID", "StudyDescription", "ReferringPhysicianName"):
            assert str(after.get(keyword) or "") == str(header.get(keyword) or ""), keyword
        assert after.SOPInstanceUID == after.file_meta.MediaStorageSOPInstanceUID != before.SOPInstanceUID
        assert after.SeriesInstanceUID != before.SeriesInstanceUID
        assert not {"PatientIdentityRemoved", "DeidentificationMethodCodeSequence"} & set(after.dir())
        assert before.PatientID.encode() not in after.to_json().encode()
    assert found["DOC"].EncapsulatedDocument == by_modality(tuple(made.objects))["DOC"].EncapsulatedDocument


@pytest.mark.parametrize("kind", ["SEG", "RTSTRUCT"])
def test_the_mask_lies_voxel_for_voxel_on_the_original(site: Site, kind: str) -> None:
    for name, made in site.results.items():
        written = site.back(*made.objects, out=f"mask-{name}").written
        path = next(p for p in written if dcmread(p, stop_before_pixels=True).Modality == kind)
        labels = rois.read_labels(path, site.originals[name])
        assert labels.geometry == read_series(site.originals[name]).geometry
        values = {n: v for v, n in labels.names.items()}
        expected = made.labels.array
        found = sum(((labels.array == values[s.name]) * s.value for s in SPECS), np.zeros_like(expected))
        np.testing.assert_array_equal(found, expected)


def test_the_same_again_gives_the_same_bytes(site: Site) -> None:
    made = site.results["a"]
    one, two = site.back(*made.objects, out="one").written, site.back(*made.objects, out="two").written
    assert [p.read_bytes() for p in one] == [p.read_bytes() for p in two]


def test_results_that_refer_to_each_other_still_do(site: Site) -> None:
    found = by_modality(site.back(*site.results["a"].objects, out="pairs").written)
    evidence = found["SR"].CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    mentioned = {i.ReferencedSOPInstanceUID for series in evidence for i in series.ReferencedSOPSequence}
    assert found["SEG"].SOPInstanceUID in mentioned


def test_a_report_without_its_segmentation_is_refused(site: Site) -> None:
    assert code_of(site.back(site.results["a"].folder / "sr.dcm", out="alone")) == "mapping.unknown"


def test_another_patients_id_study_or_image_is_refused(site: Site) -> None:
    b = dcmread(site.results["b"].folder / "seg.dcm")

    def patient(d: Dataset) -> None:
        d.PatientID = b.PatientID

    def study(d: Dataset) -> None:
        d.StudyInstanceUID = b.StudyInstanceUID

    def image(d: Dataset) -> None:
        mine = d.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0]
        mine.ReferencedSOPInstanceUID = (
            b.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0].ReferencedSOPInstanceUID
        )

    def whole_study(d: Dataset) -> None:
        patient(d)
        study(d)

    def frame(d: Dataset) -> None:
        d.FrameOfReferenceUID = b.FrameOfReferenceUID

    def stranger(d: Dataset) -> None:
        d.PatientID = "0123456789abcdef"

    for change in (patient, study, image, stranger):
        assert code_of(site.back(site.edited("seg.dcm", change), out="wrong")) == "identity.mismatch", change.__name__
    for change in (whole_study, frame):
        assert code_of(site.back(site.edited("seg.dcm", change), out="wrong")) == "mapping.unknown", change.__name__
    assert not (site.folder / "wrong").exists()


def test_what_the_table_does_not_know_is_refused(site: Site) -> None:
    def study(d: Dataset) -> None:
        d.StudyInstanceUID = "1.2.3"

    def series(d: Dataset) -> None:
        d.ReferencedSeriesSequence[0].SeriesInstanceUID = "1.2.3"

    def image(d: Dataset) -> None:
        d.ReferencedSeriesSequence[0].ReferencedInstanceSequence[-1].ReferencedSOPInstanceUID = "1.2.3"

    def kind(d: Dataset) -> None:
        d.ReferencedSeriesSequence[0].SeriesInstanceUID = d.StudyInstanceUID

    for change in (study, series, image, kind):
        assert code_of(site.back(site.edited("seg.dcm", change), out="wrong")) == "mapping.unknown", change.__name__


def test_a_copy_is_no_result_and_a_text_no_dicom(site: Site, tmp_path: Path) -> None:
    copy = next((site.folder / "copies" / "a").rglob("*.dcm"))
    assert code_of(site.back(copy)) == "mapping.copy"
    text = tmp_path / "text.dcm"
    text.write_text("hello")
    assert code_of(site.back(text)) == "input.unreadable"


def test_a_copy_beside_its_result_does_not_lead_the_result_astray(site: Site) -> None:
    copies = sorted((site.folder / "copies" / "a").rglob("*.dcm"))
    result = site.back(*copies, site.results["a"].folder / "seg.dcm", out="beside")
    assert len(result.written) == 1
    verify_against_source(result.written, site.originals["a"])


def test_the_verbs_go_there_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "key").write_bytes(KEY)
    original = write_series(tmp_path / "in", shape=(3, 16, 18))
    with_key = ["--key-file", str(tmp_path / "key"), "--mapping", str(tmp_path / "table")]
    assert main(["deidentify", str(tmp_path / "in"), "-o", str(tmp_path / "out"), *with_key]) == 0
    made = write_all(scan(tmp_path / "out")[0], tmp_path / "results")
    back = ["reidentify", str(made.folder), "-o", str(tmp_path / "back"), *with_key, "--json"]
    capsys.readouterr()
    assert main(back) == 0
    written = json.loads(capsys.readouterr().out)["written"]
    verify_against_source([Path(path) for path in written], original)

    shutil.copy(next((tmp_path / "out").rglob("*.dcm")), made.folder / "copy.dcm")
    assert main(back) == 5
    document = json.loads(capsys.readouterr().out)
    assert [refused["code"] for refused in document["refused"]] == ["mapping.copy"]
    assert document["error"]["code"] == "mapping.copy"

    (tmp_path / "key").write_bytes(b"another key of enough bytes")
    assert main(back) == 5
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "mapping.key"
    inside = ["deidentify", str(tmp_path / "in"), "-o", str(tmp_path / "out"), *with_key[:3], str(tmp_path / "out/t")]
    assert main(inside) == 2


def test_real_studies_find_back(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    """A CT of a sarcoma, and an MR with planted identities whose basic profile leaves no date."""
    ct = scan(shared_data("sarcoma-ct") / "STS_019" / "dicom")[0]
    mr = scan(shared_data("deid") / "tcia-pseudo-phi-mr")[0]
    site = Site(tmp_path, {"ct": ct, "mr": mr}, deid.Profile.of(["longitudinal"]))
    for name, made in site.results.items():
        result = site.back(*made.objects, out=f"back-{name}")
        assert not result.refused
        verify_against_source(result.written, site.originals[name])
        seg = next(p for p in result.written if dcmread(p, stop_before_pixels=True).Modality == "SEG")
        labels = rois.read_labels(seg, site.originals[name])
        np.testing.assert_array_equal(labels.array > 0, made.labels.array > 0)
        other = next(series for key, series in site.originals.items() if key != name)
        with pytest.raises(Exception, match="disagree"):
            verify_against_source(result.written, other)
