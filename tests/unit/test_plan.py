"""The Plan: valid or refused with the field named; equal recipes have equal digests."""

from __future__ import annotations

import json

import pytest

from segloop.errors import InputError, PlanError
from segloop.plan import LabelSpec, Plan


@pytest.fixture
def plan() -> Plan:
    return Plan(name="toy", labels=(LabelSpec(value=1, name="liver"),))


def test_json_round_trip_keeps_the_digest(plan, tmp_path):
    path = tmp_path / "plan.json"
    path.write_text(plan.to_json(), "utf-8")
    assert Plan.load(path) == plan
    assert Plan.load(path).digest == plan.digest


def test_changed_sets_a_nested_field_and_changes_the_digest(plan):
    other = plan.changed({"training.epochs": 7, "training.augmentation.noise_sd": 0.5, "labels.0.name": "肝脏"})
    assert (other.training.epochs, other.training.augmentation.noise_sd, other.labels[0].name) == (7, 0.5, "肝脏")
    assert other.digest != plan.digest
    assert plan.training.epochs != 7


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"training.epohcs": 5}, "training.epohcs"),
        ({"trainig.epochs": 5}, "trainig"),
        ({"training.epochs": 0}, "training.epochs"),
        ({"training.epochs": "many"}, "training.epochs"),
        ({"network.classes": 5}, "network.classes"),
        ({"training.patch": [40, 57, 40]}, "divisor"),
        ({"inference.overlap": 1.0}, "inference.overlap"),
        ({"network.strides": [[2, 2, 2]] * 4}, "strides"),
        ({"preparation.normalisation": [{"kind": "window"}]}, "window"),
        ({"post.steps": [{"label": 9}]}, "post.steps"),
    ],
)
def test_a_faulty_change_names_the_field(plan, changes, named):
    with pytest.raises(PlanError) as caught:
        plan.changed(changes)
    assert caught.value.code == "plan.invalid"
    assert named in str(caught.value)


def test_unknown_keys_and_newer_schemas_are_refused(plan):
    document = json.loads(plan.to_json())
    with pytest.raises(PlanError, match="surprise"):
        Plan.parse({**document, "surprise": 1})
    with pytest.raises(PlanError, match="schema"):
        Plan.parse({**document, "schema": 99})


def test_a_file_that_is_no_plan_is_unreadable(tmp_path):
    path = tmp_path / "plan.json"
    path.write_text("{", "utf-8")
    with pytest.raises(InputError) as caught:
        Plan.load(path)
    assert caught.value.code == "input.unreadable"


def test_a_two_dimensional_plan_has_one_slice(plan):
    with pytest.raises(PlanError):
        plan.changed({"network.dims": 2})


def test_label_shares_are_as_many_as_labels_and_not_all_nothing(plan):
    count = len(plan.labels)
    assert plan.changed({"training.label_shares": [1.0] * count}).training.label_shares == (1.0,) * count
    with pytest.raises(PlanError, match="as many numbers as labels"):
        plan.changed({"training.label_shares": [1.0] * (count + 1)})
    with pytest.raises(PlanError, match="above 0"):
        plan.changed({"training.label_shares": [0.0] * count})
