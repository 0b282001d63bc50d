"""Every object about every kind of series, before the validators of others.

One test per kind writes SEG, SR, encapsulated PDF, capture, key objects and, where the source has a place in the
patient, RTSTRUCT, as the workflow does, and runs dciodvfy, dcentvfy and DCMTK's readers on all of them. PixelMed's
validator of report templates takes half a minute for each, so it sees one of each form that a report has.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest

from results import CREATED, INTERVAL, MODEL, SPECS, mask_for
from segloop.io.dicom import SeriesRef, read_series
from segloop.measure import measure_labels, with_intervals
from segloop.report import collect
from segloop.report.writing import write_all
from series_kinds import KINDS

Peer = Callable[[str], Path]
SharedData = Callable[[str], Path]

FALSE_ALARMS = {
    # dsrdump says which of its own checks it leaves out; the character set is UTF-8, and right.
    r"VR checker does not support this Specific Character Set: ISO_IR 192": "a check that DCMTK does not have",
    r"Check for template constraints not yet supported": "a check that DCMTK does not have",
}
"""Messages of a validator that are wrong, as patterns, each with the reason."""

_OTHER_BYTES = r"String attribute has different value - Element=<(PatientName|StudyDescription)>"
OF_THE_SOURCE = {
    # Identifiers are repeated as the source has them, also where the standard does not allow them: others find by them.
    "ultrasound in colour": r"Illegal root for UID = <999\.999\.",
    "identifiers beyond their length": r"(AccessionNumber|StudyID|StudyDescription).* Length invalid for this VR",
    # dcentvfy compares bytes: the same name in the source's character set and in UTF-8.
    **dict.fromkeys(("chinese", "japanese", "korean", "arabic"), _OTHER_BYTES),
}
"""By kind: what a validator says of values that the source has, and its results must repeat."""

UNREADABLE_SOURCE = {"deflated"}
"""Kinds whose source dcentvfy itself cannot read; only the results are compared with each other."""

REPORT_FORMS = ("CT", "CR", "enhanced MR", "one slice", "uneven distances", "chinese")


def _results(series: SeriesRef, out: Path, *, flat: bool) -> list[Path]:
    """The DICOM objects of a made-up mask, as the workflow writes them."""
    out.mkdir()
    volume = read_series(series)
    mask = mask_for(volume)
    measured = with_intervals(measure_labels(mask, volume, SPECS), [INTERVAL])
    findings = collect(mask, measured, SPECS, MODEL, CREATED)
    names = write_all(findings, mask, volume, series, "key", out, rtstruct=not flat)
    return [out / name for name in names.values() if name.endswith(".dcm")]


def _said(command: list[str | Path], expected: tuple[int, ...] = (0,)) -> list[str]:
    done = subprocess.run(command, check=False, capture_output=True, timeout=900)
    text = (done.stdout + done.stderr).decode(errors="replace")
    assert done.returncode in expected, f"{command[0]} ended with {done.returncode}: {text[-2000:]}"
    return text.splitlines()


def _errors(lines: list[str], kind: str, words: tuple[str, ...] = ("Error",)) -> list[str]:
    known = [*FALSE_ALARMS, *([OF_THE_SOURCE[kind]] if kind in OF_THE_SOURCE else [])]
    wrong = [line for line in lines if line.startswith(words) or any(f" {word} " in line for word in words)]
    return [line for line in wrong if not any(re.search(pattern, line) for pattern in known)]


def test_there_are_enough_kinds() -> None:
    assert len(KINDS) >= 20


@pytest.mark.peer
@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_validators_find_no_error(kind: str, tmp_path: Path, shared_data: SharedData, require_peer: Peer) -> None:
    tools = {name: require_peer(name) for name in ("dciodvfy", "dcentvfy", "dcmdump", "dsrdump", "dcm2xml")}
    series = KINDS[kind].series(tmp_path, shared_data)
    objects = _results(series, tmp_path / "out", flat=KINDS[kind].flat)
    classes = {path.name: str(pydicom.dcmread(path, stop_before_pixels=True).Modality) for path in objects}
    assert {"SEG", "SR", "DOC", "OT", "KO"} <= set(classes.values())
    assert ("RTSTRUCT" in classes.values()) is not KINDS[kind].flat
    found = {}
    for path in objects:
        found[f"dciodvfy {path.name}"] = _errors(_said([tools["dciodvfy"], "-new", path], (0, 1)), kind)
        found[f"dcmdump {path.name}"] = _errors(_said([tools["dcmdump"], "-q", "+L", path]), kind, ("E:", "W:"))
        found[f"dcm2xml {path.name}"] = _errors(_said([tools["dcm2xml"], "-q", path, tmp_path / "x.xml"]), kind)
        if classes[path.name] in ("SR", "KO"):
            found[f"dsrdump {path.name}"] = _errors(_said([tools["dsrdump"], path]), kind, ("E:", "W:"))
    sources = [] if kind in UNREADABLE_SOURCE else [file.path for file in series.files]
    found["dcentvfy"] = _errors(_said([tools["dcentvfy"], *sources, *objects], (0, 1)), kind)
    assert {tool: lines for tool, lines in found.items() if lines} == {}


@pytest.mark.peer
@pytest.mark.long
@pytest.mark.timeout(1000)
@pytest.mark.parametrize("kind", REPORT_FORMS)
def test_every_form_of_report_follows_its_template(
    kind: str, tmp_path: Path, shared_data: SharedData, require_peer: Peer
) -> None:
    java = require_peer("java")
    require_peer("/usr/share/java/pixelmed.jar")
    _results(KINDS[kind].series(tmp_path, shared_data), tmp_path / "out", flat=KINDS[kind].flat)
    jars = sorted(Path("/usr/share/java").glob("*.jar"), key=lambda jar: "pixelmed" not in jar.name)
    limits = [f"-Djdk.xml.xpath{name}OpLimit=0" for name in ("Expr", "Total")] + ["-Djdk.xml.xpathExprGrpLimit=0"]
    command = [java, "-cp", os.pathsep.join(map(str, jars)), *limits, "com.pixelmed.validate.DicomSRValidator"]
    lines = _said([*command, tmp_path / "out" / "sr.dcm"])
    assert any("Root Template Validation Complete" in line for line in lines)
    assert [line for line in lines if "Error" in line] == []
