"""Two dates of one phantom patient with exactly known growth, through the workflow's own steps."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from math import log
from pathlib import Path

import pydicom
import pytest

from segloop.cli import main
from segloop.errors import InputError
from segloop.io import files
from segloop.measure import Quantity, Verdict
from segloop.phantom import Phantom, Scan, Visit, generate, write_study
from segloop.report import Findings, prior_key
from segloop.signing import folder_of, sign
from segloop.study import InferenceRecord, StudyTask, file_digest, read_record, write_record
from segloop.workflow import LABELS, findings, objects, select

MODEL = "phantom-ct"
SEED, LESIONS, DAYS, GROWTH = 3, 4, 120, 1.5
SCAN = Scan(slices=64, matrix=128, slice_mm=2.8, pixel_mm=2.75)


def exact_result(phantom: Phantom, folder: Path, priors: tuple[Path, ...] = ()) -> Findings:
    """A result as the workflow leaves it, but for the mask, which is the phantom's own: exact, and no network's."""
    study, out = folder / "study", folder / "out"
    write_study(phantom, study)
    keys = tuple(prior_key(prior) for prior in priors)
    task = StudyTask(source=study, out=out, model=MODEL, priors=keys, prior_folders=priors)
    select(task)
    files.write(phantom.labels, out / LABELS)
    record = InferenceRecord(
        runtime="openvino",
        precision="float32",
        choice="",
        seconds={"network": 0.0},
        warnings=(),
        peak_rss_mb=1.0,
        labels_digest=file_digest(out / LABELS),
    )
    write_record(record, out / "inference.json")
    findings(task)
    objects(task)
    return read_record(Findings, out / "findings.json")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Findings, Findings]:
    root = tmp_path_factory.mktemp("dates")
    first = exact_result(generate(SEED, LESIONS, SCAN), root / "first")
    visit = Visit(DAYS, GROWTH)
    later = exact_result(generate(SEED, LESIONS, SCAN, visit=visit), root / "later", (root / "first" / "out",))
    return root, first, later


def test_growth_and_doubling_time_are_those_that_were_drawn(results) -> None:
    _, _, later = results
    followed = later.follow_up
    assert (followed.placed, later.warnings) == ("organ", ())
    assert (followed.study_date - followed.priors[0].study_date).days == DAYS
    assert len(followed.lesions) == LESIONS
    # Voxels are whole ones, so a lesion of 2 ml is known to half a voxel of 0.02 ml.
    whole = next(one.change for one in followed.volumes if one.label == 2)
    assert whole.ratio == pytest.approx(GROWTH, abs=0.005)
    assert whole.doubling_days == pytest.approx(DAYS * log(2) / log(GROWTH), rel=0.01)
    for lesion in followed.lesions:
        assert lesion.fate == "followed"
        assert lesion.seen[0] == lesion.seen[1]
        assert lesion.change.ratio == pytest.approx(GROWTH, abs=0.02)
        assert lesion.change.doubling_days == pytest.approx(DAYS * log(2) / log(GROWTH), rel=0.04)
        assert lesion.change.verdict is Verdict.GROWN
    # The liver with its lesions is the same; without them it has lost what they gained: more than this model's noise.
    liver = next(one.change for one in followed.volumes if one.label == 1)
    assert (liver.verdict, liver.assumed) == (Verdict.SHRUNK, False)
    gained = whole.after_ml - whole.before_ml
    assert liver.before_ml - liver.after_ml == pytest.approx(gained, rel=0.01)


def test_the_sum_of_diameters_is_that_of_the_two_largest_lesions(results) -> None:
    _, first, later = results
    longest = {
        name: sorted(m.value for m in found.measurements if m.quantity is Quantity.LONGEST_DIAMETER and m.component)
        for name, found in (("first", first), ("later", later))
    }
    sums = later.follow_up.sums
    assert sums.targets == ("lesion 1", "lesion 2")
    assert sums.sums_mm == pytest.approx([sum(longest[name][-2:]) for name in ("first", "later")])
    # Half as much again in volume is 14.5 % in diameter: not yet 20 %.
    assert sums.response.from_nadir == pytest.approx(GROWTH ** (1 / 3) - 1, abs=0.05)
    assert sums.response.category == "SD"


def test_lesions_have_the_same_tracking_uid_at_both_dates_in_the_objects_themselves(results) -> None:
    root, _, _ = results
    tracked = [_tracked(pydicom.dcmread(root / name / "out" / "sr.dcm")) for name in ("first", "later")]
    assert tracked[0] == tracked[1]
    assert len(set(tracked[0].values())) == LESIONS + 2
    assert sorted(tracked[0]) == ["lesion", *(f"lesion {n}" for n in range(1, LESIONS + 1)), "liver"]


def test_lesions_keep_their_tracking_uids_when_a_result_is_signed_and_when_it_is_corrected(results, tmp_path) -> None:
    root, _, _ = results
    out = tmp_path / "out"
    shutil.copytree(root / "later" / "out", out)
    for note in ("", "Corrected."):
        sign(root / "later" / "study", out, "Li^Wei", "H", note)
    folders = [folder_of(out, edition) for edition in range(3)]
    reports = [pydicom.dcmread(folder / "sr.dcm") for folder in folders]
    assert len({report.SOPInstanceUID for report in reports}) == 3
    tracked = [_tracked(report) for report in reports]
    assert len(set(tracked[0].values())) == LESIONS + 2
    assert tracked[0] == tracked[1] == tracked[2]
    segments = [pydicom.dcmread(folder / "seg.dcm").SegmentSequence for folder in folders]
    named = [{one.TrackingID: one.TrackingUID for one in several} for several in segments]
    assert named[0] == named[1] == named[2]
    assert named[0].items() <= tracked[0].items()
    assert len({prior_key(folder) for folder in folders}) == 3


def test_another_patients_prior_is_not_used_and_a_folder_without_one_is_an_error(results, tmp_path, capsys) -> None:
    root, _, _ = results
    stranger = generate(SEED + 1, LESIONS, SCAN, visit=Visit(DAYS))
    found = exact_result(stranger, tmp_path, (root / "first" / "out",))
    assert found.follow_up.priors == ()
    (warning,) = found.warnings
    assert warning.startswith("prior_other_patient: PatientID")
    document = json.loads((tmp_path / "out" / "result.json").read_text("utf-8"))
    assert document["warnings"] == [warning]
    assert main(["run", str(tmp_path), "--model", MODEL, "-o", str(tmp_path / "x"), "--prior", str(tmp_path)]) == 2
    assert "result.json" in capsys.readouterr().err


@pytest.mark.peer
def test_dciodvfy_finds_no_error_in_objects_of_a_later_date(results, require_peer) -> None:
    root, _, _ = results
    paths = sorted((root / "later" / "out").glob("*.dcm"))
    assert {"seg.dcm", "sr.dcm", "report.dcm", "capture.dcm"} <= {path.name for path in paths}
    for path in paths:
        run = subprocess.run([require_peer("dciodvfy"), "-new", path], capture_output=True, check=False)
        assert not [line for line in run.stderr.decode().splitlines() if line.startswith("Error")], path.name


@pytest.mark.peer
@pytest.mark.long
def test_the_report_of_a_later_date_follows_its_template(results, require_peer) -> None:
    root, _, _ = results
    require_peer("/usr/share/java/pixelmed.jar")
    jars = sorted(Path("/usr/share/java").glob("*.jar"), key=lambda jar: "pixelmed" not in jar.name)
    limits = [f"-Djdk.xml.xpath{name}Limit=0" for name in ("ExprOp", "TotalOp", "ExprGrp")]
    report = root / "later" / "out" / "sr.dcm"
    command = [require_peer("java"), "-cp", os.pathsep.join(map(str, jars)), *limits]
    run = subprocess.run(
        [*command, "com.pixelmed.validate.DicomSRValidator", report], capture_output=True, check=False, timeout=900
    )
    lines = (run.stdout + run.stderr).decode(errors="replace").splitlines()
    assert "Root Template Validation Complete" in lines
    assert not [line for line in lines if line.startswith("Error")]


def test_a_prior_that_changes_while_the_study_is_processed_stops_it(results, tmp_path) -> None:
    root, _, _ = results
    prior = root / "first" / "out"
    task = StudyTask(
        source=root / "later" / "study", out=tmp_path, model=MODEL, priors=("another",), prior_folders=(prior,)
    )
    select(task)
    for name in (LABELS, "inference.json"):
        (tmp_path / name).write_bytes((root / "later" / "out" / name).read_bytes())
    with pytest.raises(InputError) as caught:
        findings(task)
    assert caught.value.code == "input.prior"


def test_the_key_depends_on_the_priors_and_on_nothing_where_there_are_none(results) -> None:
    root, _, _ = results
    plain = StudyTask(source=root, out=root, model=MODEL)
    one = plain.model_copy(update={"priors": ("b", "a")})
    assert one.settings_digest != plain.settings_digest
    assert one.settings_digest == plain.model_copy(update={"priors": ("a", "b")}).settings_digest


def _tracked(report: pydicom.Dataset) -> dict[str, str]:
    found: dict[str, str] = {}
    children = report.get("ContentSequence") or ()
    named = {c.ConceptNameCodeSequence[0].CodeValue: c for c in children if "ConceptNameCodeSequence" in c}
    if {"112039", "112040"} <= set(named):
        found[str(named["112039"].TextValue)] = str(named["112040"].UID)
    for child in children:
        found |= _tracked(child)
    return found
