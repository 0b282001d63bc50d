"""Results to where they go: C-STORE to a peer, or files in a folder. Sending the same result again changes nothing."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

from pydicom import FileDataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE

from segloop.errors import InputError, ServiceError
from segloop.plan import Frozen
from segloop.store import make_folder, write_whole

_WARNINGS = frozenset({0xB000, 0xB006, 0xB007})
_CALLING = "SEGLOOP"


class Address(Frozen):
    """A DICOM peer.

    Attributes:
        aet: Called application entity title.
        host: Name or address.
        port: TCP port.
    """

    aet: str
    host: str
    port: int


def send(files: Sequence[Path], peer: Address, calling_aet: str = _CALLING, timeout_seconds: float = 60.0) -> int:
    """Send DICOM files over one association; returns how many the peer has taken, which is all of them.

    Args:
        files: DICOM files.
        peer: Who gets them.
        calling_aet: Our application entity title.
        timeout_seconds: Longest silence of the peer.

    Raises:
        InputError: `input.unreadable`: a file is no DICOM.
        ServiceError: `peer.unavailable`: no association; `peer.refused`: the peer does not take the kind of object, or
            answered with a failure.
    """
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
    datasets = [_read(path) for path in files]
    entity = AE(ae_title=calling_aet)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = timeout_seconds
    entity.connection_timeout = timeout_seconds
    for sop_class, syntax in sorted({(d.SOPClassUID, d.file_meta.TransferSyntaxUID) for d in datasets}):
        plain = syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
        entity.add_requested_context(sop_class, [ExplicitVRLittleEndian, ImplicitVRLittleEndian] if plain else [syntax])
    association = entity.associate(peer.host, peer.port, ae_title=peer.aet)
    if association.is_rejected:
        raise ServiceError(
            f"{peer.aet} at {peer.host}:{peer.port} rejects the association.",
            code="peer.refused",
            hint=f"Let it know the calling AE title {calling_aet}.",
        )
    if not association.is_established:
        raise ServiceError(
            f"{peer.aet} at {peer.host}:{peer.port} cannot be reached.",
            code="peer.unavailable",
            hint="Check address, port and that the peer runs.",
        )
    try:
        for dataset in datasets:
            try:
                status = association.send_c_store(dataset)
            except (ValueError, RuntimeError) as fault:
                raise ServiceError(
                    f"{peer.aet} does not take {dataset.SOPClassUID.name} in the transfer syntax it has.",
                    code="peer.refused",
                ) from fault
            if "Status" not in status:
                raise ServiceError(f"{peer.aet} broke the connection off.", code="peer.unavailable")
            if status.Status != 0 and status.Status not in _WARNINGS:
                raise ServiceError(
                    f"{peer.aet} answers {dataset.SOPClassUID.name} with status 0x{status.Status:04X}.",
                    code="peer.refused",
                    found=int(status.Status),
                )
    finally:
        association.release()
    return len(datasets)


def echo(peer: Address, calling_aet: str = _CALLING, timeout_seconds: float = 10.0) -> bool:
    """Whether a peer answers C-ECHO."""
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
    entity = AE(ae_title=calling_aet)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = timeout_seconds
    entity.add_requested_context("1.2.840.10008.1.1")
    association = entity.associate(peer.host, peer.port, ae_title=peer.aet)
    if not association.is_established:
        return False
    try:
        status = association.send_c_echo()
        return bool("Status" in status and status.Status == 0)
    finally:
        association.release()


def put_in_folder(files: Sequence[Path], folder: Path) -> int:
    """Write files to a folder, each whole or not at all; returns how many lie there.

    Raises:
        ServiceError: `disk.full`.
    """
    make_folder(folder)
    for path in files:
        content = path.read_bytes()
        target = folder / path.name
        if not target.exists() or hashlib.sha256(target.read_bytes()).digest() != hashlib.sha256(content).digest():
            write_whole(content, target, mode=0o640)
    return len(files)


def _read(path: Path) -> FileDataset:
    try:
        return dcmread(path)
    except (InvalidDicomError, OSError) as fault:
        raise InputError(f"{path.name} cannot be read as DICOM.", hint="Send DICOM files only.") from fault
