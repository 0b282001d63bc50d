from __future__ import annotations

import numpy as np
import pytest

from results import CREATED, MODEL, SPECS
from segloop.errors import InputError
from segloop.measure import Quantity, measure_labels
from segloop.report import Findings, ModelStamp, collect
from segloop.volume import Geometry, Labels


def _labels(*boxes: tuple[int, tuple[slice, slice, slice]]) -> Labels:
    array = np.zeros((6, 10, 10), np.uint8)
    for value, box in boxes:
        array[box] = value
    return Labels(array, Geometry((6, 10, 10), (2.0, 1.0, 1.0)), {})


def _collected(labels: Labels, **options: object) -> Findings:
    return collect(labels, measure_labels(labels, None, SPECS), SPECS, MODEL, CREATED, **options)  # type: ignore[arg-type]


def test_each_label_has_a_group_and_lesions_one_per_part() -> None:
    labels = _labels((1, np.s_[1:3, 1:4, 1:4]), (4, np.s_[4:6, 7:9, 7:9]), (4, np.s_[:1, :1, :1]))
    groups = _collected(labels).groups
    assert [(g.spec.name, g.component, g.found) for g in groups] == [
        ("Anterior", 0, True),
        ("Posterior", 0, False),
        ("Lesion", 0, True),
        ("Lesion", 1, True),
        ("Lesion", 2, True),
    ]
    assert [g.value(Quantity.VOLUME).value for g in groups] == pytest.approx([0.036, 0, 0.018, 0.016, 0.002])  # type: ignore[union-attr]


def test_segments_are_numbered_without_gaps_over_the_labels_that_occur() -> None:
    labels = _labels((1, np.s_[1:3, 1:4, 1:4]), (4, np.s_[4:6, 7:9, 7:9]))
    assert _collected(labels).segment_numbers == {1: 1, 4: 2}


def test_an_empty_mask_is_a_result_with_a_warning() -> None:
    findings = _collected(_labels(), warnings=("slow", "slow"))
    assert findings.present == ()
    assert findings.warnings == ("slow", "empty_result")
    assert findings.research_use


def test_a_mask_with_numbers_that_the_model_does_not_know_is_refused() -> None:
    with pytest.raises(InputError, match="7") as caught:
        _collected(_labels((7, np.s_[1:2, 1:2, 1:2])))
    assert caught.value.code == "labels.mismatch"


def test_findings_survive_json() -> None:
    findings = _collected(_labels((1, np.s_[1:3, 1:4, 1:4])))
    assert Findings.model_validate_json(findings.model_dump_json(by_alias=True)) == findings


def test_a_long_model_name_keeps_its_version_in_the_title() -> None:
    stamp = ModelStamp(name="m" * 80, version="10.2", digest=MODEL.digest)
    assert len(stamp.title) == 64
    assert stamp.title.endswith(" 10.2")
