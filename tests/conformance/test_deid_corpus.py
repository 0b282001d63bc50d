"""De-identification on patients who do not exist, scored by the ten action kinds of the MIDI-B challenge."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

import deid_corpus as corpus_of
import deid_score
from segloop.io import deid
from segloop.io.deid.keys import date_shift_days

pytestmark = pytest.mark.filterwarnings("ignore:.*:UserWarning:pydicom")

KEY = b"k" * 32
PROFILE = deid.Profile.of(
    ["longitudinal", "patient", "device"], ["descriptors", "structured-content", "graphics"], "clean"
)


def _run(folder: Path, patients: int) -> tuple[corpus_of.Corpus, deid.Deidentified]:
    corpus = corpus_of.make(folder / "in", patients)
    result = deid.deidentify([file.path for file in corpus.files], folder / "out", KEY, PROFILE)
    assert not result.refused
    return corpus, result


def _shares(corpus: corpus_of.Corpus, result: deid.Deidentified) -> dict[str, tuple[int, int]]:
    aliases = {file.patient: path.parent.parent.name for file, path in zip(corpus.files, result.written, strict=True)}
    shifts = [date_shift_days(aliases[number], KEY) for number in range(len(corpus.tokens))]
    return deid_score.score(corpus, result.written, shifts)


def test_nobody_is_left_and_everything_useful_is(tmp_path: Path) -> None:
    corpus, result = _run(tmp_path, 12)
    assert not list(deid_score.leaks(corpus, result.written))
    scores = _shares(corpus, result)
    assert all(total for _, total in scores.values())
    assert {kind: right for kind, (right, _) in scores.items()} == {kind: total for kind, (_, total) in scores.items()}


def test_the_checks_fail_on_the_originals(tmp_path: Path) -> None:
    corpus = corpus_of.make(tmp_path / "in", 6)
    originals = [file.path for file in corpus.files]
    assert {path for path, _ in deid_score.leaks(corpus, originals)} == set(originals)
    scores = deid_score.score(corpus, originals, [100] * 6)
    for kind in ("text removed", "date shifted", "UID changed", "pixels hidden"):
        assert scores[kind][0] == 0


def test_the_basic_profile_leaves_nobody_either(tmp_path: Path) -> None:
    corpus = corpus_of.make(tmp_path / "in", 6, seed=1)
    profile = deid.Profile.of(pixels="clean")
    result = deid.deidentify([file.path for file in corpus.files], tmp_path / "out", KEY, profile)
    assert not result.refused
    assert not list(deid_score.leaks(corpus, result.written))


def test_two_processes_agree(tmp_path: Path) -> None:
    corpus_of.make(tmp_path / "in", 2)
    (tmp_path / "key").write_bytes(KEY)
    digests = []
    for seed in ("1", "2"):
        out = tmp_path / f"out{seed}"
        command = [sys.executable, "-m", "segloop", "deidentify", str(tmp_path / "in"), "-o", str(out)]
        command += ["--key-file", str(tmp_path / "key"), "--pixels", "clean", "--retain", "longitudinal"]
        subprocess.run(command, check=True, capture_output=True, env={"PYTHONHASHSEED": seed, "PATH": ""})
        files = sorted(path for path in out.rglob("*") if path.is_file())
        digests.append({str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files})
    assert digests[0] == digests[1]
    assert len(digests[0]) == 8


@pytest.mark.long
def test_at_least_9995_of_10000_actions_over_200_patients(tmp_path: Path) -> None:
    corpus, result = _run(tmp_path, 204)
    assert not list(deid_score.leaks(corpus, result.written))
    scores = _shares(corpus, result)
    for kind, (right, total) in scores.items():
        assert right / total >= 0.9995, f"{kind}: {right} of {total}"
