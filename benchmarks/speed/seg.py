"""The DICOM SEG of a CT of 512×512×400 with five labels: seconds to write it, seconds to compare it, and memory.

    python benchmarks/speed/seg.py

The series is made by this script. Each turn is a process of its own that builds the mask, loads the libraries, and then
writes one SEG; only the writing is timed, from the mask in memory to the file on disk, and after it the comparison of
the file with mask and source that the product makes before anything is sent. The peak is that of the whole process: the
interpreter, the libraries, the mask (105 MB) and everything that writing takes; the image's voxels are not loaded,
since the writer does not need them. Writes `benchmarks/results/seg.json`, unless another load kept the processors busy.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from segloop.infer.machine import cpu_model

HERE = Path(__file__).resolve().parent
SIDE, SLICES = 512, 400
SECONDS, MEGABYTES = 5.0, 1000.0
# The one process at work; more waiting ones than this are somebody else's.
_MOST_LOAD = 1.5


def main() -> None:
    """Measure, print, and write the result where the machine was quiet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {}
    load = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_series(folder)
        for _ in range(options.turns):
            for form in ("binary", "labelmap"):
                load.append(os.getloadavg()[0])
                command = [sys.executable, str(HERE / "_write_seg.py"), form, str(folder)]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                found.setdefault(form, []).append(json.loads(done.stdout))
    for form, turns in found.items():
        for what in (
            "write_s",
            "write_cpu_s",
            "compare_s",
            "compare_cpu_s",
            "peak_mb",
            "before_mb",
            "frames",
            "file_mb",
        ):
            print(f"{form} {what}: {median(turn[what] for turn in turns):.2f}, each {[turn[what] for turn in turns]}")
    if max(load) > _MOST_LOAD:
        print(f"not written: load {max(load):.1f} during the measurement")
        return
    document = {
        "name": "seg",
        "command": "python benchmarks/speed/seg.py",
        "machine": cpu_model(),
        "turns": found,
        "rows": [_row(found["binary"])],
    }
    path = HERE.parent / "results" / "seg.json"
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _row(turns: list[dict[str, float]]) -> dict[str, str]:
    seconds, peak = median(turn["write_s"] for turn in turns), max(turn["peak_mb"] for turn in turns)
    return {
        "what": "DICOM SEG of 512×512×400 with 5 labels: time, and peak memory of the whole process",
        "what_zh": "512×512×400、5 个标签的 DICOM SEG：用时与整个进程的内存峰值",
        "value": f"{seconds:.1f} s, {peak:.0f} MB",
        "bound": f"≤ {SECONDS:g} s, ≤ {MEGABYTES / 1000:g} GB",
    }


def _write_series(folder: Path) -> None:
    """A CT whose voxels are all zero: what is written about it does not depend on them."""
    for z in range(SLICES):
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, f"2.25.{1000 + z}"
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = "2.25.1", "2.25.2", "2.25.3"
        dataset.PatientID, dataset.PatientName = "P1", "Made^Up"
        dataset.StudyDate, dataset.StudyTime, dataset.Modality = "20260301", "101500", "CT"
        dataset.SeriesNumber, dataset.InstanceNumber = 2, z + 1
        dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [-200, -200, 1.5 * z], [1, 0, 0, 0, 1, 0]
        dataset.PixelSpacing, dataset.SliceThickness = [0.8, 0.8], 1.5
        dataset.Rows = dataset.Columns = SIDE
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
        dataset.PixelData = bytes(2 * SIDE * SIDE)
        dataset.save_as(folder / f"{z:04d}.dcm", enforce_file_format=True)


if __name__ == "__main__":
    main()
