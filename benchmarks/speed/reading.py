"""Reading, checking and rescaling a CT of 512×512×400 from 400 files, beside SimpleITK's series reader and dicom2nifti.

    python benchmarks/speed/reading.py --rival-python PATH/TO/python

The series is made by this script, uncompressed, with headers as long as scanners write them. The interpreter named has
SimpleITK and dicom2nifti (2.6.2 was used); without it SimpleITK is taken from our own environment and dicom2nifti is
left out, and said so. Every reader is a process of its own that reads once before it is measured; then they take turns,
so that other work slows all of them. Each ratio is the median over the turns. All must find the same voxels. Writes
`benchmarks/results/reading.json`, unless another load kept the processors busy while it measured.
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

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from segloop.infer.machine import cpu_model

HERE = Path(__file__).resolve().parent
SIDE, BOUND = 512, 3.0
# Readers that keep a little over one processor busy; more waiting processes than this are somebody else's.
_MOST_LOAD = 2.0


class Reader:
    """One reader in a process of its own."""

    def __init__(self, name: str, python: str, folder: Path) -> None:
        command = [python, str(HERE / "_read_series.py"), name, str(folder)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.name = name

    def read(self) -> tuple[float, int]:
        """Seconds of one reading, and the sum of all voxels."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        seconds, total = self._process.stdout.readline().split()
        return float(seconds), int(total)

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def main() -> None:
    """Measure, print, and write the result where the machine was quiet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rival-python", help="an interpreter that has SimpleITK and dicom2nifti")
    parser.add_argument("--slices", type=int, default=400)
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    rivals = {"simpleitk": options.rival_python or sys.executable}
    if options.rival_python and _has(options.rival_python, "dicom2nifti"):
        rivals["dicom2nifti"] = options.rival_python
    else:
        print("dicom2nifti is left out: name an interpreter that has it with --rival-python")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_series(folder, options.slices)
        readers = [Reader("segloop", sys.executable, folder)]
        readers += [Reader(rival, python, folder) for rival, python in rivals.items()]
        seconds: dict[str, list[float]] = {reader.name: [] for reader in readers}
        sums = {reader.read()[1] for reader in readers}
        if len(sums) != 1:
            raise SystemExit(f"the readers disagree about the voxels: {sums}")
        load = []
        for _ in range(options.turns):
            load.append(os.getloadavg()[0])
            for reader in readers:
                seconds[reader.name].append(reader.read()[0])
        for reader in readers:
            reader.close()
    ratios = {
        rival: median(theirs / ours for theirs, ours in zip(seconds[rival], seconds["segloop"], strict=True))
        for rival in rivals
    }
    for name_, each in seconds.items():
        print(f"{name_}: {median(each):.2f} s, each {[round(s, 2) for s in each]}")
    for rival, ratio in ratios.items():
        print(f"{rival}: {ratio:.1f} times as long as segloop")
    if max(load) > _MOST_LOAD or options.slices != 400:
        print(f"not written: load {max(load):.1f} during the measurement, {options.slices} slices")
        return
    document = {
        "name": "reading",
        "command": "python benchmarks/speed/reading.py --rival-python PYTHON",
        "machine": cpu_model(),
        "seconds": {name_: [round(s, 3) for s in each] for name_, each in seconds.items()},
        "rows": [_row(rival, ratio, median(seconds["segloop"])) for rival, ratio in ratios.items()],
    }
    path = HERE.parent / "results" / "reading.json"
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _row(rival: str, ratio: float, ours: float) -> dict[str, str]:
    named = {"simpleitk": "SimpleITK series reader", "dicom2nifti": "dicom2nifti"}[rival]
    named_zh = {"simpleitk": "SimpleITK 序列读取器", "dicom2nifti": "dicom2nifti"}[rival]
    return {
        "what": f"reading, checking and rescaling a CT of 512×512×400: time of {named} over ours",
        "what_zh": f"读取、检查并换算 512×512×400 CT：{named_zh} 用时与本软件之比",
        "value": f"{ratio:.1f} (ours {ours:.2f} s)",
        "bound": f"≥ {BOUND:g}",
    }


def _has(python: str, module: str) -> bool:
    return subprocess.run([python, "-c", f"import {module}"], check=False, capture_output=True).returncode == 0


def write_series(folder: Path, slices: int) -> None:
    """A CT of noise, each slice another; 150 further elements stand for what scanners write."""
    noise = np.random.default_rng(0).integers(0, 3000, (SIDE, SIDE)).astype("<u2")
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    for z in range(slices):
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, generate_uid()
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = study, series, frame
        dataset.PatientID, dataset.PatientName = "P1", "Made^Up"
        dataset.StudyDate, dataset.StudyTime, dataset.Modality = "20260301", "101500", "CT"
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        dataset.SeriesNumber, dataset.InstanceNumber = 2, z + 1
        dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [-200, -200, z], [1, 0, 0, 0, 1, 0]
        dataset.PixelSpacing, dataset.SliceThickness = [0.8, 0.8], 1
        dataset.Rows = dataset.Columns = SIDE
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
        block = dataset.private_block(0x0021, "MADE UP", create=True)
        for element in range(150):
            block.add_new(element, "LO", f"value {element} of slice {z}")
        dataset.PixelData = np.roll(noise, 7 * z, axis=1).tobytes()
        dataset.save_as(folder / f"{z:04d}.dcm", enforce_file_format=True)


if __name__ == "__main__":
    main()
