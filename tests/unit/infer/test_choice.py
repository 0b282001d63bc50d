import json

import pytest

from segloop.errors import ModelError
from segloop.infer import Segmenter
from segloop.infer.machine import cache_folder, cpu_model
from segloop.infer.runtimes import base, choice
from segloop.infer.runtimes.measure import Speed


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "segloop" / "runtimes.json"


@pytest.fixture
def measured(monkeypatch):
    """Speeds known beforehand instead of new processes; returns what was asked for."""
    asked = []
    speeds = {"openvino": Speed(start=1.0, patch=0.05), "tensorflow": Speed(start=6.0, patch=0.02)}
    monkeypatch.setattr(choice, "speed", lambda bundle, name: (asked.append(name), speeds[name])[1])
    return asked


def test_both_runtimes_are_measured_once_and_the_choice_is_remembered(bundle, cache):
    first = choice.choose(bundle)
    assert first.measured == "now"
    assert first.failed == {}
    assert set(first.speeds) == {"openvino", "tensorflow"}
    assert all(s.start > s.patch > 0 for s in first.speeds.values())
    assert first.text.count(" ms per patch") == 2
    assert first.text.startswith(first.name)
    again = choice.choose(bundle)
    assert again.measured == "before"
    assert again.speeds == first.speeds
    assert len(json.loads(cache.read_text())) == 1
    assert [p.name for p in cache.parent.iterdir()] == ["runtimes.json"]
    segmenter = Segmenter(bundle)
    assert segmenter.choice == again.text
    assert segmenter.runtime.name == first.name


def test_what_takes_a_study_soonest_is_chosen_start_included(bundle, measured):
    """A runtime that starts 5 s later must win that back within a study's patches."""
    assert choice.choose(bundle).name == "openvino"
    assert measured == ["openvino", "tensorflow"]


def test_the_choice_of_another_bundle_is_measured_by_itself(bundle, flat_bundle, cache, measured):
    choice.choose(bundle)
    choice.choose(bundle)
    assert choice.choose(flat_bundle).measured == "now"
    assert len(measured) == 4
    assert len(json.loads(cache.read_text())) == 2


@pytest.mark.parametrize("content", ["{", "[]", '{"a": {"name": 3}}', ""])
@pytest.mark.usefixtures("measured")
def test_a_damaged_cache_is_measured_again_and_mended(bundle, cache, content):
    cache.parent.mkdir(parents=True)
    cache.write_text(content)
    assert choice.choose(bundle).measured == "now"
    assert choice.choose(bundle).measured == "before"


@pytest.mark.usefixtures("measured")
def test_a_cache_that_cannot_be_written_does_not_stop_the_work(bundle, tmp_path):
    (tmp_path / "cache").write_text("a file where a folder should be")
    assert choice.choose(bundle).measured == "now"


def test_a_runtime_that_cannot_start_is_named_and_not_remembered(bundle, cache, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "nonsense")
    chosen = choice.choose(bundle)
    assert chosen.name == "openvino"
    assert set(chosen.failed) == {"tensorflow"}
    assert "tensorflow cannot run here" in chosen.text
    assert not cache.exists()


def test_when_nothing_can_run_the_reasons_are_given(bundle, monkeypatch):
    monkeypatch.setattr(choice, "speed", lambda bundle, name: "illegal instruction")
    with pytest.raises(ModelError, match="illegal instruction") as caught:
        choice.choose(bundle)
    assert caught.value.code == "runtime.unavailable"


def test_the_only_runtime_installed_is_taken_and_said(bundle, monkeypatch):
    monkeypatch.setattr(base, "find_spec", lambda name: object() if name == "openvino" else None)
    chosen = choice.choose(bundle)
    assert (chosen.name, chosen.measured, chosen.speeds) == ("openvino", "no", {})
    assert "only runtime" in chosen.text
    with pytest.raises(ModelError) as caught:
        base.open_runtime(bundle, "tensorflow")
    assert caught.value.code == "runtime.unavailable"


def test_no_runtime_and_unknown_runtimes_are_named(bundle, monkeypatch):
    with pytest.raises(ModelError, match="no runtime 'abacus'"):
        base.open_runtime(bundle, "abacus")
    monkeypatch.setattr(base, "find_spec", lambda name: None)
    with pytest.raises(ModelError) as caught:
        choice.choose(bundle)
    assert caught.value.code == "runtime.unavailable"


def test_where_caches_lie(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path / "cache" / "segloop"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "segloop"
    assert "cores" in cpu_model()
