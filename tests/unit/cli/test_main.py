"""The command as a whole: help, errors, exit status."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from segloop.cli.main import VERBS, build_parser, main, verb_module


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_parses_takes_json_and_is_described(verb, capsys):
    with pytest.raises(SystemExit) as leaving:
        build_parser([verb]).parse_args([verb, "--help"])
    assert leaving.value.code == 0
    assert "--json" in capsys.readouterr().out
    assert verb_module(verb).__doc__.startswith(f"`segloop {verb}`")


def test_help_loads_neither_a_network_library_nor_pydicom():
    code = (
        "import sys; from segloop.cli import main; main(['--help']);"
        "heavy = {'tensorflow', 'keras', 'openvino', 'pydicom', 'pynetdicom', 'numpy', 'pydantic', 'dbos'};"
        "sys.exit(sorted(heavy & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_an_unknown_verb_is_usage(capsys):
    assert main(["segment"]) == 2
    assert "invalid choice" in capsys.readouterr().err


def test_a_bug_has_status_1_and_says_where(capsys, monkeypatch):
    monkeypatch.delenv("SEGLOOP_DEBUG", raising=False)
    monkeypatch.setattr(verb_module("status"), "run", lambda arguments, console: 1 / 0)
    assert main(["status", "--json"]) == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "internal"
    assert "ZeroDivisionError" in error["message"]


def test_status_lists_the_shipped_models(capsys):
    assert main(["status", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {m["name"] for m in document["models"]} == {"hippocampus-mr", "phantom-ct"}
    assert all(document["parts"].values())
