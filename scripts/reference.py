"""Write what the docs take from the code: the commands, the error codes, and the architecture page's list of modules.

With `--check` nothing is written and the exit status is 1 when a page is out of date.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

from segloop.errors import CODES

ROOT = Path(__file__).resolve().parent.parent
_MODULES = re.compile(r"(<!-- modules:start -->\n).*?(<!-- modules:end -->)", re.DOTALL)
_STATUS = (
    (
        2,
        "Input or usage",
        ("usage", "input", "geometry", "labels", "dataset", "bundle.training_case", "explain.empty"),
    ),
    (3, "Plan", ("plan",)),
    (4, "Model", ("bundle", "weights", "model", "runtime", "backend", "train", "explain")),
    (5, "Privacy", ("identity", "pixels", "mapping")),
    (6, "Service, peer, disk or installation", ("peer", "not_authorised", "disk", "audit", "worker", "job", "setup")),
    (1, "A bug", ("internal",)),
)
_HEAD = """# Errors

Written by `scripts/reference.py` from `segloop.errors.CODES`; a test compares.

A message says what was found, what was expected and what to do. With `--json` the same stands in one document on
standard output:

    {"schema": 1, "error": {"code": "…", "message": "…", "found": …, "expected": …, "hint": "…"}}

Codes are stable: a program may rely on them. The exit status follows from the kind of error.
"""

_CHECKS_HEAD = """# Faults of a dataset

Written by `scripts/reference.py` from `segloop.data.checks.KINDS`; a test compares, and another plants every kind.

`segloop check DATASET` looks for all of these; [the how-to](../how-to/check.md) shows its use. An **error** is
something that training would fail on or learn wrongly, a **warning** something to look at, a **note** needs nothing. A
single fault may be milder than its kind where the data leave room for another reading.

With `--json` there is one document on standard output, with exit status 0, or with status 2 and `error`:

    {"schema": 1, "dataset": "…", "errors": 1, "warnings": 0, "notes": 0,
     "faults": [{"kind": "origin_differs", "severity": "error", "case": "c03", "file": "labelsTr/c03.nii.gz",
                 "found": [-20.5, -35.0, 12.0], "expected": [-20.0, -35.0, 12.0],
                 "cause": "…", "mend": "…", "mendable": true, "others": []}],
     "fixed": {"output": "…", "mended": […], "left": […], "left_out": ["…"]},
     "error": {"code": "dataset.faulty", "message": "…", "found": 1, "expected": 0, "hint": "…"}}

`case` is empty where the dataset as a whole is at fault, `others` names further cases that are involved, and `fixed` is
null without `--fix`; `mended` and `left` hold faults in the same form. The kinds are stable: programs may rely on them.
"""


def errors_markdown() -> str:
    """Every code with its meaning, under the exit status that its kind ends with.

    Raises:
        KeyError: A code's first part has no exit status in this script.
    """
    status = {kind: (number, title) for number, title, kinds in _STATUS for kind in kinds}
    groups: dict[tuple[int, str], list[str]] = {(number, title): [] for number, title, _ in _STATUS}
    for code, meaning in CODES.items():
        groups[status[code if code in status else code.split(".")[0]]].append(f"| `{code}` | {meaning} |")
    parts = [_HEAD]
    for (number, title), rows in groups.items():
        parts.append(
            f"\n## Exit status {number}: {title.lower()}\n\n| code | meaning |\n|---|---|\n" + "\n".join(rows) + "\n"
        )
    return "".join(parts)


def commands_markdown() -> str:
    """Every verb with its arguments, from the command line's own parsers."""
    from segloop.cli.reference import commands_markdown as from_parsers

    return from_parsers()


def architecture_markdown() -> str:
    """The architecture page with its list of modules written anew: each with its docstring's first sentence."""
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    package = ROOT / "src" / "segloop"
    rows = ["| module | what it is |", "|---|---|"]
    for layer in _layers():
        paths = [package / f"{layer}.py", *sorted((package / layer).rglob("*.py"))]
        for path in (p for p in paths if p.exists()):
            name = path.relative_to(package).with_suffix("").as_posix()
            purpose = (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").split("\n\n")[0].replace("\n", " ")
            if purpose and (path.stem != "__init__" or path.parent.parent == package):
                rows.append(f"| `{name.removesuffix('/__init__')}` | {purpose.replace('|', '/')} |")
    return _MODULES.sub(lambda found: found[1] + "\n".join(rows) + "\n" + found[2], page)


def _layers() -> list[str]:
    """Top-level modules from the highest layer to the lowest, as the import contract has them."""
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"][0]
    return [name.strip(" ()") for line in contract["layers"] for name in line.split("|")]


def checks_markdown() -> str:
    """Every kind of fault that the data check knows, under the title of its group."""
    from segloop.data.checks import GROUPS

    parts = [_CHECKS_HEAD]
    for title, kinds in GROUPS.items():
        rows = [
            f"| `{name}` | {kind.severity} | {kind.cause} | {kind.mend} | {kind.fixed or '-'} |"
            for name, kind in kinds.items()
        ]
        head = "| kind | severity | how it comes about | what to do | what `--fix` does |\n|---|---|---|---|---|\n"
        parts.append(f"\n## {title}\n\n{head}" + "\n".join(rows) + "\n")
    return "".join(parts)


def statement_markdown() -> str:
    """The DICOM conformance statement with what the node registers, and its limits, written anew."""
    from pydicom.uid import UID
    from pynetdicom import ALL_TRANSFER_SYNTAXES
    from pynetdicom.sop_class import Verification

    from segloop.service.node import STORAGE_CLASSES, sop_class_name
    from segloop.settings import NodeSettings

    node = NodeSettings()
    policies = [
        "| policy | value | setting |",
        "|---|---|---|",
        f"| largest PDU received | {node.max_pdu} bytes | `node.max_pdu` |",
        f"| associations at once | {node.max_associations} | `node.max_associations` |",
        f"| longest silence | {node.timeout_seconds:g} s | `node.timeout_seconds` |",
        f"| port | {node.port} | `node.port` |",
    ]
    provider = ["| SOP class | UID |", "|---|---|"]
    provider += [f"| {sop_class_name(uid)} | `{uid}` |" for uid in (Verification, *STORAGE_CLASSES)]
    provider += ["", "| transfer syntax | UID |", "|---|---|"]
    provider += [f"| {UID(uid).name} | `{uid}` |" for uid in ALL_TRANSFER_SYNTAXES]
    page = (ROOT / "docs" / "conformance" / "statement.md").read_text("utf-8")
    for name, rows in (("policies", policies), ("provider", provider)):
        marks = re.compile(rf"(<!-- {name}:start -->\n).*?(<!-- {name}:end -->)", re.DOTALL)
        page = marks.sub(lambda found, rows=rows: found[1] + "\n".join(rows) + "\n" + found[2], page)
    return page


PAGES: dict[str, Callable[[], str]] = {
    "reference/errors.md": errors_markdown,
    "architecture.md": architecture_markdown,
    "reference/commands.md": commands_markdown,
    "reference/checks.md": checks_markdown,
    "conformance/statement.md": statement_markdown,
}


def main(arguments: list[str]) -> int:
    """Write the pages, or with `--check` only compare; returns the exit status."""
    stale = 0
    for name, page in PAGES.items():
        path, text = ROOT / "docs" / name, page()
        if path.exists() and path.read_text("utf-8") == text:
            continue
        if "--check" in arguments:
            sys.stderr.write(f"docs/{name} is out of date; run scripts/reference.py\n")
            stale = 1
        else:
            path.write_text(text, "utf-8")
    return stale


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
