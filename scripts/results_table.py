"""Write the READMEs' result tables from the committed files in `benchmarks/results`, and nothing else.

Each result file is one JSON object with `name`, `name_zh` (optional), `machine`, and `rows`: a list of
`{"what": …, "what_zh": …, "value": …, "bound": …}` whose values are strings ready to print (`bound` and `what_zh` are
optional). Other keys are for machines.
With `--check` nothing is written and the exit status is 1 when a table is out of date.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"(<!-- results:start -->\n).*?(<!-- results:end -->)", re.DOTALL)
WORDS = {
    "README.md": (("result", "measured", "bound", "file"), "No result file has been committed yet.", ""),
    "README.zh-CN.md": (("结果", "实测", "要求", "文件"), "尚未提交任何结果文件。", "_zh"),
}


def table(results: Path, readme: str) -> str:
    """The Markdown table of every result file that has rows, in the README's language."""
    heads, nothing, suffix = WORDS[readme]
    lines: list[str] = []
    for path in sorted(results.glob("*.json")):
        document = json.loads(path.read_text("utf-8"))
        for row in document.get("rows", ()) if isinstance(document, dict) else ():
            what = row.get(f"what{suffix}") or row["what"]
            lines.append(
                f"| {what} | {row['value']} | {row.get('bound', '')} | [{path.stem}](benchmarks/results/{path.name}) |"
            )
    if not lines:
        return nothing + "\n"
    return "\n".join(["| " + " | ".join(heads) + " |", "|---|---|---|---|", *lines]) + "\n"


def updated(readme: Path, results: Path) -> str:
    """The README's text with the block between the markers written anew."""
    block = table(results, readme.name)
    return BLOCK.sub(lambda found: found[1] + block + found[2], readme.read_text("utf-8"))


def main(arguments: list[str]) -> int:
    """Write both tables, or with `--check` only compare; returns the exit status."""
    stale = 0
    for name in WORDS:
        readme = ROOT / name
        text = updated(readme, ROOT / "benchmarks" / "results")
        if text == readme.read_text("utf-8"):
            continue
        if "--check" in arguments:
            sys.stderr.write(f"{name}: the results table is out of date; run scripts/results_table.py\n")
            stale = 1
        else:
            readme.write_text(text, "utf-8")
    return stale


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
