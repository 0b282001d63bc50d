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
from segloop.plan import Frozen, ReadingSpec, UnevenSlices
from segloop.report.signature import Reference
from segloop.store import READABLE, write_whole

Record = TypeVar("Record", bound=Frozen)


class Asked(Frozen):
    """What shapes the results of a study besides its images and the model.

    Attributes:
        runtime: `auto`, `tensorflow` or `openvino`.
        language: Of the report.
        paper: Of the report.
        uneven_slices: Whether a series with slices at varying distances is refused, or resampled with a warning.
        rtstruct: Whether an RTSTRUCT is written beside the SEG.
        seg: Form of the SEG: a frame of bits per label and slice, or one label map per slice.
        explain: Number of a label whose Seg-Grad-CAM the report shows; None for none. Needs TensorFlow.
        priors: Study keys of the earlier results that it is set beside, in any order.
        revision: Tells a result from an earlier one of the same images that was withdrawn; empty where there is none.
    """

    runtime: Literal["auto", "tensorflow", "openvino"] = "auto"
    language: Literal["en", "zh-CN"] = "en"
    paper: Literal["a4", "letter"] = "a4"
    uneven_slices: UnevenSlices = "refuse"
    rtstruct: bool = False
    seg: Literal["binary", "labelmap"] = "binary"
    explain: int | None = None
    priors: tuple[str, ...] = ()
    revision: str = ""

    @property
    def settings_digest(self) -> str:
        """SHA-256 of all of it."""
        asked: list[object] = [] if self.explain is None else [self.explain]
        if self.uneven_slices != "refuse":
            asked.append(self.uneven_slices)
        if self.rtstruct:
            asked.append("rtstruct")
        if self.seg != "binary":
            asked.append(self.seg)
        if self.priors:
            asked.append(["priors", *sorted(self.priors)])
        if self.revision:
            asked.append(f"revision {self.revision}")
        text = json.dumps([self.language, self.paper, self.runtime, *asked])
        return hashlib.sha256(text.encode()).hexdigest()


class ObjectForm(Frozen):
    """How some destinations want the DICOM objects of a result.

    Attributes:
        seg: Form of the SEG.
        rtstruct: Whether an RTSTRUCT is written beside it.
    """

    seg: Literal["binary", "labelmap"] = "binary"
    rtstruct: bool = False

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"{self.seg}-rtstruct" if self.rtstruct else self.seg


class StudyTask(Asked):
    """One study to be processed.

    Attributes:
        source: Folder, zip or file that holds the study.
        out: Folder the results go to.
        model: A bundle's folder, or `NAME[@stage|@version]`.
        series_uid: The series to take; None lets the model's rule choose.
        files: Names below `source` that belong to this version of the study; empty means all. The service sets it, so
            that a slice that arrives during the work cannot slip into it.
        registry: Folder of the model registry; None knows the shipped models only.
        prior_folders: Where the results lie whose keys are `priors`.
        predecessors: Documents that the result takes the place of.
        mask_from: Folder of a result whose mask is taken if it was made from the same images by the same model in the
            same way; else, and with None, the network runs. The mask is the same either way.
        forms: Further forms of the objects, for destinations that want them otherwise; not part of the result's key.
    """

    source: Path
    out: Path
    model: str
    series_uid: str | None = None
    files: tuple[str, ...] = ()
    registry: Path | None = None
    prior_folders: tuple[Path, ...] = ()
    predecessors: tuple[Reference, ...] = ()
    mask_from: Path | None = None
    forms: tuple[ObjectForm, ...] = ()

    @property
    def asked(self) -> Asked:
        """The part that shapes the results, without the places of this machine."""
        return Asked.model_validate(self.model_dump(include=set(Asked.model_fields)))


class RefusedSeries(Frozen):
    """A series that was not taken, and why."""

    series_uid: str
    title: str
    reasons: tuple[str, ...]


class SelectionRecord(Frozen):
    """What the select step found: the one series, what makes this version of it, and the others with reasons.

    `asked` and `reading` are kept so that the result can be signed later without the task and the model.
    """

    key: str
    study_uid: str
    series_uid: str
    title: str
    files: tuple[str, ...]
    refused: tuple[RefusedSeries, ...]
    created: str
    bundle_digest: str
    asked: Asked = Asked()
    reading: ReadingSpec = ReadingSpec()


class InferenceRecord(Frozen):
    """What the infer step did; the mask itself is `labels.nii.gz`, with the SHA-256 `labels_digest`."""

    runtime: str
    precision: str
    choice: str
    seconds: dict[str, float]
    warnings: tuple[str, ...]
    peak_rss_mb: float
    labels_digest: str = ""


def study_key(instances: Sequence[tuple[str, str]], bundle_digest: str, settings_digest: str) -> str:
    """Hex SHA-256 that changes with any slice, the model or the settings, and with nothing else.

    Args:
        instances: SOP instance UID and SHA-256 of the file, in any order.
        bundle_digest: The bundle's digest.
        settings_digest: `StudyTask.settings_digest`.
    """
    text = json.dumps([sorted([list(pair) for pair in instances]), bundle_digest, settings_digest])
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: Path) -> str:
    """Hex SHA-256 of a file.

    Raises:
        InputError: It cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as fault:
        raise InputError(f"{path.name} cannot be read ({fault.strerror}).") from fault


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
