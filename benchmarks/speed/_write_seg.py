"""Writes one DICOM SEG of five organs and prints seconds and memory. Run by seg.py: `_write_seg.py FORM FOLDER`."""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import highdicom  # noqa: F401 - loaded before the clock runs: a service loads it once
import numpy as np
import pydicom

from segloop.io import dicom
from segloop.plan import Code, LabelSpec
from segloop.report import ModelStamp, collect, verify_against_source, verify_content, write_seg
from segloop.report.dicom.seg import SEGMENTATION
from segloop.volume import Labels

# Middle and half-axes in slices, rows and columns: a body, three organs in it, and a small one that is cut off.
_ORGANS = (
    ((200, 250, 256), (200, 150, 180)),
    ((220, 220, 150), (90, 90, 80)),
    ((150, 300, 350), (60, 40, 35)),
    ((150, 300, 160), (60, 40, 35)),
    ((380, 200, 300), (40, 30, 30)),
)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def _mask(shape: tuple[int, int, int]) -> np.ndarray:
    """The organs, slice by slice, so that building them leaves no peak behind."""
    array = np.zeros(shape, np.uint8)
    y, x = np.ogrid[: shape[1], : shape[2]]
    for value, (middle, half) in enumerate(_ORGANS, start=1):
        across = ((y - middle[1]) / half[1]) ** 2 + ((x - middle[2]) / half[2]) ** 2
        for z in range(shape[0]):
            array[z][across < 1 - ((z - middle[0]) / half[0]) ** 2] = value
    return array


def main() -> None:
    """Write, compare, and say what it took."""
    form = next(known for known in SEGMENTATION if known == sys.argv[1])
    (series,) = dicom.scan(Path(sys.argv[2]))
    assert series.geometry is not None
    structure = Code(value="123037004", meaning="Body structure")
    specs = [LabelSpec(value=n, name=f"organ {n}", code=structure, category=structure) for n in range(1, 6)]
    labels = Labels(_mask(series.geometry.shape), series.geometry, {spec.value: spec.name for spec in specs})
    model = ModelStamp(name="benchmark", version="1", digest="sha256:" + "0" * 64)
    findings = collect(labels, (), specs, model, datetime.now(UTC))
    before = _peak_mb()
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "seg.dcm"
        started, worked = time.perf_counter(), time.process_time()
        write_seg(labels, series, findings, "2.25.9", path, form=form)
        written, written_cpu = time.perf_counter(), time.process_time()
        peak = _peak_mb()
        verify_against_source([path], series)
        verify_content([path], labels, series, findings)
        compared, compared_cpu = time.perf_counter(), time.process_time()
        told = {
            "write_s": round(written - started, 3),
            "write_cpu_s": round(written_cpu - worked, 3),
            "compare_s": round(compared - written, 3),
            "compare_cpu_s": round(compared_cpu - written_cpu, 3),
            "before_mb": round(before, 1),
            "peak_mb": round(peak, 1),
            "peak_with_comparison_mb": round(_peak_mb(), 1),
            "frames": int(pydicom.dcmread(path, stop_before_pixels=True).NumberOfFrames),
            "file_mb": round(path.stat().st_size / 1e6, 1),
        }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
