"""Fifteen minutes from the start of the command to a bundle, on fold 0 of hippocampus, then its Dice.

    python benchmarks/accuracy/quarter_hour.py

Run it on an otherwise idle machine: the figure is what two cores give in the time. Writes
`benchmarks/results/hippocampus-15min.json`; delete `runs/quarter-hour` to run it anew.
"""

from __future__ import annotations

from harness import DATA, RUNS, row, scored, seconds_of, trained, write_result

from segloop.infer import Bundle

MINUTES = 15


def main() -> None:
    """Train, score, write."""
    run, data = RUNS / "quarter-hour", DATA / "hippocampus"
    bundle = Bundle(trained(run, data, MINUTES, fold=0))
    scores = scored(run, data, "--fold", 0)
    seconds = seconds_of(run)
    assert scores.mean_dice is not None
    what, what_zh = "hippocampus, fold 0, 15 minutes", "海马体，第 0 折，15 分钟"
    rows = [
        row(f"{what}: mean Dice", f"{what_zh}：平均 Dice", f"{scores.mean_dice:.4f}", "≥ 0.880"),
    ]
    if seconds is not None:
        rows.append(row(f"{what}: command to bundle", f"{what_zh}：从命令到模型包", f"{seconds:.0f} s", "855 to 945 s"))
    write_result(
        "hippocampus-15min",
        rows,
        steps=bundle.manifest.provenance.steps,
        seconds_from_start_to_bundle=seconds,
        budget_seconds=MINUTES * 60,
        mean_dice=scores.mean_dice,
        labels={key: label.model_dump(mode="json") for key, label in scores.labels.items()},
        cases=len(scores.cases),
    )


if __name__ == "__main__":
    main()
