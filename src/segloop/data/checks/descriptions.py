"""What describes the corrected copy: `dataset.json`, `splits_final.json`, `groups.csv`, without what was left out."""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from segloop.data.checks.patients import suspects
from segloop.data.checks.survey import Survey
from segloop.io import files


def corrected_document(survey: Survey, left_out: Collection[str]) -> bytes | None:
    """`dataset.json` with each case of the copy once, as the disk spells it, and their number; None where it is right.

    Args:
        survey: The dataset.
        left_out: Ids that the copy lacks.
    """
    document: dict[str, Any] = dict(survey.document)
    kept = [entry for entry in survey.entries if entry.id not in left_out]
    if survey.listed:
        document["training"] = _listing(document["training"], {entry.id for entry in kept}, survey.root)
    if isinstance(document.get("numTraining"), int):
        document["numTraining"] = len(document["training"]) if survey.listed else len(kept)
    return None if document == survey.document else _json(document)


def _listing(listing: list[Any], kept: Collection[str], root: Path) -> list[Any]:
    seen, entries = set[str](), list[Any]()
    for item in listing:
        if not isinstance(item, dict) or "label" not in item:
            entries.append(item)
            continue
        spelled = {key: _spelled(root, value) if isinstance(value, str) else value for key, value in item.items()}
        case = files.stem(Path(spelled["label"]))
        if case in kept and case not in seen:
            entries.append(spelled)
        seen.add(case)
    return entries


def _spelled(root: Path, text: str) -> str:
    path = root / text
    if path.exists() or not path.parent.is_dir():
        return text
    wanted = unicodedata.normalize("NFC", path.name)
    found = next((p.name for p in path.parent.iterdir() if unicodedata.normalize("NFC", p.name) == wanted), None)
    return text if found is None else text.removesuffix(path.name) + found


def corrected_splits(content: bytes, left_out: Collection[str]) -> bytes:
    """`splits_final.json` without the cases that the copy lacks; as it is where it cannot be understood."""
    try:
        parts = json.loads(content)
        kept = [{side: [case for case in ids if case not in left_out] for side, ids in part.items()} for part in parts]
    except (ValueError, TypeError, AttributeError):
        return content
    return content if kept == parts else _json(kept)


def groups_table(survey: Survey) -> bytes:
    """`groups.csv` that names one patient for all cases which are certainly of one."""
    patients = {entry.id: entry.patient for entry in survey.entries}
    for certain, groups in suspects(survey):
        if certain:
            patients |= {case: who for who, cases in groups.items() for case in cases}
    sites: Mapping[str, str] = {entry.id: entry.site for entry in survey.entries if entry.site}
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["case", "patient", *(["site"] if sites else [])])
    for case, patient in patients.items():
        writer.writerow([case, patient, *([sites.get(case, "")] if sites else [])])
    return stream.getvalue().encode()


def _json(document: object) -> bytes:
    return (json.dumps(document, ensure_ascii=False, indent=1) + "\n").encode()
