"""The memory that reading a CT of 512×512×800 takes beside the volume itself: it must not be held twice.

    python benchmarks/speed/reading_memory.py

The series is made by this script, once uncompressed and once in JPEG-LS. Each is read in a process of its own, whose
largest resident memory is taken before and after. Writes `benchmarks/results/reading-memory.json`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import JPEGLSLossless
from reading import SIDE, write_series

from segloop.infer.machine import cpu_model

SLICES, BOUND = 800, 2.0
READ = """
import resource, sys
from pathlib import Path
from segloop.io import dicom
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
(series,) = dicom.scan(Path(sys.argv[1]))
before = peak()
volume = dicom.read_series(series)
print(before, peak(), volume.array.nbytes, volume.array.dtype, *volume.array.shape)
"""


def measured(folder: Path) -> dict[str, float | str]:
    """What reading the series in a fresh process takes."""
    command = [sys.executable, "-c", READ, str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    before, after, size = map(int, done[:3])
    assert done[4:] == [str(SLICES), str(SIDE), str(SIDE)]
    found = {"volume_mb": size / 1e6, "before_mb": before / 1e6, "peak_mb": after / 1e6, "type": done[3]}
    return {**found, "share": (after - before) / size}


def main() -> None:
    """Measure and write the result."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_series(folder, SLICES)
        found = {"uncompressed": measured(folder)}
        for path in folder.iterdir():
            dataset = dcmread(path)
            dataset.compress(JPEGLSLossless, generate_instance_uid=False)
            dataset.save_as(path)
        found["JPEG-LS"] = measured(folder)
    for kind, values in found.items():
        print(kind, values)
    document = {
        "name": "reading-memory",
        "command": "python benchmarks/speed/reading_memory.py",
        "machine": cpu_model(),
        "found": found,
        "rows": [
            {
                "what": f"memory to read a CT of 512×512×800 ({kind}), the volume itself included, over its size",
                "what_zh": f"读取 512×512×800 CT（{zh}）所需内存（含体数据本身）与体数据大小之比",
                "value": f"{found[kind]['share']:.2f}",
                "bound": f"< {BOUND:g}",
            }
            for kind, zh in (("uncompressed", "未压缩"), ("JPEG-LS", "JPEG-LS"))
        ],
    }
    path = Path(__file__).resolve().parent.parent / "results" / "reading-memory.json"
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
