"""How fast a bundle runs: cold and warm, on each runtime, as ratios within one run.

    python benchmarks/speed/inference.py --model hippocampus-mr

Each repeat takes the runtimes in turn, so that a busy machine slows both. Cold is a new process from its start to the
labels of one image. Writes `benchmarks/results/inference-MODEL.json`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np

from segloop.infer import RUNTIMES, Bundle, Segmenter
from segloop.infer.machine import cpu_model
from segloop.infer.runtimes.measure import noise
from segloop.registry import Registry

ROOT = Path(__file__).resolve().parent.parent.parent

_COLD = """
import sys
from pathlib import Path
from segloop.infer import Bundle, Segmenter
bundle = Bundle(Path(sys.argv[1]))
Segmenter(bundle, sys.argv[2])(bundle.selftest_cases()[0][0])
"""


def main() -> None:
    """Measure and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="hippocampus-mr")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    bundle = Registry().load(options.model)
    cold = {name: [_cold_s(bundle, name) for _ in range(options.repeats)] for name in RUNTIMES}
    warm = _warm_s(bundle, 4 * options.repeats)
    document = {
        "name": f"inference-{bundle.manifest.name}",
        "command": "python benchmarks/speed/inference.py " + " ".join(sys.argv[1:]),
        "machine": cpu_model(),
        "model": bundle.digest,
        "cold_seconds": {name: round(median(times), 3) for name, times in cold.items()},
        "patch_seconds": {name: round(min(times), 4) for name, times in warm.items()},
        "rows": _rows(bundle.manifest.name, cold, warm),
    }
    path = ROOT / "benchmarks" / "results" / f"{document['name']}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")
    for row in document["rows"]:
        print(f"{row['what']}: {row['value']}")


def _rows(model: str, cold: dict[str, list[float]], warm: dict[str, list[float]]) -> list[dict[str, str]]:
    ratio = min(warm["openvino"]) / min(warm["tensorflow"])
    starts = " / ".join(f"{median(cold[name]):.1f} s" for name in RUNTIMES)
    return [
        {
            "what": f"{model}: one image in a new process, {' / '.join(RUNTIMES)}",
            "what_zh": f"{model}：新进程处理一幅图像，{' / '.join(RUNTIMES)}",
            "value": starts,
        },
        {
            "what": f"{model}: time per patch, OpenVINO ÷ TensorFlow",
            "what_zh": f"{model}：每个图块的耗时，OpenVINO ÷ TensorFlow",
            "value": f"{ratio:.2f}",
        },
    ]


def _cold_s(bundle: Bundle, name: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", _COLD, str(bundle.path), name], check=True, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def _warm_s(bundle: Bundle, repeats: int) -> dict[str, list[float]]:
    """Seconds of one patch, the runtimes taking turns."""
    runtimes = {name: Segmenter(bundle, name).runtime for name in RUNTIMES}
    batch = noise(bundle)
    answers = {name: runtime(batch) for name, runtime in runtimes.items()}
    agreement = np.mean(answers["openvino"].argmax(-1) == answers["tensorflow"].argmax(-1))
    assert agreement > 0.9, f"the runtimes agree on {agreement:.1%} of voxels only"
    times: dict[str, list[float]] = {name: [] for name in runtimes}
    for _ in range(repeats):
        for name, runtime in runtimes.items():
            started = time.perf_counter()
            runtime(batch)
            times[name].append(time.perf_counter() - started)
    return times


if __name__ == "__main__":
    main()
