"""How long de-identifying a CT slice takes, search of its bytes included, against pydicom's own read and write.

    python benchmarks/speed/deidentify.py [SLICE.dcm]

Both take turns within one run, so that a busy machine slows both. Writes `benchmarks/results/deidentify.json`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from pydicom import dcmread

from segloop.infer.machine import cpu_model
from segloop.io import deid

ROOT = Path(__file__).resolve().parent.parent.parent
SLICE = ROOT.parent / "shared" / "data" / "dicom-seg-sr" / "dcmqi-liver" / "ct" / "03.dcm"
BOUND = 2.5
KEY = b"k" * 32


def main() -> None:
    """Measure and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slice", nargs="?", type=Path, default=SLICE)
    parser.add_argument("--repeats", type=int, default=200)
    options = parser.parse_args()
    profiles = {
        "Basic Profile": deid.BASIC,
        "with retained and cleaned": deid.Profile.of(["longitudinal", "device", "patient"], ["descriptors"]),
    }
    plain, ours = list[float](), {name: list[float]() for name in profiles}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.repeats):
            out = Path(folder) / str(number)
            out.mkdir()
            plain.append(_seconds(lambda to=out: dcmread(options.slice).save_as(to / "plain.dcm")))
            for name, profile in profiles.items():
                to = out / name
                ours[name].append(_seconds(lambda p=profile, to=to: deid.pseudonymise([options.slice], to, KEY, p)))
    size = options.slice.stat().st_size
    ratios = {name: median(a / b for a, b in zip(times, plain, strict=True)) for name, times in ours.items()}
    document = {
        "name": "deidentify",
        "command": "python benchmarks/speed/deidentify.py",
        "machine": cpu_model(),
        "bytes": size,
        "pydicom_milliseconds": round(1000 * median(plain), 2),
        "milliseconds": {name: round(1000 * median(times), 2) for name, times in ours.items()},
        "rows": [
            {
                "what": f"De-identification of a CT slice ÷ pydicom's read and write, {name}",
                "what_zh": f"一张 CT 切片的去标识化 ÷ pydicom 读写，{_CHINESE[name]}",
                "value": f"{ratio:.2f}",
                "bound": f"≤ {BOUND}",
            }
            for name, ratio in ratios.items()
        ],
    }
    path = ROOT / "benchmarks" / "results" / "deidentify.json"
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")
    for row in document["rows"]:
        print(f"{row['what']}: {row['value']} (bound {row['bound']})")


_CHINESE = {"Basic Profile": "基本规范", "with retained and cleaned": "含保留与清理选项"}


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
