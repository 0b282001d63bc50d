from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom import Dataset

from results import Made, write_all, write_series
from segloop.errors import InputError, PrivacyError
from segloop.report import verify_against_source

Change = Callable[[Dataset], None]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("identity")
    return write_all(write_series(folder / "source"), folder / "out")


def _set(keyword: str, value: object) -> Change:
    return lambda dataset: setattr(dataset, keyword, value)


def _group(dataset: Dataset) -> Dataset:
    imaging = next(i for i in dataset.ContentSequence if i.ConceptNameCodeSequence[0].CodeValue == "126010")
    return imaging.ContentSequence[0]


def _without_tracking_uid(dataset: Dataset) -> None:
    group = _group(dataset)
    group.ContentSequence = [i for i in group.ContentSequence if i.ConceptNameCodeSequence[0].CodeValue != "112040"]


def _foreign_evidence(dataset: Dataset) -> None:
    evidence = dataset.CurrentRequestedProcedureEvidenceSequence[0]
    evidence.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID = "1.2.3"


def _foreign_study(dataset: Dataset) -> None:
    dataset.CurrentRequestedProcedureEvidenceSequence[0].StudyInstanceUID = "1.2.3"


def _foreign_source(dataset: Dataset) -> None:
    frame = dataset.PerFrameFunctionalGroupsSequence[0]
    frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID = "1.2.3"


FAULTS: list[tuple[str, str, Change]] = [
    *[(name, "PatientID", _set("PatientID", "PID-2")) for name in ("seg.dcm", "sr.dcm", "report.dcm", "capture.dcm")],
    ("seg.dcm", "PatientName", _set("PatientName", "Doe^John")),
    ("sr.dcm", "PatientBirthDate", _set("PatientBirthDate", "19700103")),
    ("sr.dcm", "PatientSex", _set("PatientSex", "")),
    ("report.dcm", "IssuerOfPatientID", _set("IssuerOfPatientID", "ELSEWHERE")),
    ("report.dcm", "AccessionNumber", _set("AccessionNumber", "")),
    ("capture.dcm", "StudyInstanceUID", _set("StudyInstanceUID", "1.2.3")),
    ("seg.dcm", "FrameOfReferenceUID", _set("FrameOfReferenceUID", "1.2.3")),
    ("seg.dcm", "FrameOfReferenceUID", lambda d: d.pop("FrameOfReferenceUID")),
    ("seg.dcm", "TrackingUID", lambda d: d.SegmentSequence[0].pop("TrackingUID")),
    ("seg.dcm", "ReferencedSOPInstanceUID", _foreign_source),
    ("sr.dcm", "TrackingUID", _without_tracking_uid),
    ("sr.dcm", "ReferencedSOPInstanceUID", _foreign_evidence),
    ("sr.dcm", "StudyInstanceUID", _foreign_study),
]


def test_what_segloop_writes_agrees_with_its_source(made: Made) -> None:
    verify_against_source(made.objects, made.series)


@pytest.mark.parametrize(
    ("name", "attribute", "change"), FAULTS, ids=[f"{n}-{a}-{i}" for i, (n, a, _) in enumerate(FAULTS)]
)
def test_any_disagreement_stops_the_object(
    made: Made, tmp_path: Path, name: str, attribute: str, change: Change
) -> None:
    dataset = pydicom.dcmread(made.folder / name)
    change(dataset)
    dataset.save_as(tmp_path / name)
    others = [path for path in made.objects if path.name != name]
    with pytest.raises(PrivacyError, match=attribute) as caught:
        verify_against_source([tmp_path / name, *others], made.series)
    assert caught.value.code == "identity.mismatch"
    assert caught.value.found == {name: [attribute]}


def test_the_message_holds_no_identity(made: Made, tmp_path: Path) -> None:
    dataset = pydicom.dcmread(made.folder / "sr.dcm")
    dataset.PatientName, dataset.PatientID = "Planted^Token", "PLANTED-7"
    dataset.save_as(tmp_path / "sr.dcm")
    with pytest.raises(PrivacyError) as caught:
        verify_against_source([tmp_path / "sr.dcm", made.folder / "seg.dcm"], made.series)
    told = f"{caught.value} {caught.value.as_document()}"
    assert not any(token in told for token in ("Planted", "PLANTED", "Doe", "Jane", "PID-1", "ACC-9", "19700102"))


def test_a_report_without_its_segmentation_refers_to_nothing(made: Made) -> None:
    with pytest.raises(PrivacyError, match="ReferencedSOPInstanceUID"):
        verify_against_source([made.folder / "sr.dcm"], made.series)


def test_a_file_that_is_no_dicom_is_named(made: Made, tmp_path: Path) -> None:
    (tmp_path / "x.dcm").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"x\.dcm"):
        verify_against_source([tmp_path / "x.dcm"], made.series)
