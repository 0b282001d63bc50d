"""Results of one patient at several dates, small and exactly known: for the tests of the follow-up."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom

from results import CREATED, MODEL, SPECS, write_series
from segloop.io import files
from segloop.io.dicom import SeriesRef, read_series
from segloop.measure import VolumeInterval, measure_labels, with_intervals
from segloop.plan import LabelSpec
from segloop.report import Findings, ModelStamp, collect, derive_uid, with_priors, write_seg, write_sr
from segloop.volume import Labels, Volume

SHAPE, SPACING = (12, 48, 48), (2.0, 1.0, 1.0)
FRAME = derive_uid("follow-up", "frame")
ORGAN = np.s_[1:11, 4:44, 4:44]
Box = tuple[slice, slice, slice]

SMALL: Box = np.s_[3:6, 8:14, 8:14]
LARGE: Box = np.s_[3:8, 24:36, 24:36]
THIRD: Box = np.s_[7:10, 8:20, 30:42]
OTHER_MODEL = MODEL.model_copy(update={"version": "2.0", "digest": "sha256:" + "ab" * 32})


@dataclass(frozen=True)
class Kept:
    """One result in its folder."""

    folder: Path
    series: SeriesRef
    volume: Volume
    labels: Labels
    findings: Findings

    @property
    def tracked(self) -> dict[str, str]:
        """Tracking identifier to UID, as the structured report has them."""
        return dict(_tracked(pydicom.dcmread(self.folder / "sr.dcm")))

    @property
    def time_points(self) -> set[str]:
        """Time points that the structured report states."""
        return set(_time_points(pydicom.dcmread(self.folder / "sr.dcm")))


def keep(
    folder: Path,
    study_date: str,
    *lesions: Box,
    priors: tuple[Path, ...] = (),
    model: ModelStamp = MODEL,
    specs: tuple[LabelSpec, ...] = SPECS,
    organ: Box | None = ORGAN,
    intervals: tuple[VolumeInterval, ...] = (),
    **changes: object,
) -> Kept:
    """Write a result as `segloop run` leaves it: an organ (label 1) with lesions (label 4)."""
    stated = {"StudyDate": study_date, "FrameOfReferenceUID": FRAME, **changes}
    series = write_series(folder.parent / f"{folder.name}-images", shape=SHAPE, spacing_mm=SPACING, changes=stated)
    folder.mkdir(parents=True)
    volume = read_series(series)
    array = np.zeros(SHAPE, np.uint8)
    if organ is not None:
        array[organ] = 1
    for box in lesions:
        array[box] = 4
    labels = Labels(array, volume.geometry, {spec.value: spec.name for spec in specs})
    measured = with_intervals(measure_labels(labels, volume, specs), intervals)
    key = f"{folder.name}-key"
    findings = with_priors(collect(labels, measured, specs, model, CREATED), labels, series, key, priors)
    files.write(labels, folder / "labels.nii.gz")
    seg_uid = derive_uid(key, "seg") if findings.present else None
    if seg_uid:
        write_seg(labels, series, findings, seg_uid, folder / "seg.dcm")
    write_sr(labels, series, findings, derive_uid(key, "sr"), folder / "sr.dcm", seg_uid=seg_uid)
    (folder / "findings.json").write_text(findings.model_dump_json(by_alias=True), "utf-8")
    result = {"schema": 1, "key": key, "study_uid": series.study_uid, "series_uid": series.series_uid}
    (folder / "result.json").write_text(json.dumps(result), "utf-8")
    return Kept(folder, series, volume, labels, findings)


def _walk(item: pydicom.Dataset):  # type: ignore[no-untyped-def]
    yield item
    for child in item.get("ContentSequence") or ():
        yield from _walk(child)


def _named(item: pydicom.Dataset, code: str) -> list[pydicom.Dataset]:
    children = item.get("ContentSequence") or ()
    return [child for child in children if child.ConceptNameCodeSequence[0].CodeValue == code]


def _tracked(report: pydicom.Dataset):  # type: ignore[no-untyped-def]
    for item in _walk(report):
        for name, uid in zip(_named(item, "112039"), _named(item, "112040"), strict=True):
            yield str(name.TextValue), str(uid.UID)


def _time_points(report: pydicom.Dataset):  # type: ignore[no-untyped-def]
    for item in _walk(report):
        for point in _named(item, "C2348792"):
            yield str(point.TextValue)
