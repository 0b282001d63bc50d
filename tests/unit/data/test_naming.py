"""`dataset.json`: labels, the number to ignore, regions."""

from __future__ import annotations

from pathlib import Path

import pytest

from segloop.data.naming import naming
from segloop.errors import InputError

ROOT = Path("brains")
BRATS = {
    "labels": {"background": 0, "whole tumour": [1, 2, 3], "tumour core": [2, 3], "enhancing": 3, "ignore": 4},
    "regions_class_order": [1, 2, 3],
}


@pytest.mark.parametrize(
    "labels",
    [
        {"0": "background", "2": "tumour", "1": "liver", "3": "ignore"},
        {"background": 0, "tumour": 2, "liver": 1, "Ignore": 3},
        {"background": [0], "liver": [1], "tumour": "2", "ignore": [3]},
    ],
)
def test_labels_and_the_number_to_ignore_in_both_ways_of_writing(labels: dict[str, object]) -> None:
    found = naming({"labels": labels}, ROOT)
    assert found.labels == {1: "liver", 2: "tumour"}
    assert list(found.labels) == [1, 2]
    assert found.ignore == 3
    assert found.regions == ()


def test_regions_as_nnunet_writes_them() -> None:
    found = naming(BRATS, ROOT)
    assert found.ignore == 4
    assert [(r.name, r.labels, r.paints) for r in found.regions] == [
        ("whole tumour", (1, 2, 3), 1),
        ("tumour core", (2, 3), 2),
        ("enhancing", (3,), 3),
    ]
    # A label is what its smallest region holds beyond the regions inside it: no oedema is called a whole tumour.
    assert found.labels == {1: "whole tumour without tumour core", 2: "tumour core without enhancing", 3: "enhancing"}


def test_labels_of_one_region_are_told_apart_by_their_number() -> None:
    found = naming({"labels": {"both": [1, 2], "other": 3}, "regions_class_order": [2, 3]}, ROOT)
    assert found.labels == {1: "both", 2: "both (2)", 3: "other"}


@pytest.mark.parametrize("name", ["background", "Background", "Clear Label", "背景", "unlabelled"])
def test_number_0_may_be_called_what_it_is(name: str) -> None:
    assert naming({"labels": {"0": name, "1": "liver"}}, ROOT).labels == {1: "liver"}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"labels": {"a": [1, 2], "b": 3}}, "one number for each of the regions a, b"),
        ({"labels": {"a": [1, 2], "b": 3}, "regions_class_order": [1]}, "one number for each"),
        ({"labels": {"a": [1, 2], "b": 3}, "regions_class_order": [3, 3]}, "a paints 3"),
        ({"labels": {"a": [0, 1]}, "regions_class_order": [1]}, "holds background"),
        ({"labels": {"a": 1, "b": 2, "c": 2}}, "several names have one number; found .'b', 'c'."),
        ({"labels": {"a": 1, "ignore": 1}}, "to be ignored and is a label"),
        ({"labels": {"a": 1, "ignore": [2, 3]}}, "`ignore` needs one number"),
        ({"labels": {"a": 1, "ignore": 0}}, "`ignore` needs one number"),
        ({"labels": {"a": True}}, "a name and its number"),
        ({"labels": {"a": []}}, "a name and its number"),
        ({"labels": {"a": "b"}}, "a name and its number"),
        ({"labels": {"background": 0, "ignore": 1}}, "names no labels"),
        ({"labels": {"0": "liver", "1": "tumour"}}, "0 is what no label covers.*'liver'"),
        ({"labels": {"background": 0, "liver": 0, "tumour": 1}}, "0 is what no label covers.*'liver'"),
        ({}, "names no labels"),
    ],
)
def test_what_cannot_be_meant_is_refused(document: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message) as fault:
        naming(document, ROOT)
    assert fault.value.code == "dataset.invalid"
