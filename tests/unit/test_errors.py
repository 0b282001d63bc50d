"""Errors keep their parts, in a document and across a process."""

from __future__ import annotations

import pickle

import pytest

from segloop.errors import InputError, ModelError, PlanError, PrivacyError, SegloopError, ServiceError


@pytest.mark.parametrize(
    ("kind", "status"),
    [(SegloopError, 1), (InputError, 2), (PlanError, 3), (ModelError, 4), (PrivacyError, 5), (ServiceError, 6)],
)
def test_exit_status(kind, status):
    assert kind("x").exit_status == status


def test_an_unknown_code_is_a_programming_error():
    with pytest.raises(ValueError, match=r"no\.such"):
        InputError("x", code="no.such")


def test_all_parts_survive_pickling_and_the_document():
    fault = pickle.loads(pickle.dumps(InputError("m", code="input.empty", found=0, expected=[1], hint="Do this.")))
    assert isinstance(fault, InputError)
    assert fault.as_document() == {
        "code": "input.empty",
        "message": "m",
        "found": 0,
        "expected": [1],
        "hint": "Do this.",
    }
    assert str(fault) == "m Do this."
