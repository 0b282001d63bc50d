"""Which cases show one patient and which come from one site: `groups.csv`, or `groups` in `dataset.json`.

`groups.csv` has one line per case under the heads `case`, `patient`, `site` (the last two in any order, one may be
absent), separated by commas, semicolons or tabs. In `dataset.json`, `groups` holds for `patient` and for `site` either
each case's group or a pattern whose one group in parentheses is it:

    "groups": {"patient": "(sub-[0-9]+)_.*", "site": {"sub-01_a": "Basel", "sub-01_b": "Basel"}}
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from segloop.data.layouts import Case
from segloop.errors import InputError

FILE = "groups.csv"
_KINDS = ("patient", "site")


def with_groups(root: Path, cases: Sequence[Case]) -> tuple[Case, ...]:
    """The cases with the patients and sites that the dataset states; those it says nothing of stay as they are.

    Args:
        root: Folder of the dataset.
        cases: Its cases.

    Raises:
        InputError: `dataset.invalid` when the statement cannot be read, or leaves a case out.
    """
    stated = _from_table(root / FILE) if (root / FILE).is_file() else _from_document(root / "dataset.json", cases)
    for kind, groups in stated.items():
        missing = sorted(case.id for case in cases if not groups.get(case.id))
        if missing:
            raise InputError(
                f"{root.name} states the {kind} of its cases, but not of {len(missing)}: {', '.join(missing[:5])}.",
                code="dataset.invalid",
                found=missing[:20],
                expected=f"a {kind} for every case",
                hint=f"Add them to {FILE}, or to `groups` in dataset.json.",
            )
    patients, sites = stated.get("patient", {}), stated.get("site", {})
    return tuple(
        replace(case, patient=patients.get(case.id, case.patient), site=sites.get(case.id, case.site)) for case in cases
    )


def _from_table(path: Path) -> dict[str, dict[str, str]]:
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, ValueError) as fault:
        raise _invalid(f"cannot be read ({type(fault).__name__})", path) from fault
    separator = next((mark for mark in (",", ";", "\t") if lines and mark in lines[0]), ",")
    rows = list(csv.DictReader(lines, delimiter=separator))
    heads = set(rows[0]) if rows else set()
    kinds = [kind for kind in _KINDS if kind in heads]
    if "case" not in heads or not kinds:
        raise _invalid(f"has the columns {sorted(map(str, heads))}", path)
    return {kind: {row["case"].strip(): (row[kind] or "").strip() for row in rows} for kind in kinds}


def _from_document(path: Path, cases: Sequence[Case]) -> dict[str, dict[str, str]]:
    if not path.is_file():
        return {}
    stated: Any = json.loads(path.read_text("utf-8")).get("groups", {})
    if not isinstance(stated, Mapping) or set(stated) - set(_KINDS):
        raise _invalid(f"has `groups` {stated!r}", path)
    return {kind: _groups(kind, value, cases, path) for kind, value in stated.items()}


def _groups(kind: str, stated: Any, cases: Sequence[Case], path: Path) -> dict[str, str]:
    if isinstance(stated, Mapping):
        return {str(case): str(group) for case, group in stated.items()}
    try:
        pattern = re.compile(str(stated))
    except re.error as fault:
        raise _invalid(f"has a pattern for `{kind}` that is no regular expression ({fault})", path) from fault
    if pattern.groups != 1:
        raise _invalid(f"has a pattern for `{kind}` with {pattern.groups} groups in parentheses, not 1", path)
    found = {case.id: pattern.fullmatch(case.id) for case in cases}
    return {case: match[1] for case, match in found.items() if match}


def _invalid(what: str, path: Path) -> InputError:
    return InputError(
        f"{path.parent.name}/{path.name} {what}.",
        code="dataset.invalid",
        found=path.name,
        expected="columns case, patient, site; or `groups` with `patient` and `site`, each a pattern or one per case",
        hint="Write it as docs/reference/dataset.md shows.",
    )
