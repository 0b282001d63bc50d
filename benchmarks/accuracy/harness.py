"""What the accuracy benchmarks share: a training that is done once, a scoring that is done once, a result file.

Everything lies in `runs/<benchmark>/`; a run that was cut off goes on, a finished one is not repeated.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from segloop.infer.machine import cpu_model
from segloop.train.scores import Scores

ROOT = Path(__file__).resolve().parent.parent.parent
DATA = ROOT.parent / "shared" / "data"
RUNS = ROOT / "runs"
RESULTS = ROOT / "benchmarks" / "results"


def segloop(*words: object) -> None:
    """One `segloop` command, in the interpreter that runs the benchmark."""
    subprocess.run([sys.executable, "-m", "segloop", *map(str, words)], check=True, cwd=ROOT)


def trained(
    run: Path,
    dataset: Path,
    minutes: float,
    *words: object,
    fold: int | str = "all",
    seed: int = 0,
    changes: Mapping[str, Any] | None = None,
) -> Path:
    """The bundle of one training of `minutes`; goes on with a run that was cut off.

    Args:
        run: Its folder.
        dataset: What it learns from.
        minutes: Time budget, from the start of the command.
        words: Further arguments of `segloop train`.
        fold: Held out.
        seed: Of weights, patches and augmentation.
        changes: Dotted keys of the Plan and their values.
    """
    bundle = run / "bundle"
    if not (bundle / "manifest.json").exists():
        settings = [w for key, value in (changes or {}).items() for w in ("--set", f"{key}={json.dumps(value)}")]
        budget = ("--time-budget", f"{minutes:g}m", "--fold", fold, "--seed", seed, "--resume")
        started = time.monotonic()
        segloop("train", dataset, "-o", run, *budget, *settings, *words)
        (run / "seconds.json").write_text(json.dumps(round(time.monotonic() - started, 1)), "utf-8")
    return bundle


def scored(run: Path, dataset: Path, *words: object) -> Scores:
    """`segloop evaluate` of the run's bundle; `words` choose the cases."""
    out = run / "metrics.json"
    if not out.exists():
        segloop("evaluate", run / "bundle", dataset, "-o", out, *words)
    return Scores.model_validate_json(out.read_bytes())


def subset(source: Path, out: Path, case_ids: Iterable[str]) -> Path:
    """A Decathlon folder with some of the cases of another one."""
    if (out / "dataset.json").exists():
        return out
    wanted = set(case_ids)
    document = json.loads((source / "dataset.json").read_text("utf-8"))
    document["training"] = [c for c in document["training"] if Path(c["image"]).name.split(".")[0] in wanted]
    document["numTraining"] = len(document["training"])
    for case in document["training"]:
        for path in case.values():
            target = out / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / path, target)
    (out / "dataset.json").write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    return out


def seconds_of(run: Path) -> float | None:
    """Wall time of the training command, when it ran in one piece."""
    path = run / "seconds.json"
    return float(json.loads(path.read_text("utf-8"))) if path.exists() else None


def cores() -> tuple[str, str]:
    """How many cores this process and what it starts may use, in words, English and Chinese.

    `taskset -c 0 python benchmarks/…` gives a benchmark one core, so that two can run side by side.
    """
    count = len(os.sched_getaffinity(0))
    return ("one core" if count == 1 else f"{count} cores"), f"{count} 核"


def row(what: str, what_zh: str, value: str, bound: str = "") -> dict[str, str]:
    """One line of the READMEs' result tables."""
    return {"what": what, "what_zh": what_zh, "value": value, "bound": bound}


def write_result(name: str, rows: Sequence[Mapping[str, str]], **facts: Any) -> None:
    """`benchmarks/results/<name>.json`, with the command that made it; prints the rows."""
    words = [str(Path(word).relative_to(ROOT)) if word.startswith(str(ROOT)) else word for word in sys.argv]
    script = Path(words[0])
    shown = f"benchmarks/{script.parent.name}/{script.name}" if script.is_absolute() else str(script)
    document = {
        "name": name,
        "command": " ".join(["python", shown, *words[1:]]),
        "machine": cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        **facts,
        "rows": list(rows),
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")
    for line in rows:
        sys.stdout.write(f"{line['what']}: {line['value']} {line.get('bound', '')}\n")
