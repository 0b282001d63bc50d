from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.uid import JPEG2000Lossless, RLELossless
from pynetdicom import AE
from pynetdicom.sop_class import (
    CTImageStorage,
    EnhancedMRImageStorage,
    KeyObjectSelectionDocumentStorage,
    LabelMapSegmentationStorage,
    MRImageStorage,
    RTStructureSetStorage,
    SegmentationStorage,
    UltrasoundImageStorage,
)

import service_kit as kit
from segloop.errors import ServiceError
from segloop.service.archive import Archive
from segloop.service.deliver import Address, echo, put_in_folder, send
from segloop.service.node import STORAGE_CLASSES, Node
from segloop.service.reception import Answer
from segloop.settings import NodeSettings


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    running = Archive(tmp_path / "archive")
    yield running
    running.stop()


def to(archive: Archive) -> Address:
    return Address(aet="ARCHIVE", host="127.0.0.1", port=archive.port)


def test_echo(archive: Archive) -> None:
    assert echo(to(archive))
    assert not echo(Address(aet="X", host="127.0.0.1", port=1))


@pytest.mark.parametrize(
    "sop_class",
    [
        CTImageStorage,
        MRImageStorage,
        EnhancedMRImageStorage,
        UltrasoundImageStorage,
        SegmentationStorage,
        LabelMapSegmentationStorage,
        RTStructureSetStorage,
        KeyObjectSelectionDocumentStorage,
    ],
)
def test_the_promised_storage_classes_are_taken(sop_class: str) -> None:
    assert sop_class in STORAGE_CLASSES


def test_compressed_transfer_syntaxes_are_accepted(archive: Archive) -> None:
    entity = AE("X")
    entity.add_requested_context(MRImageStorage, [JPEG2000Lossless])
    entity.add_requested_context(CTImageStorage, [RLELossless])
    association = entity.associate("127.0.0.1", archive.port)
    assert len(association.accepted_contexts) == 2
    association.release()


def test_what_is_sent_arrives_once_and_a_resend_is_success(archive: Archive, tmp_path: Path) -> None:
    files = kit.study(tmp_path / "in", 3)
    assert send(files, to(archive)) == 3
    before = [path.read_bytes() for path in archive.files()]
    assert send(files, to(archive)) == 3
    assert [path.read_bytes() for path in archive.files()] == before
    assert len(before) == 3


def test_a_peer_that_refuses_an_object_is_an_error(archive: Archive, tmp_path: Path) -> None:
    send(kit.study(tmp_path / "in", 1), to(archive))
    other = kit.study(tmp_path / "other", 1, SeriesDescription="other")
    with pytest.raises(ServiceError) as caught:
        send(other, to(archive))
    assert caught.value.code == "peer.refused"


def test_a_peer_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ServiceError) as caught:
        send(kit.study(tmp_path / "in", 1), Address(aet="X", host="127.0.0.1", port=1))
    assert caught.value.code == "peer.unavailable"


def test_a_caller_that_is_not_allowed_is_rejected() -> None:
    node = Node(NodeSettings(port=0), lambda *_: Answer(0), lambda aet, host: aet == "FRIEND")
    assert echo(kit.to(node.port), "FRIEND")
    association = AE("STRANGER")
    association.add_requested_context("1.2.840.10008.1.1")
    assert association.associate("127.0.0.1", node.port).is_rejected
    node.stop()


def test_a_failing_handler_is_answered_and_the_next_instance_served(tmp_path: Path) -> None:
    answers = iter([ZeroDivisionError, None])

    def accept(content: bytes, sop_class: str, sop_instance: str) -> Answer:
        fault = next(answers)
        if fault:
            raise fault
        return Answer(0)

    node = Node(NodeSettings(port=0), accept, lambda aet, host: True)
    files = kit.study(tmp_path, 2)
    with pytest.raises(ServiceError, match="0xC000"):
        send(files[:1], kit.to(node.port))
    assert send(files[1:], kit.to(node.port)) == 1
    node.stop()


def test_a_taken_port_is_said_so(archive: Archive) -> None:
    with pytest.raises(ServiceError) as caught:
        Archive(archive.folder, port=archive.port)
    assert caught.value.code == "peer.unavailable"


def test_files_to_a_folder_are_written_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    for _ in range(2):
        assert put_in_folder([tmp_path / "a"], tmp_path / "out") == 1
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["a"]
    (tmp_path / "a").write_bytes(b"2")
    put_in_folder([tmp_path / "a"], tmp_path / "out")
    assert (tmp_path / "out" / "a").read_bytes() == b"2"
