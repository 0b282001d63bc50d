"""`segloop check`: every fault of a dataset before training, and a corrected copy of it."""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segloop.cli.console import Console, Verdict
from segloop.errors import InputError

if TYPE_CHECKING:
    from segloop.data.checks import Fault, Mended

_ROWS_PER_KIND = 20
_WIDEST = 56


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="folder of images and label maps")
    parser.add_argument(
        "--fix", type=Path, metavar="OUT", help="write a copy with every fault mended that can be mended safely"
    )
    parser.add_argument("--plan", type=Path, metavar="PLAN.json", help="check that this Plan fits the dataset")


def run(arguments: argparse.Namespace, console: Console) -> dict[str, Any] | Verdict:
    """Look at every case, show what is wrong, and mend what can be mended in a copy."""
    from segloop.data.checks import check, mend, require_room
    from segloop.plan import Plan

    plan = None if arguments.plan is None else Plan.load(arguments.plan)
    if arguments.fix is not None:
        require_room(arguments.dataset, arguments.fix)
    faults = check(arguments.dataset, plan, partial(_progress, console, "cases"))
    _show(faults, console)
    mended = None
    if arguments.fix is not None:
        mended = mend(arguments.dataset, arguments.fix, faults, plan, partial(_progress, console, "files"))
        _show_mended(mended, console)
    counts = {severity: sum(f.severity == severity for f in faults) for severity in ("error", "warning", "note")}
    document = {
        "dataset": str(arguments.dataset),
        **{f"{severity}s": count for severity, count in counts.items()},
        "faults": [fault.model_dump(mode="json") for fault in faults],
        "fixed": None if mended is None else mended.model_dump(mode="json"),
    }
    left = faults if mended is None else mended.left
    errors = sum(fault.severity == "error" for fault in left)
    if not errors:
        return document
    where = "The dataset" if mended is None else "The corrected copy still"
    return Verdict(
        document,
        InputError(
            f"{where} has {errors} fault{'s' if errors > 1 else ''} to be mended before training.",
            code="dataset.faulty",
            found=errors,
            expected=0,
            hint="Each is listed with its cause and its mend.",
        ),
    )


def _progress(console: Console, what: str, done: int, total: int) -> None:
    console.progress(done, total, what)


def _show(faults: Sequence[Fault], console: Console) -> None:
    kinds: defaultdict[str, list[Fault]] = defaultdict(list)
    for fault in faults:
        kinds[fault.kind].append(fault)
    rows = [
        (f.severity, f.kind, f.case or "(all)", _short(f.found), _short(f.expected))
        for group in kinds.values()
        for f in group[:_ROWS_PER_KIND]
    ]
    if not rows:
        console.say("No fault found.")
        return
    console.table(("severity", "kind", "case", "found", "expected"), rows)
    for kind, group in kinds.items():
        if len(group) > _ROWS_PER_KIND:
            console.say(f"… and {len(group) - _ROWS_PER_KIND} more of {kind}; --json lists all.")
    console.say()
    for kind, group in kinds.items():
        for cause, mend in dict.fromkeys((fault.cause, fault.mend) for fault in group):
            console.say(f"{kind}: {cause}")
            console.say(f"  mend: {mend}{' (--fix does it)' if any(f.mendable for f in group) else ''}")


def _show_mended(mended: Mended, console: Console) -> None:
    console.say()
    console.say(f"Corrected copy in {mended.output}: {len(mended.mended)} mended, {len(mended.left)} left.")
    if mended.left_out:
        console.say(f"Left out: {', '.join(mended.left_out)}")
    for fault in mended.left:
        console.say(f"not mended: {fault.severity} {fault.kind} {fault.case or '(all)'}")


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= _WIDEST else text[: _WIDEST - 1] + "…"
