"""Seconds of whole commands, each a new process: help, and a cold `segloop run`.

    python benchmarks/speed/commands.py

`segloop run` is measured on a hippocampus crop series (a folder of `../shared/data`), after one run that lets `auto`
choose its runtime on this machine. Writes `benchmarks/results/commands.json`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from segloop.infer.machine import cpu_model

ROOT = Path(__file__).resolve().parent.parent.parent
CROP = Path("../shared/data/brain-mr-dicom/Study1/13_HCropVolume")
REPEATS = 5


def main() -> None:
    """Measure and write the result file."""
    with tempfile.TemporaryDirectory() as folder:
        crop = ("run", str(CROP), "--model", "hippocampus-mr", "-o", f"{folder}/out")
        seconds = {
            "help": _seconds(("--help",), REPEATS),
            "run": _seconds(crop, REPEATS),
        }
    rows = [
        ("segloop --help", "segloop --help", "help", "≤ 0.5 s"),
        ("segloop run on a hippocampus crop, cold", "segloop run 处理一个海马裁剪序列（冷启动）", "run", "≤ 8 s"),
    ]
    document = {
        "name": "commands",
        "command": "python benchmarks/speed/commands.py",
        "machine": cpu_model(),
        "seconds": seconds,
        "rows": [
            {"what": what, "what_zh": zh, "value": f"{median(seconds[key]):.2g} s", "bound": bound}
            for what, zh, key, bound in rows
        ],
    }
    path = ROOT / "benchmarks" / "results" / "commands.json"
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")
    for row in document["rows"]:
        print(f"{row['what']}: {row['value']} ({row['bound']})")


def _seconds(words: tuple[str, ...], repeats: int) -> list[float]:
    """Wall seconds of each run but the first, which is a warm-up."""
    found = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "segloop", *words], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        found.append(round(time.perf_counter() - started, 3))
    return found[1:]


if __name__ == "__main__":
    main()
