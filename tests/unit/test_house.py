"""The house rules that a machine can check: layers, documentation in step, nothing of one machine in the tree."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from segloop import __version__
from segloop.errors import CODES

ROOT = Path(__file__).parent.parent.parent
LONGEST_FILE = 400
HEAVY = ("tensorflow", "keras", "openvino", "highdicom", "pynetdicom", "dbos", "SimpleITK", "nibabel", "scipy", "typst")


def tracked(*suffixes: str) -> list[Path]:
    """Files git knows or would take, that end in one of the suffixes (all without)."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, capture_output=True, check=True).stdout.decode().split("\0")
    paths = [ROOT / name for name in names if name]
    return [p for p in paths if p.is_file() and (not suffixes or p.suffix in suffixes)]


def script(name: str) -> ModuleType:
    """A module of `scripts/`, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_imports_only_go_down() -> None:
    linter = Path(sys.executable).parent / "lint-imports"
    run = subprocess.run([linter], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout


def test_importing_segloop_loads_nothing_heavy() -> None:
    code = f"import sys, segloop; print([m for m in {HEAVY!r} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_help_loads_nothing_heavy() -> None:
    code = (
        f"import sys; from segloop.cli import main; main(['--help']); print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip().endswith("[]")


def test_no_file_outgrows_one_sitting() -> None:
    lengths = {str(p.relative_to(ROOT)): len(p.read_text("utf-8").splitlines()) for p in tracked(".py", ".sh")}
    long = {name: count for name, count in lengths.items() if count > LONGEST_FILE}
    assert not long


def test_the_version_stands_once() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"] == __version__


@pytest.mark.parametrize(
    "page",
    [
        "reference/errors.md",
        "reference/commands.md",
        "reference/checks.md",
        "architecture.md",
        "conformance/statement.md",
    ],
)
def test_generated_reference_pages_are_up_to_date(page: str) -> None:
    written = (ROOT / "docs" / page).read_text("utf-8")
    assert written == script("reference").PAGES[page](), f"run scripts/reference.py to write {page} anew"


def test_errors_page_lists_exactly_the_codes() -> None:
    page = (ROOT / "docs" / "reference" / "errors.md").read_text("utf-8")
    assert sorted(re.findall(r"^\| `([a-z_.]+)` \|", page, re.MULTILINE)) == sorted(CODES)


def test_every_raised_code_is_known() -> None:
    for path in (ROOT / "src").rglob("*.py"):
        for code in re.findall(r'\bcode="([a-z_]+(?:\.[a-z_]+)?)"', path.read_text("utf-8")):
            assert code in CODES, f"{path.relative_to(ROOT)} names {code}"


def test_readmes_have_the_same_sections_and_commands() -> None:
    english, chinese = ((ROOT / name).read_text("utf-8") for name in ("README.md", "README.zh-CN.md"))
    for pattern in (r"^#+ ", r"^    (?:make|segloop|\.venv/bin/segloop) .*$"):
        first, second = (re.findall(pattern, text, re.MULTILINE) for text in (english, chinese))
        assert first == second
        assert first


def test_readmes_show_a_working_command_by_line_30() -> None:
    for name in ("README.md", "README.zh-CN.md"):
        lines = (ROOT / name).read_text("utf-8").splitlines()
        assert "    make demo" in [line.split("  #")[0].rstrip() for line in lines[:30]]


def test_result_tables_come_from_the_committed_files() -> None:
    assert script("results_table").main(["--check"]) == 0


def test_result_rows_are_printed_in_both_languages(tmp_path: Path) -> None:
    rows = [{"what": "Liver error", "what_zh": "肝脏误差", "value": "0.4 %", "bound": "≤ 2 %"}]
    (tmp_path / "phantom.json").write_text(json.dumps({"name": "phantom", "rows": rows}), "utf-8")
    table = script("results_table").table
    link = "[phantom](benchmarks/results/phantom.json)"
    assert f"| Liver error | 0.4 % | ≤ 2 % | {link} |" in table(tmp_path, "README.md")
    assert f"| 肝脏误差 | 0.4 % | ≤ 2 % | {link} |" in table(tmp_path, "README.zh-CN.md")


def test_links_between_pages_lead_somewhere() -> None:
    for path in tracked(".md"):
        for target in re.findall(r"\]\((?!https?://|mailto:|#)([^)#\s]+)", path.read_text("utf-8")):
            assert (path.parent / target).exists(), f"{path.relative_to(ROOT)} links to {target}"


def test_nothing_in_the_tree_names_one_machine() -> None:
    # Written in pieces, so that this file does not find itself.
    forbidden = re.compile("|".join(["/wor" + "k/", "/ro" + "ot/", "py" + "pi", "/op" + "t/", "index" + "-url *[=h]"]))
    for path in tracked(".py", ".toml", ".md", ".lock", ".in", ".sh", ".json", ".cfg", ".yml", ".txt"):
        found = forbidden.search(path.read_text("utf-8", errors="replace").lower())
        assert found is None, f"{path.relative_to(ROOT)} names {found and found[0]!r}"


def test_locks_pin_and_hash_everything() -> None:
    for lock in (ROOT / "requirements").glob("*.lock"):
        text = lock.read_text("utf-8")
        assert not re.search(r"^--|://| @ ", text, re.MULTILINE), f"{lock.name} names an index or address"
        entries = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
        assert all("==" in entry and "--hash=sha256:" in entry for entry in entries)


def test_licences_stand_in_the_tree() -> None:
    assert "Apache License" in (ROOT / "LICENSE").read_text("utf-8")[:200]
    notice = (ROOT / "NOTICE").read_text("utf-8")
    assert "SIL Open Font License" in notice
    assert "CC-BY-SA 4.0" in notice


def test_every_public_name_of_a_package_is_there() -> None:
    for folder in sorted((ROOT / "src" / "segloop").iterdir()):
        if not (folder / "__init__.py").exists():
            continue
        module = importlib.import_module(f"segloop.{folder.name}")
        for name in getattr(module, "__all__", ()):
            assert hasattr(module, name), f"segloop.{folder.name}.__all__ promises {name}"
