"""The records between steps: the key that makes a version, and files that are whole or absent."""

from __future__ import annotations

import pytest

from segloop.errors import InputError
from segloop.study import InferenceRecord, RefusedSeries, StudyTask, read_record, study_key, write_record

A, B = ("1.2.3", "aa"), ("1.2.4", "bb")


def test_the_key_ignores_order_and_sees_every_change():
    key = study_key([A, B], "sha256:m", "s")
    assert key == study_key([B, A], "sha256:m", "s")
    others = {
        study_key([A], "sha256:m", "s"),
        study_key([A, ("1.2.4", "bc")], "sha256:m", "s"),
        study_key([A, B], "sha256:n", "s"),
        study_key([A, B], "sha256:m", "t"),
    }
    assert key not in others
    assert len(others) == 4


def test_the_language_of_the_report_is_part_of_the_settings(tmp_path):
    task = StudyTask(source=tmp_path, out=tmp_path, model="m")
    assert task.settings_digest != task.model_copy(update={"language": "zh-CN"}).settings_digest


def test_the_form_of_the_segmentation_is_part_of_the_settings_when_it_is_another_than_the_usual(tmp_path):
    task = StudyTask(source=tmp_path, out=tmp_path, model="m")
    assert task.model_copy(update={"seg": "binary"}).settings_digest == task.settings_digest
    assert task.model_copy(update={"seg": "labelmap"}).settings_digest != task.settings_digest


def test_a_record_comes_back_and_leaves_no_temporary_file(tmp_path):
    record = RefusedSeries(series_uid="1.2", title="系列", reasons=("CT, not MR",))
    write_record(record, tmp_path / "r.json")
    assert read_record(RefusedSeries, tmp_path / "r.json") == record
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]


@pytest.mark.parametrize("content", ["", "{", '{"name": "m"}', '{"name": 1, "evil": 2}'])
def test_a_damaged_or_foreign_record_is_refused(tmp_path, content):
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(InputError, match=r"r\.json"):
        read_record(InferenceRecord, tmp_path / "r.json")
