"""`make demo`: the whole loop on a phantom ends by itself, volumes near the true ones, objects in the archive."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pydicom
import pytest

from segloop.infer import Segmenter
from segloop.measure import measure_labels
from segloop.phantom import generate
from segloop.registry import Registry

LIVER, LESION = 0.02, 0.10


def demo(out: Path, *arguments: str) -> dict:
    command = [sys.executable, "-m", "segloop", "demo", "--json", "-o", str(out), *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=280)
    return json.loads(done.stdout)


def test_the_demo_measures_what_is_true_and_fills_the_archive(tmp_path):
    document = demo(tmp_path / "演示 demo", "--language", "zh-CN")
    measured = {
        (m["name"], m["component"]): m["value"] for m in document["result"]["measurements"] if m["quantity"] == "volume"
    }
    true = {(t["name"], t["component"]): t["volume_ml"] for t in document["truth"]}
    assert set(measured) == set(true)
    for place, volume in true.items():
        assert measured[place] == pytest.approx(volume, rel=LIVER if place[0] == "liver" else LESION), place
    folder = tmp_path / "演示 demo" / "archive"
    archived = [pydicom.dcmread(folder / name, stop_before_pixels=True) for name in document["archive"]]
    assert {d.Modality for d in archived} == {"SEG", "SR", "DOC", "OT", "KO"}
    source = pydicom.dcmread(next((tmp_path / "演示 demo" / "study").rglob("*.dcm")), stop_before_pixels=True)
    assert {d.StudyInstanceUID for d in archived} == {source.StudyInstanceUID}
    assert {d.PatientID for d in archived} == {source.PatientID}


def test_the_demo_takes_a_study_of_ones_own(shared_data, tmp_path):
    study = shared_data("brain-mr-dicom") / "Study1" / "13_HCropVolume"
    document = demo(tmp_path, "--study", str(study), "--model", "hippocampus-mr")
    _the_ledger_and_the_trail_tell_of_it(tmp_path / "data", document)
    assert document["truth"] == []
    assert {m["name"] for m in document["result"]["measurements"]} == {"Anterior", "Posterior"}
    assert len(document["archive"]) == 5


def _the_ledger_and_the_trail_tell_of_it(data: Path, document: dict) -> None:
    def answer(*words: str) -> tuple[int, dict]:
        command = [sys.executable, "-m", "segloop", *words, "--json"]
        environment = {**os.environ, "SEGLOOP_DATA_DIR": str(data)}
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
        return done.returncode, json.loads(done.stdout)

    status, listed = answer("jobs", "list")
    assert (status, [job["state"] for job in listed["jobs"]]) == (0, ["done"])
    status, shown = answer("jobs", "show", document["result"]["key"][:10])
    assert (status, [d["state"] for d in shown["deliveries"]]) == (0, ["done"])
    assert answer("audit", "verify")[1]["whole"]
    status, refused = answer("jobs", "retry", document["result"]["key"])
    assert (status, refused["error"]["code"]) == (6, "peer.unavailable")


@pytest.mark.long
@pytest.mark.parametrize(("seed", "lesions"), [(7001, 0), (7002, 1), (7003, 3), (7004, 5)])
def test_unseen_phantoms_are_counted_and_measured_right(seed, lesions):
    phantom = generate(seed, lesions)
    bundle = Registry().load("phantom-ct")
    labels = Segmenter(bundle)(phantom.volume).labels
    found = {
        (m.name, m.component): m.value
        for m in measure_labels(labels, phantom.volume, bundle.plan.labels)
        if m.quantity == "volume"
    }
    true = {(t.name, t.component): t.value for t in phantom.truth}
    assert set(found) == set(true)
    assert found["liver", 0] == pytest.approx(true["liver", 0], rel=LIVER)
    for part in range(1, lesions + 1):
        assert found["lesion", part] == pytest.approx(true["lesion", part], rel=LESION)
