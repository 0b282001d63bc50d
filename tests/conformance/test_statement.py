"""The DICOM conformance statement, line by line, against a node that runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.presentation import PresentationContext, build_context

from segloop.service.archive import Archive
from segloop.service.reception import CANNOT_UNDERSTAND, CONFLICT, MISMATCH, OUT_OF_RESOURCES, TWO_PATIENTS, UNREADABLE

PAGE = (Path(__file__).parents[2] / "docs" / "conformance" / "statement.md").read_text("utf-8")
MOST_CONTEXTS = 120


def section(title: str) -> str:
    """The text under a heading."""
    return PAGE.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


def uids(text: str, *, classes: bool) -> list[UID]:
    """UIDs that stand in a table, those of SOP classes or those of transfer syntaxes."""
    found = [UID(uid) for uid in re.findall(r"`(1\.2\.840\.10008[0-9.]+)`", text)]
    return [uid for uid in found if (uid.type != "Transfer Syntax") == classes]


CLASSES = uids(section("As provider: Storage and Verification"), classes=True)
SYNTAXES = uids(section("As provider: Storage and Verification"), classes=False)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    running = Archive(tmp_path_factory.mktemp("statement"))
    yield running
    running.stop()


def accepted(node: Archive, contexts: list[PresentationContext]) -> list[PresentationContext]:
    """What the node agrees to, of any number of contexts."""
    found: list[PresentationContext] = []
    for start in range(0, len(contexts), MOST_CONTEXTS):
        entity = AE("STATEMENT")
        entity.requested_contexts = contexts[start : start + MOST_CONTEXTS]
        association = entity.associate("127.0.0.1", node.port, ae_title=node.aet)
        assert association.is_established
        found += association.accepted_contexts
        association.release()
    return found


def test_every_class_of_the_statement_is_accepted(node: Archive) -> None:
    assert len(CLASSES) > 30
    plain = [ImplicitVRLittleEndian]
    found = accepted(node, [build_context(uid, plain) for uid in CLASSES])
    assert [context.abstract_syntax for context in found] == CLASSES


def test_every_transfer_syntax_of_the_statement_is_accepted_and_the_first_listed_is_taken(node: Archive) -> None:
    assert len(SYNTAXES) > 20
    image = next(uid for uid in CLASSES if uid.name == "CT Image Storage")
    found = accepted(node, [build_context(image, [uid]) for uid in SYNTAXES])
    assert [context.transfer_syntax[0] for context in found] == SYNTAXES
    (both,) = accepted(node, [build_context(image, SYNTAXES[::-1])])
    assert both.transfer_syntax[0] == SYNTAXES[0]


def test_what_the_statement_does_not_name_is_refused(node: Archive) -> None:
    others = ["1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.1.20.1", "1.2.840.10008.5.1.4.31", "1.2.3.4"]
    asked = [build_context(uid, [ExplicitVRLittleEndian]) for uid in others]
    verification = build_context("1.2.840.10008.1.1", [ImplicitVRLittleEndian])
    assert [c.abstract_syntax for c in accepted(node, [*asked, verification])] == ["1.2.840.10008.1.1"]


def test_every_failure_status_stands_in_the_statement() -> None:
    written = re.findall(r"^\| `([0-9A-F]{4})` \|", PAGE, re.MULTILINE)
    statuses = [OUT_OF_RESOURCES, MISMATCH, CANNOT_UNDERSTAND, UNREADABLE, CONFLICT, TWO_PATIENTS]
    assert written == [f"{status:04X}" for status in statuses]
