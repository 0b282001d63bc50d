import io
import json
import logging
from collections.abc import Iterator

import pytest

from segloop import log

TOKEN = "ab12" * 8


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    root = logging.getLogger()
    before = root.handlers[:], root.level
    log.configure("debug", form="json", stream=stream)
    yield stream
    root.handlers[:], level = before
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    log.configure("warning")


def read(lines: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in lines.getvalue().splitlines()]


def test_an_allowed_line_is_written_whole(lines: io.StringIO) -> None:
    log.get_logger("x").info("study complete", study=TOKEN, files=4, seconds=0.5, code="input.empty")
    (line,) = read(lines)
    assert line["event"] == "study complete"
    assert (line["study"], line["files"], line["code"]) == (TOKEN, 4, "input.empty")
    assert "dropped" not in line


@pytest.mark.parametrize(
    "keys",
    [
        {"patient": "DOE^JANE"},
        {"study": "DOE^JANE"},
        {"study": "1.2.840.113619.2.1"},
        {"job": "19701231"},
        {"seconds": "DOE"},
        {"code": "Jane Doe"},
        {"exc_info": True},
    ],
)
def test_what_is_not_on_the_list_is_dropped_and_said_so(lines: io.StringIO, keys: dict[str, object]) -> None:
    log.get_logger("x").warning("something", **keys)
    (line,) = read(lines)
    assert line["dropped"]
    assert "DOE" not in lines.getvalue()
    assert "Jane" not in lines.getvalue()
    assert "1.2.840" not in lines.getvalue()


def test_an_event_with_values_in_it_is_refused(lines: io.StringIO) -> None:
    log.get_logger("x").info("received DOE^JANE")
    assert read(lines)[0]["event"] == "refused event text"


def test_a_library_line_is_reduced_to_its_origin(lines: io.StringIO) -> None:
    try:
        raise ValueError("bad PN: DOE^JANE")
    except ValueError:
        logging.getLogger("pydicom").exception("cannot read DOE^JANE")
    (line,) = read(lines)
    assert (line["library"], line["error"], line["level"]) == ("pydicom", "ValueError", "error")
    assert "DOE" not in lines.getvalue()


def test_a_python_warning_is_reduced_too(lines: io.StringIO) -> None:
    # `logging.captureWarnings` sends them to this logger; pytest itself catches `warnings.warn` before that.
    logging.getLogger("py.warnings").warning("Invalid value for VR PN: 'DOE^JANE'")
    assert read(lines)[0]["event"] == "message of a library"
    assert "DOE" not in lines.getvalue()


def test_a_bound_study_stands_in_every_line_inside(lines: io.StringIO) -> None:
    with log.bind_study(TOKEN):
        log.get_logger("x").info("inside")
    log.get_logger("x").info("outside")
    inside, outside = read(lines)
    assert inside["study"] == TOKEN
    assert "study" not in outside


def test_console_form_is_for_reading() -> None:
    stream = io.StringIO()
    log.configure("info", form="console", stream=stream)
    log.get_logger("x").info("hello there", count=3)
    log.get_logger("x").debug("not shown")
    log.configure("warning")
    assert "hello there" in stream.getvalue()
    assert "not shown" not in stream.getvalue()
