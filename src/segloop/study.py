"""One study's walk on paper: what was asked, and what each step wrote for the next.

The records hold UIDs, numbers and file names; a patient's name, id or birth date never stands in one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import ValidationError

from segloop.errors import InputError
from segloop.plan import Frozen, UnevenSlices
from segloop.store import READABLE, write_whole

Record = TypeVar("Record", bound=Frozen)


class StudyTask(Frozen):
    """One study to be processed.

    Attributes:
        source: Folder, zip or file that holds the study.
        out: Folder the results go to.
        model: A bundle's folder, or `NAME[@stage|@version]`.
        series_uid: The series to take; None lets the model's rule choose.
        files: Names below `source` that belong to this version of the study; empty means all. The service sets it, so
            that a slice that arrives during the work cannot slip into it.
        registry: Folder of the model registry; None knows the shipped models only.
        runtime: `auto`, `tensorflow` or `openvino`.
        language: Of the report.
        paper: Of the report.
        uneven_slices: Whether a series with slices at varying distances is refused, or resampled with a warning.
        rtstruct: Whether an RTSTRUCT is written beside the SEG.
        explain: Number of a label whose Seg-Grad-CAM the report shows; None for none. Needs TensorFlow.
    """

    source: Path
    out: Path
    model: str
    series_uid: str | None = None
    files: tuple[str, ...] = ()
    registry: Path | None = None
    runtime: Literal["auto", "tensorflow", "openvino"] = "auto"
    language: Literal["en", "zh-CN"] = "en"
    paper: Literal["a4", "letter"] = "a4"
    uneven_slices: UnevenSlices = "refuse"
    rtstruct: bool = False
    explain: int | None = None

    @property
    def settings_digest(self) -> str:
        """SHA-256 of what shapes the results besides the images and the model."""
        asked: list[object] = [] if self.explain is None else [self.explain]
        if self.uneven_slices != "refuse":
            asked.append(self.uneven_slices)
        if self.rtstruct:
            asked.append("rtstruct")
        text = json.dumps([self.language, self.paper, self.runtime, *asked])
        return hashlib.sha256(text.encode()).hexdigest()


class RefusedSeries(Frozen):
    """A series that was not taken, and why."""

    series_uid: str
    title: str
    reasons: tuple[str, ...]


class SelectionRecord(Frozen):
    """What the select step found: the one series, what makes this version of it, and the others with reasons."""

    key: str
    study_uid: str
    series_uid: str
    title: str
    files: tuple[str, ...]
    refused: tuple[RefusedSeries, ...]
    created: str
    bundle_digest: str


class InferenceRecord(Frozen):
    """What the infer step did; the mask itself is `labels.nii.gz`."""

    runtime: str
    precision: str
    choice: str
    seconds: dict[str, float]
    warnings: tuple[str, ...]
    peak_rss_mb: float


def study_key(instances: Sequence[tuple[str, str]], bundle_digest: str, settings_digest: str) -> str:
    """Hex SHA-256 that changes with any slice, the model or the settings, and with nothing else.

    Args:
        instances: SOP instance UID and SHA-256 of the file, in any order.
        bundle_digest: The bundle's digest.
        settings_digest: `StudyTask.settings_digest`.
    """
    text = json.dumps([sorted([list(pair) for pair in instances]), bundle_digest, settings_digest])
    return hashlib.sha256(text.encode()).hexdigest()


def write_record(record: Frozen, path: Path) -> None:
    """The record as JSON, whole or not at all, on disk when this returns.

    Raises:
        ServiceError: `disk.full`.
    """
    write_whole(record.model_dump_json(indent=2, by_alias=True).encode() + b"\n", path, READABLE)


def read_record(kind: type[Record], path: Path) -> Record:
    """The record a former step wrote.

    Raises:
        InputError: The file is absent or is not such a record.
    """
    try:
        document: Any = json.loads(path.read_text("utf-8"))
        return kind.model_validate(document)
    except (OSError, ValueError, ValidationError) as fault:
        raise InputError(
            f"{path.name} is not the record the step before writes ({type(fault).__name__}); run the study again.",
            hint="Run the study again from its first step.",
        ) from fault
