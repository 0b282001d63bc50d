"""What the command prints."""

from __future__ import annotations

import json
import os
import re
import time

import pytest

from segloop.cli import console as module
from segloop.cli.console import Console, finite, minutes
from segloop.errors import InputError


def test_wide_characters_keep_columns_aligned(capsys):
    Console().table(("name", "ml"), [("肝脏", "1.0"), ("lesion", "2.0")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "肝脏    1.0"
    assert lines[3] == "lesion  2.0"


def test_json_mode_prints_one_document_and_sends_the_rest_to_standard_error(capsys):
    console = Console(json=True)
    console.say("hello")
    console.document({"value": float("nan"), "nested": [float("inf"), 1.5]})
    out, err = capsys.readouterr()
    assert json.loads(out) == {"schema": 1, "value": None, "nested": [None, 1.5]}
    assert err == "hello\n"


def test_an_error_has_a_sentence_and_a_document(capsys):
    Console(json=True).error(InputError("Found nothing.", code="input.empty", hint="Give a folder with images."))
    out, err = capsys.readouterr()
    assert json.loads(out)["error"]["code"] == "input.empty"
    assert err == "segloop: input.empty: Found nothing. Give a folder with images.\n"


def test_finite_leaves_other_values_alone():
    assert finite({"a": (1, "x", None, True)}) == {"a": [1, "x", None, True]}


@pytest.mark.parametrize("columns", [80, 200])
def test_a_bar_stays_on_one_line_of_the_terminal(columns, capsys, monkeypatch):
    monkeypatch.setattr(Console, "interactive", True)
    monkeypatch.setattr(module.shutil, "get_terminal_size", lambda *_, **__: os.terminal_size((columns, 24)))
    console = Console()
    monkeypatch.setattr(console, "_started", time.monotonic() - 10)
    scores = ", ".join(
        f"{name} 0.871" for name in ("肝脏", "spleen", "left kidney", "right kidney", "aorta", "pancreas")
    )
    console.progress(37, 100, f"epochs  Dice 0.871: {scores}", 3725)
    line = re.sub(r"\r|\x1b\[2K", "", capsys.readouterr().err)
    assert len(line) + line.count("肝") + line.count("脏") < columns
    assert line.startswith("█" * 7 + "░" * 13 + " 37/100  1 h 02 min left  epochs  Dice 0.871: 肝")
    assert line.endswith("…") is (columns == 80)


def test_there_is_no_bar_where_nobody_watches(capsys, monkeypatch):
    console = Console()
    monkeypatch.setattr(console, "_started", time.monotonic() - 10)
    console.progress(1, 2, "cases")
    assert capsys.readouterr() == ("", "")


def test_lengths_of_time_are_words():
    assert [minutes(s) for s in (0.4, 42, 200, 7500)] == ["0 s", "42 s", "3 min 20 s", "2 h 05 min"]
