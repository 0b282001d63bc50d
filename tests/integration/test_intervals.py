"""A volume's interval travels from the bundle into result, report and SR."""

from __future__ import annotations

import subprocess

import pydicom
import pytest

from segloop.infer import Manifest, reissue
from segloop.measure import VolumeInterval
from segloop.registry import Registry
from segloop.study import StudyTask
from segloop.workflow import process_study


@pytest.fixture(scope="module")
def result(shared_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    rule = VolumeInterval(label=1, centre=0.02, lower=-0.2, upper=0.15, seen_ml=(0.5, 4.0), cases=80, coverage=0.95)
    shipped = Registry().load("hippocampus-mr")
    bundle = reissue(shipped, folder / "bundle", card=shipped.card, metrics={}, intervals=[rule])
    source = shared_data("brain-mr-dicom") / "Study1" / "13_HCropVolume"
    out = folder / "out"
    return rule, out, process_study(StudyTask(source=source, out=out, model=str(bundle.path), runtime="openvino"))


def test_the_result_holds_the_interval_of_the_label_that_has_one(result):
    rule, _, found = result
    volumes = {m.label: m for m in found.measurements if m.quantity == "volume"}
    assert volumes[1].interval == rule.bounds(volumes[1].value)
    assert volumes[1].interval[0] < volumes[1].value < volumes[1].interval[1]
    assert volumes[2].interval is None
    assert all(m.interval is None for m in found.measurements if m.quantity != "volume")


@pytest.mark.peer
def test_the_report_prints_it(result, require_peer):
    _, out, found = result
    volume = next(m for m in found.measurements if m.quantity == "volume" and m.label == 1)
    pdf = out / found.files["pdf"]
    text = subprocess.run([require_peer("pdftotext"), "-layout", pdf, "-"], capture_output=True, check=True).stdout
    assert f"{volume.value:.2f} ({volume.interval[0]:.2f}–{volume.interval[1]:.2f})" in text.decode()


def test_the_sr_says_between_what_the_volume_is_expected(result):
    _, out, found = result
    volume = next(m for m in found.measurements if m.quantity == "volume" and m.label == 1)
    low, high = volume.interval
    said = list(_texts(pydicom.dcmread(out / "sr.dcm")))
    assert [t for t in said if t.startswith(f"Anterior: volume expected between {low:.3g} and {high:.3g} ml")]
    assert not [t for t in said if t.startswith("Posterior: volume expected")]


def _texts(item):
    for child in getattr(item, "ContentSequence", ()):
        if "TextValue" in child:
            yield child.TextValue
        yield from _texts(child)


def test_manifests_without_intervals_or_members_stay_valid():
    stated = Registry().load("hippocampus-mr").manifest.model_dump(mode="json", by_alias=True)
    assert [rule["label"] for rule in stated["intervals"]] == [1, 2]
    old = Manifest.model_validate({key: value for key, value in stated.items() if key not in ("intervals", "members")})
    assert (old.intervals, old.members) == ((), ())
