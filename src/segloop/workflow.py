"""One study, start to report: the whole of segloop on one page.

    select    scan -> select             which one series is meant, and why not the others
    infer     read_series -> Segmenter   voxels in HU with geometry, no identity from here on; a mask on the source grid
    findings  measure_labels -> collect  millilitres and millimetres
    objects   SEG, SR, PDF, capture      linked to the source series again here, and only here

Each step reads and writes files in the task's folder and may be run again at any time: the same task writes the same
objects, so `service.jobs` runs this very tuple durably and a retry after a crash makes no second result.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field

from segloop import report
from segloop.errors import InputError
from segloop.infer import Bundle, Segmenter
from segloop.io import dicom, files
from segloop.measure import Measurement, measure_labels, with_intervals
from segloop.plan import Frozen
from segloop.registry import Registry
from segloop.store import READABLE, write_whole
from segloop.study import (
    InferenceRecord,
    RefusedSeries,
    SelectionRecord,
    StudyTask,
    file_digest,
    read_record,
    study_key,
    write_record,
)
from segloop.volume import Labels, Volume

LABELS, HEAT, RESULT = "labels.nii.gz", "gradcam.nii.gz", "result.json"


class Step(NamedTuple):
    """A named part of the walk; `run` may be repeated."""

    name: str
    run: Callable[[StudyTask], None]


class ModelUsed(Frozen):
    """Which model made the mask, and on what."""

    name: str
    version: str
    digest: str
    runtime: str
    precision: str


class StudyResult(Frozen):
    """`result.json`: everything a program needs to know of a processed study; `signature` is null in a draft."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    study_uid: str
    series_uid: str
    key: str
    model: ModelUsed
    measurements: tuple[Measurement, ...]
    seconds: dict[str, float]
    peak_rss_mb: float
    warnings: tuple[str, ...]
    refused: tuple[RefusedSeries, ...]
    files: dict[str, str]
    signature: report.Signature | None = None
    follow_up: report.FollowUp | None = None


def process_study(task: StudyTask) -> StudyResult:
    """Run every step in a row.

    Raises:
        SegloopError: What went wrong, with its code; nothing named `result.json` is left then.
    """
    (task.out / RESULT).unlink(missing_ok=True)
    for step in STEPS:
        step.run(task)
    return read_record(StudyResult, task.out / RESULT)


def select(task: StudyTask) -> None:
    """Choose exactly one series by the model's rule, and fix what this version of the study consists of."""
    bundle = Registry(task.registry).load(task.model)
    with dicom.opened(task.source, task.files) as found:
        selection = dicom.select(
            dicom.scan_files(found, uneven=task.uneven_slices), bundle.plan.inputs, task.series_uid
        )
        chosen = selection.chosen
        chosen.require_linkable()
        record = SelectionRecord(
            key=study_key(dicom.digests(chosen), bundle.digest, task.settings_digest),
            study_uid=chosen.study_uid,
            series_uid=chosen.series_uid,
            title=chosen.title,
            files=tuple(file.path.relative_to(found.root).as_posix() for file in chosen.files),
            refused=tuple(
                RefusedSeries(series_uid=r.series.series_uid, title=r.series.title, reasons=r.reasons)
                for r in selection.refused
            ),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            bundle_digest=bundle.digest,
            asked=task.asked,
            reading=bundle.plan.reading,
        )
    task.out.mkdir(parents=True, exist_ok=True)
    path = task.out / "selection.json"
    if path.exists() and read_record(SelectionRecord, path).key == record.key:
        return  # a retry keeps the date of the first try, and with it every byte of the objects
    write_record(record, path)


def infer(task: StudyTask) -> None:
    """Read the voxels and find the labels; nothing in this step knows whose they are."""
    with _chosen(task) as (selection, series):
        if _takes_mask(task, selection, series):
            return
        started = time.perf_counter()
        volume = dicom.read_series(series, Registry(task.registry).load(task.model).plan.reading)
        read = time.perf_counter() - started
    segmenter = segmenter_for(task)
    prediction = segmenter(volume)
    files.write(prediction.labels, task.out / LABELS)
    warnings = (*series.warnings, *prediction.warnings, *_explain(task, segmenter, volume, prediction.labels))
    record = InferenceRecord(
        runtime=prediction.runtime,
        precision=prediction.precision,
        choice=segmenter.choice,
        seconds={"read": read, **prediction.seconds},
        warnings=warnings,
        peak_rss_mb=_peak_rss_mb(),
        labels_digest=file_digest(task.out / LABELS),
    )
    write_record(record, task.out / "inference.json")


def findings(task: StudyTask) -> None:
    """Measure the mask and collect what the reports will say."""
    bundle = Registry(task.registry).load(task.model)
    inference = read_record(InferenceRecord, task.out / "inference.json")
    labels = files.read_labels(task.out / LABELS, bundle.plan.label_names)
    model = report.ModelStamp(
        name=bundle.manifest.name,
        version=bundle.manifest.version,
        digest=bundle.digest,
        runtime=inference.runtime,
        precision=inference.precision,
        intended_use=bundle.manifest.intended_use,
    )
    _require_priors(task)
    with _chosen(task) as (selection, series):
        measured = measure_labels(labels, dicom.read_series(series, bundle.plan.reading), bundle.plan.labels)
        measured = with_intervals(measured, bundle.manifest.intervals)
        created = datetime.fromisoformat(selection.created)
        collected = report.collect(labels, measured, bundle.plan.labels, model, created, inference.warnings)
        collected = report.with_priors(collected, labels, series, selection.key, task.prior_folders)
    write_record(collected.model_copy(update={"predecessors": task.predecessors}), task.out / "findings.json")


def objects(task: StudyTask) -> None:
    """Write every object for PACS and people, compare each with its source, and state the result."""
    started = time.perf_counter()
    found = read_record(report.Findings, task.out / "findings.json")
    inference = read_record(InferenceRecord, task.out / "inference.json")
    labels = files.read_labels(task.out / LABELS, {spec.value: spec.name for spec in found.labels})
    with _chosen(task) as (selection, series):
        written = report.write_all(
            found,
            labels,
            dicom.read_series(series, Registry(task.registry).load(task.model).plan.reading),
            series,
            selection.key,
            task.out,
            language=task.language,
            paper=task.paper,
            heat=_heat(task),
            rtstruct=task.rtstruct,
            seg=task.seg,
        )
    model = found.model
    seconds = {**inference.seconds, "report": time.perf_counter() - started}
    result = StudyResult(
        study_uid=selection.study_uid,
        series_uid=selection.series_uid,
        key=selection.key,
        model=ModelUsed(
            name=model.name,
            version=model.version,
            digest=model.digest,
            runtime=model.runtime,
            precision=model.precision,
        ),
        measurements=found.measurements,
        seconds={**seconds, "total": sum(seconds.values())},
        peak_rss_mb=max(_peak_rss_mb(), inference.peak_rss_mb),
        warnings=found.warnings,
        refused=selection.refused,
        follow_up=found.follow_up,
        files={"labels": LABELS, **written},
    )
    write_record(result, task.out / RESULT)


STEPS: tuple[Step, ...] = (
    Step("select", select),
    Step("infer", infer),
    Step("findings", findings),
    Step("objects", objects),
)
"""The walk. Delivery to each destination follows in the service, one durable step per destination."""


def _takes_mask(task: StudyTask, selection: SelectionRecord, series: dicom.SeriesRef) -> bool:
    """Take the mask of another result, if that is what the network would find again; returns whether it was taken."""
    if task.mask_from is None or task.explain is not None or not (task.mask_from / "inference.json").exists():
        return False
    theirs = read_record(SelectionRecord, task.mask_from / "selection.json")
    record = read_record(InferenceRecord, task.mask_from / "inference.json")
    beside = {"priors": (), "revision": ""}
    same = (
        theirs.asked.model_copy(update=beside) == task.asked.model_copy(update=beside)
        and study_key(dicom.digests(series), selection.bundle_digest, theirs.asked.settings_digest) == theirs.key
        and file_digest(task.mask_from / LABELS) == record.labels_digest
    )
    if same:
        write_whole((task.mask_from / LABELS).read_bytes(), task.out / LABELS, READABLE)
        write_record(record, task.out / "inference.json")
    return same


def _explain(task: StudyTask, segmenter: Segmenter, volume: Volume, labels: Labels) -> tuple[str, ...]:
    """Write the Seg-Grad-CAM that the task asks for; returns the warning where there is nothing to explain."""
    (task.out / HEAT).unlink(missing_ok=True)
    if task.explain is None:
        return ()
    if not (labels.array == task.explain).any():
        return (report.NOT_EXPLAINED,)
    from segloop.infer.explain import Explainer

    files.write(Explainer(segmenter.bundle)(volume, task.explain, labels.only(task.explain)).heat, task.out / HEAT)
    return ()


def _heat(task: StudyTask) -> tuple[int, Volume] | None:
    """The label that was explained, and its map."""
    path = task.out / HEAT
    return (task.explain, files.read(path)) if task.explain is not None and path.exists() else None


def segmenter_for(task: StudyTask) -> Segmenter:
    """The task's model, opened once per process and bundle."""
    bundle = Registry(task.registry).load(task.model)
    return _segmenter(bundle.path, bundle.digest, task.runtime)


@lru_cache(maxsize=4)
def _segmenter(bundle: Path, digest: str, runtime: str) -> Segmenter:
    return Segmenter(Bundle(bundle), runtime)


@contextmanager
def _chosen(task: StudyTask) -> Iterator[tuple[SelectionRecord, dicom.SeriesRef]]:
    """The series that `select` fixed, checked to be byte for byte the same."""
    selection = read_record(SelectionRecord, task.out / "selection.json")
    with dicom.opened(task.source, selection.files) as found:
        (series,) = dicom.scan_files(found, uneven=task.uneven_slices)
        if study_key(dicom.digests(series), selection.bundle_digest, task.settings_digest) != selection.key:
            raise InputError(
                "The study's files, the model or the settings changed while the study was being processed.",
                hint="Run the study again from its first step.",
            )
        yield selection, series


def _require_priors(task: StudyTask) -> None:
    """Check that the earlier results are those that the study's key was made with."""
    if sorted(report.prior_key(folder) for folder in task.prior_folders) != sorted(task.priors):
        raise InputError(
            "The earlier results are not those that the study was to be set beside.",
            code="input.prior",
            hint="Run the study again from its first step.",
        )


def _peak_rss_mb() -> float:
    """Largest resident memory of this process so far, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
