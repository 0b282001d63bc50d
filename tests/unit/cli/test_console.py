"""What the command prints."""

from __future__ import annotations

import json

from segloop.cli.console import Console, finite
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
