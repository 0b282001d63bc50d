"""The DICOM node: answers C-ECHO and takes C-STORE, and says Success only for what is on disk."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from pydicom import Dataset
from pydicom.uid import UID
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification

from segloop.errors import ServiceError
from segloop.log import get_logger
from segloop.service.reception import CANNOT_UNDERSTAND, Answer
from segloop.settings import NodeSettings, Settings

__all__ = ["STORAGE_CLASSES", "Node", "listen", "sop_class_name"]

_log = get_logger(__name__)

Accept = Callable[[bytes, str, str], Answer]

_WORDS = (
    "CT Image",
    "MR Image",
    "MR Color Image",
    "Computed Radiography",
    "Digital X-Ray",
    "Digital Mammography",
    "Ultrasound",
    "US Volume",
    "Positron Emission Tomography",
    "PET Image",
    "Segmentation Storage",
    "RT Structure Set",
    "SR Storage",
    "Encapsulated PDF",
    "Secondary Capture",
    "Key Object Selection",
)
# Newer than pydicom's list of names.
_NAMES = {"1.2.840.10008.5.1.4.1.1.66.7": "Label Map Segmentation Storage"}


def sop_class_name(uid: str) -> str:
    """Name of a SOP class."""
    return _NAMES.get(uid) or UID(uid).name


STORAGE_CLASSES: tuple[UID, ...] = tuple(
    UID(context.abstract_syntax)
    for context in AllStoragePresentationContexts
    if context.abstract_syntax and any(word in sop_class_name(context.abstract_syntax) for word in _WORDS)
)
"""Storage classes of CT, MR, CR, DX, US, PT, SEG and RTSTRUCT, of reports, so that results can come back, and of key
objects, by which others withdraw what they sent."""


class Node:
    """A running C-STORE and C-ECHO provider.

    Args:
        node: Title, address and limits.
        accept: Called with the file, the SOP class UID and the SOP instance UID of each C-STORE request.
        allowed: Whether a calling AE title at an address may associate.

    Raises:
        ServiceError: `peer.unavailable` when the port is taken.
    """

    def __init__(self, node: NodeSettings, accept: Accept, allowed: Callable[[str, str], bool]) -> None:
        # Its lines quote datasets; ours say what happened without identity.
        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
        self._accept, self._allowed = accept, allowed
        self._entity = entity = AE(ae_title=node.aet)
        entity.maximum_pdu_size = node.max_pdu
        entity.maximum_associations = node.max_associations
        entity.network_timeout = entity.dimse_timeout = node.timeout_seconds
        entity.require_called_aet = False
        entity.add_supported_context(Verification)
        for sop_class in STORAGE_CLASSES:
            entity.add_supported_context(sop_class, ALL_TRANSFER_SYNTAXES)
        handlers = [
            (evt.EVT_C_STORE, self._on_store),
            (evt.EVT_C_ECHO, _on_echo),
            (evt.EVT_REQUESTED, self._on_request),
        ]
        try:
            server = entity.start_server((node.host, node.port), block=False, evt_handlers=handlers)
        except OSError as fault:
            raise ServiceError(
                f"The DICOM node cannot listen on {node.host}:{node.port} ({fault.strerror}).",
                code="peer.unavailable",
                hint="Set node.port to another port, or to 0 for a free one.",
            ) from fault
        self.port: int = server.socket.getsockname()[1]

    def stop(self) -> None:
        """End associations and listen no more."""
        self._entity.shutdown()

    def _on_request(self, event: Any) -> None:
        primitive = event.assoc.requestor.primitive
        aet, address = primitive.calling_ae_title.strip(), event.assoc.requestor.address
        if not self._allowed(aet, address):
            _log.warning("association refused")
            # Rejected permanent, by the service user, calling AE title not recognised (PS3.8 table 9-21).
            event.assoc.acse.send_reject(0x01, 0x01, 0x03)
            # Waits until the rejection is on the wire; without it the socket closes first.
            event.assoc.kill()

    def _on_store(self, event: Any) -> Any:
        try:
            request = event.request
            content = event.encoded_dataset()
            answer = self._accept(content, str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID))
        except Exception as fault:  # this sender gets an answer and the next is served
            _log.error("instance handling failed", error=type(fault).__name__)
            answer = Answer(CANNOT_UNDERSTAND, "internal error")
        status = Dataset()
        status.Status = answer.status
        if answer.comment:
            status.ErrorComment = answer.comment
        return status


def listen(settings: Settings, accept: Accept) -> Node:
    """The node of a deployment: anyone on loopback, accepted peers beyond it."""
    return Node(settings.node, accept, settings.accepts_plaintext)


def _on_echo(event: Any) -> int:
    return 0x0000
