"""Nothing that pydicom says about a value gets out, however many threads read at once."""

from __future__ import annotations

import logging
import threading
import warnings

import pytest
from pydicom import Dataset, config

from segloop.io.dicom.header import quiet


def odd() -> None:
    """A value that pydicom complains about, and quotes."""
    Dataset().PatientBirthDate = "quillara"


def state() -> tuple[object, ...]:
    settings = config.settings
    level = logging.getLogger("pydicom").level
    return settings.reading_validation_mode, settings.writing_validation_mode, level, tuple(warnings.filters)


def test_threads_may_leave_in_any_order() -> None:
    """Each is quiet until it leaves itself, and the last one out restores everything."""
    before, entered, leave, out = state(), threading.Event(), threading.Event(), threading.Event()

    def other() -> None:
        with quiet():
            entered.set()
            leave.wait(10)
        out.set()

    thread = threading.Thread(target=other)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        inside = state()
        with quiet():
            thread.start()
            entered.wait(10)
            odd()
        assert state() != inside, "the other thread is still inside"
        odd()
        leave.set()
        out.wait(10)
        thread.join(10)
        assert state() == inside
    assert not caught
    assert state() == before


def test_the_other_way_round() -> None:
    before, entered, leave = state(), threading.Event(), threading.Event()

    def other() -> None:
        with quiet():
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    thread.start()
    entered.wait(10)
    with quiet():
        inside = state()
        leave.set()
        thread.join(10)
        assert state() == inside != before
    assert state() == before


def test_an_error_inside_restores_everything_too(caplog: pytest.LogCaptureFixture) -> None:
    before = state()

    def fails() -> None:
        with quiet():
            odd()
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        fails()
    assert state() == before
    with pytest.warns(UserWarning, match="quillara"):
        odd()
    assert len(caplog.records) == 1
