"""Seconds from the last C-STORE to the result at its destination, less quiet time and network time, worker warm.

    python benchmarks/speed/service_overhead.py

A hippocampus crop series (a folder of `../shared/data`) is sent under new UIDs each time to a running service, whose
destination is an archive in this process. Writes `benchmarks/results/service-overhead.json`.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from pydicom import dcmread
from pydicom.uid import generate_uid

from segloop.infer.machine import cpu_model
from segloop.service import Address, Archive, send, start
from segloop.settings import Settings

ROOT = Path(__file__).resolve().parent.parent.parent
CROP = ROOT.parent / "shared" / "data" / "brain-mr-dicom" / "Study1" / "13_HCropVolume"
MODEL, REPEATS, QUIET_SECONDS, OBJECTS = "hippocampus-mr", 8, 1.0, 4
BOUND = "≤ 3 s"


def main() -> None:
    """Measure and write the result file."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        archive = Archive(folder / "archive")
        service = start(_settings(folder, archive))
        try:
            service.wait_ready()
            node = Address(aet="SEGLOOP", host="127.0.0.1", port=service.ports.dicom)
            # The first study also loads what is loaded once; it is not counted.
            found = [_one(folder / str(turn), node, service.settings.data_dir, archive) for turn in range(REPEATS + 1)][
                1:
            ]
        finally:
            service.stop()
            archive.stop()
    overhead = [round(turn["overhead"], 3) for turn in found]
    document = {
        "name": "service-overhead",
        "command": "python benchmarks/speed/service_overhead.py",
        "machine": cpu_model(),
        "overhead_seconds": overhead,
        "steps": found,
        "rows": [
            {
                "what": "service overhead: last C-STORE to result in the destination, less quiet and network time",
                "what_zh": "服务开销：最后一次 C-STORE 到结果送达，扣除静默与网络推理时间",
                "value": f"{median(overhead):.2g} s",
                "bound": BOUND,
            }
        ],
    }
    path = ROOT / "benchmarks" / "results" / "service-overhead.json"
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")
    for row in document["rows"]:
        print(f"{row['what']}: {row['value']} ({row['bound']}), each {overhead}")


def _settings(folder: Path, archive: Archive) -> Settings:
    goal = {"name": "archive", "kind": "dicom", "aet": archive.aet, "port": archive.port}
    return Settings.parse(
        {
            "data_dir": str(folder / "data"),
            "node": {"port": 0},
            "web": {"port": 0},
            "study": {"quiet_seconds": QUIET_SECONDS},
            "models": {"warm": [MODEL]},
            "destination": [goal],
            "rule": [{"model": MODEL}],
        }
    )


def _one(folder: Path, node: Address, data: Path, archive: Archive) -> dict[str, Any]:
    files = _renamed(folder)
    there, done = len(archive.files()), set(data.glob("jobs/*/out/result.json"))
    send(files, node, "BENCH")
    started = time.perf_counter()
    while len(archive.files()) < there + OBJECTS:
        if time.perf_counter() - started > 120:
            raise TimeoutError("no result within two minutes")
        time.sleep(0.005)
    total = time.perf_counter() - started
    (path,) = set(data.glob("jobs/*/out/result.json")) - done
    seconds = json.loads(path.read_text("utf-8"))["seconds"]
    return {"total": total, "overhead": total - QUIET_SECONDS - seconds["network"], "of_the_study": seconds}


def _renamed(folder: Path) -> list[Path]:
    folder.mkdir()
    study, series = generate_uid(), generate_uid()
    files = []
    for number, source in enumerate(sorted(CROP.glob("*.dcm"))):
        dataset = dcmread(source)
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID = study, series, generate_uid()
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        files.append(folder / f"{number}.dcm")
        dataset.save_as(files[-1])
    return files


if __name__ == "__main__":
    main()
