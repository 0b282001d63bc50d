"""From nothing to the end of `make demo`: a fresh clone, an empty home, no environment; then `make demo` again.

    python benchmarks/speed/bare.py

What is downloaded counts; a near mirror makes that shorter than it is elsewhere. Writes `benchmarks/results/bare.json`.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

from segloop.infer.machine import cpu_model

ROOT = Path(__file__).resolve().parent.parent.parent


def main() -> None:
    """Clone, run twice, write the result file."""
    with tempfile.TemporaryDirectory() as folder:
        clone, home = Path(folder, "clone"), Path(folder, "home")
        home.mkdir()
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("VIRTUAL_ENV", "XDG_"))}
        seconds = [_demo(clone, {**kept, "HOME": str(home)}) for _ in range(2)]
    document = {
        "name": "bare",
        "command": "python benchmarks/speed/bare.py",
        "machine": cpu_model(),
        "seconds": seconds,
        "rows": [
            {
                "what": "fresh clone to the end of `make demo`, packages from a near mirror",
                "what_zh": "从全新克隆到 `make demo` 结束（软件包来自邻近镜像）",
                "value": f"{seconds[0]:.0f} s",
                "bound": "≤ 8 min",
            },
            {
                "what": "`make demo` once more",
                "what_zh": "再次 `make demo`",
                "value": f"{seconds[1]:.0f} s",
                "bound": "≤ 60 s",
            },
        ],
    }
    path = ROOT / "benchmarks" / "results" / "bare.json"
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")
    for row in document["rows"]:
        print(f"{row['what']}: {row['value']} ({row['bound']})")


def _demo(clone: Path, environment: dict[str, str]) -> float:
    started = time.perf_counter()
    subprocess.run(["make", "demo"], check=True, cwd=clone, env=environment, stdin=subprocess.DEVNULL)
    return round(time.perf_counter() - started, 1)


if __name__ == "__main__":
    main()
