"""Measured against true volumes on phantoms the shipped `phantom-ct` has never seen.

    python benchmarks/accuracy/phantom.py --seeds 20

Each phantom is written as a DICOM study and goes through the same selection, reading, network and measurement as any
other study. Writes `benchmarks/results/phantom-ct-volumes.json`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from segloop.infer import Segmenter
from segloop.infer.machine import cpu_model
from segloop.io import dicom
from segloop.measure import measure_labels
from segloop.phantom import generate, write_study
from segloop.registry import Registry

ROOT = Path(__file__).resolve().parent.parent.parent
FIRST_UNSEEN = 9000
COUNTED_ML = 1.0


def main() -> None:
    """Run the seeds and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--model", default="phantom-ct")
    options = parser.parse_args()
    segmenter = Segmenter(Registry().load(options.model))
    cases = [_case(segmenter, seed) for seed in range(FIRST_UNSEEN, FIRST_UNSEEN + options.seeds)]
    liver = max(abs(case["liver_error"]) for case in cases)
    lesion = max((abs(error) for case in cases for error in case["lesion_errors"]), default=0.0)
    exact = sum(case["lesions_found"] == case["lesions"] for case in cases)
    empty = [case for case in cases if case["lesions"] == 0]
    none = sum(case["lesions_found"] == 0 for case in empty)
    document = {
        "name": "phantom-ct-volumes",
        "command": f"python benchmarks/accuracy/phantom.py --seeds {options.seeds}",
        "machine": cpu_model(),
        "weights": segmenter.bundle.manifest.files["weights/weights.npz"],
        "largest_liver_error": liver,
        "largest_lesion_error": lesion,
        "cases": cases,
        "rows": [
            _row("largest error of the liver's volume", "肝脏体积的最大误差", f"{100 * liver:.2f} %", "≤ 2 %", cases),
            _row(
                "largest error of a lesion of 1 ml or more",
                "≥ 1 ml 病灶体积的最大误差",
                f"{100 * lesion:.1f} %",
                "≤ 10 %",
                cases,
            ),
            _row(
                "phantoms with the exact number of lesions",
                "病灶数完全正确的体模",
                f"{exact} of {len(cases)}",
                "all",
                cases,
            ),
            _row(
                "phantoms without a lesion in which none is found",
                "无病灶且未检出的体模",
                f"{none} of {len(empty)}",
                "all",
                cases,
            ),
        ],
    }
    path = ROOT / "benchmarks" / "results" / "phantom-ct-volumes.json"
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")
    for row in document["rows"]:
        print(f"{row['what']}: {row['value']} ({row['bound']})")


def _case(segmenter: Segmenter, seed: int) -> dict:
    phantom = generate(seed)
    with tempfile.TemporaryDirectory() as folder:
        write_study(phantom, Path(folder))
        chosen = dicom.select(dicom.scan(Path(folder)), segmenter.bundle.plan.inputs).chosen
        volume = dicom.read_series(chosen)
    labels = segmenter(volume).labels
    measured = measure_labels(labels, volume, segmenter.bundle.plan.labels)
    found = {(m.name, m.component): m.value for m in measured if m.quantity == "volume"}
    true = {(t.name, t.component): t.value for t in phantom.truth}
    lesions = [value for (name, part), value in true.items() if name == "lesion" and part]
    parts = [value for (name, part), value in found.items() if name == "lesion" and part]
    # Large to small on both sides; a wrong count is told apart from a wrong volume.
    pairs = zip(sorted(lesions, reverse=True), sorted(parts, reverse=True), strict=False)
    return {
        "seed": seed,
        "liver_ml": true["liver", 0],
        "liver_error": found["liver", 0] / true["liver", 0] - 1,
        "lesions": len(lesions),
        "lesions_found": len(parts),
        "lesion_errors": [b / a - 1 for a, b in pairs if a >= COUNTED_ML],
    }


def _row(what: str, what_zh: str, value: str, bound: str, cases: list) -> dict[str, str]:
    return {
        "what": f"phantom-ct: {what} ({len(cases)} unseen seeds)",
        "what_zh": f"phantom-ct：{what_zh}（{len(cases)} 个未见过的种子）",
        "value": value,
        "bound": bound,
    }


if __name__ == "__main__":
    main()
