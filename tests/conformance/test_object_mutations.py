"""Planted faults in written results: each is refused before anything could be sent, and the sound results are not."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest

from report_mutations import SR
from results import Made, mask_for, write_all, write_series
from seg_mutations import SEG, Change
from segloop.errors import GeometryMismatch, ModelError, PrivacyError
from segloop.io.dicom import SeriesRef, read_series
from segloop.report import (
    Findings,
    Reference,
    Signature,
    verify_against_source,
    verify_content,
    write_seg,
    write_sr,
    writing,
)
from segloop.report.dicom.seg import Form
from segloop.volume import Labels

SIGNATURE = Signature(observer="Wang^Wei", organisation="Radiology", signed_at=datetime(2026, 11, 22, 9, 0, tzinfo=UTC))
SR_CLASS = "1.2.840.10008.5.1.4.1.1.88.34"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A signed result that takes the place of another; its grid is oblique and no slice equals another."""
    folder = tmp_path_factory.mktemp("mutations")
    c, s = float(np.cos(0.3)), float(np.sin(0.3))
    series = write_series(folder / "source", directions=((0, -s, c), (0, c, s), (1, 0, 0)), modality="CT")
    mask = mask_for(read_series(series))
    array = mask.array.copy()
    for z in range(1, array.shape[0]):
        array[z, z, -1] = 1
    before = Reference(
        sop_class_uid=SR_CLASS, sop_instance_uid="2.25.1", series_uid="2.25.2", study_uid=series.study_uid
    )
    labels = Labels(array, mask.geometry, mask.names)
    return write_all(series, folder / "out", labels, signature=SIGNATURE, predecessors=(before,))


def check(made: Made, paths: list[Path]) -> None:
    """What the product does with results before it says that they are there."""
    verify_against_source(paths, made.series)
    verify_content(paths, made.labels, made.series, made.findings)


def refused(made: Made, name: str, change: Change, folder: Path) -> tuple[Exception, list[str]]:
    dataset = pydicom.dcmread(made.folder / name)
    change(dataset)
    dataset.save_as(folder / name)
    others = [made.folder / other for other in ("seg.dcm", "sr.dcm") if other != name]
    with pytest.raises((PrivacyError, GeometryMismatch, ModelError)) as caught:
        check(made, [folder / name, *others])
    return caught.value, caught.value.found[name]


def test_sound_results_pass(made: Made) -> None:
    check(made, made.objects)


def test_enough_is_planted() -> None:
    assert len(SEG) + len(SR) >= 30


@pytest.mark.parametrize("fault", SEG)
def test_a_fault_of_the_segmentation_is_refused(made: Made, tmp_path: Path, fault: str) -> None:
    change, attribute = SEG[fault]
    _, named = refused(made, "seg.dcm", change, tmp_path)
    assert attribute in named


@pytest.mark.parametrize("fault", SR)
def test_a_fault_of_the_report_is_refused(made: Made, tmp_path: Path, fault: str) -> None:
    change, attribute = SR[fault]
    _, named = refused(made, "sr.dcm", change, tmp_path)
    assert attribute in named


@pytest.mark.parametrize(
    ("name", "fault", "error", "code"),
    [
        ("seg.dcm", "another patient", PrivacyError, "identity.mismatch"),
        ("seg.dcm", "pixels mirrored", GeometryMismatch, "geometry.mismatch"),
        ("sr.dcm", "another value", ModelError, "model.mismatch"),
    ],
)
def test_the_kind_of_fault_is_told_and_no_value(
    made: Made, tmp_path: Path, name: str, fault: str, error: type[Exception], code: str
) -> None:
    change, _ = (SEG if name == "seg.dcm" else SR)[fault]
    caught, _ = refused(made, name, change, tmp_path)
    assert type(caught) is error
    told = f"{caught} {caught.as_document()}"
    assert code in told
    assert not any(token in told for token in ("Doe", "PID-", "ACC-9", "0.206", made.series.study_uid, "Wang"))


def write_mirrored(
    labels: Labels, series: SeriesRef, findings: Findings, uid: str, path: Path, *, form: Form = "binary"
) -> Path:
    """A writer that swaps left and right."""
    turned = Labels(labels.array[:, :, ::-1].copy(), labels.geometry, labels.names)
    return write_seg(turned, series, findings, uid, path, form=form)


def write_exchanged(
    labels: Labels,
    series: SeriesRef,
    findings: Findings,
    uid: str,
    path: Path,
    *,
    seg_uid: str | None = None,
    form: Form = "binary",
) -> Path:
    """A writer that gives each label the next one's volume."""
    numbers = [m for m in findings.measurements if m.quantity == "volume" and not m.component]
    others = {id(m): other.value for m, other in zip(numbers, [*numbers[1:], numbers[0]], strict=True)}
    told = tuple(m.model_copy(update={"value": others.get(id(m), m.value)}) for m in findings.measurements)
    wrong = findings.model_copy(update={"measurements": told})
    return write_sr(labels, series, wrong, uid, path, seg_uid=seg_uid, form=form)


def test_a_fault_of_a_writer_stops_the_result_before_any_message_is_written(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = made.findings.model_copy(update={"signature": None, "predecessors": ()})
    (tmp_path / "sound").mkdir()
    written = writing.write_all(found, made.labels, made.volume, made.series, "key", tmp_path / "sound")
    assert {"seg", "sr", "key_objects", "oru"} <= set(written)
    for name, writer, error in (
        ("write_seg", write_mirrored, GeometryMismatch),
        ("write_sr", write_exchanged, ModelError),
    ):
        out = tmp_path / name
        out.mkdir()
        with monkeypatch.context() as patched:
            patched.setattr(writing, name, writer)
            with pytest.raises(error, match="are not sent"):
                writing.write_all(found, made.labels, made.volume, made.series, "key", out)
        assert not (out / "oru.hl7").exists()
        assert not (out / "fhir.json").exists()
