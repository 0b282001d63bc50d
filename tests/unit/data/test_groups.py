from __future__ import annotations

import json
from pathlib import Path

import pytest

from segloop.data.groups import with_groups
from segloop.data.layouts import Case
from segloop.errors import InputError

IDS = ("sub-1_a", "sub-1_b", "sub-2_a")


def cases() -> list[Case]:
    return [Case(name, (Path("image"),), Path("label"), name) for name in IDS]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_names_patients_and_sites(tmp_path: Path, separator: str) -> None:
    rows = [("case", "site", "patient"), ("sub-2_a", "Bern", "q"), ("sub-1_a", "Basel", "p"), ("sub-1_b", "Basel", "p")]
    rows.append(("of another dataset", "Bern", "r"))
    (tmp_path / "groups.csv").write_text("\n".join(separator.join(row) for row in rows), "utf-8-sig")
    assert [(case.patient, case.site) for case in with_groups(tmp_path, cases())] == [
        ("p", "Basel"),
        ("p", "Basel"),
        ("q", "Bern"),
    ]


def test_a_description_names_them_by_pattern_or_one_by_one(tmp_path: Path) -> None:
    groups = {"patient": "(sub-[0-9]+)_.", "site": dict(zip(IDS, ("x", "x", "y"), strict=True))}
    (tmp_path / "dataset.json").write_text(json.dumps({"groups": groups}))
    found = with_groups(tmp_path, cases())
    assert [(case.patient, case.site) for case in found] == [("sub-1", "x"), ("sub-1", "x"), ("sub-2", "y")]


def test_without_a_statement_cases_stay_as_they_are(tmp_path: Path) -> None:
    assert list(with_groups(tmp_path, cases())) == cases()
    (tmp_path / "dataset.json").write_text("{}")
    assert list(with_groups(tmp_path, cases())) == cases()


@pytest.mark.parametrize(
    ("table", "document", "says"),
    [
        ("case,patient\nsub-1_a,p\nsub-1_b,\nsub-2_a,q", None, "patient of its cases, but not of 1: sub-1_b"),
        ("case,patient\nsub-1_a,p", None, "not of 2: sub-1_b, sub-2_a"),
        ("name,patient\nsub-1_a,p", None, "columns"),
        (None, {"patient": "(sub-1)_."}, "not of 1: sub-2_a"),
        (None, {"patient": "sub-1"}, "0 groups"),
        (None, {"patient": "(sub"}, "no regular expression"),
        (None, {"hospital": "(.*)"}, "hospital"),
    ],
)
def test_an_incomplete_statement_is_refused(
    tmp_path: Path, table: str | None, document: dict[str, str] | None, says: str
) -> None:
    if table is not None:
        (tmp_path / "groups.csv").write_text(table)
    if document is not None:
        (tmp_path / "dataset.json").write_text(json.dumps({"groups": document}))
    with pytest.raises(InputError, match=says) as caught:
        with_groups(tmp_path, cases())
    assert caught.value.code == "dataset.invalid"
