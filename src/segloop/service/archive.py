"""A tiny DICOM archive in a folder: the destination of the demo, and of tests."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from pydicom import dcmread

from segloop.errors import ServiceError
from segloop.service.node import Node
from segloop.service.reception import CANNOT_UNDERSTAND, OUT_OF_RESOURCES, SUCCESS, Answer
from segloop.settings import NodeSettings
from segloop.store import make_folder, write_whole


class Archive:
    """A running C-STORE provider that writes `folder/<SOP instance UID>.dcm`, once per UID.

    Args:
        folder: Where objects go.
        aet: Its application entity title.
        port: TCP port on loopback; 0 takes a free one, see `port`.

    Raises:
        ServiceError: `peer.unavailable` when the port is taken.
    """

    def __init__(self, folder: Path, aet: str = "ARCHIVE", port: int = 0) -> None:
        make_folder(folder)
        self.folder, self.aet = folder, aet
        self._node = Node(NodeSettings(aet=aet, port=port), self._accept, lambda aet, host: True)
        self.port = self._node.port

    def files(self) -> tuple[Path, ...]:
        """The objects received, by UID."""
        return tuple(sorted(self.folder.glob("*.dcm")))

    def stop(self) -> None:
        """Listen no more."""
        self._node.stop()

    def _accept(self, content: bytes, sop_class: str, sop_instance: str) -> Answer:
        found = str(dcmread(BytesIO(content), stop_before_pixels=True).SOPInstanceUID)
        if found != sop_instance or not found.replace(".", "").isdigit():
            return Answer(CANNOT_UNDERSTAND, "SOP instance UID is not valid")
        path = self.folder / f"{found}.dcm"
        if path.exists():
            same = path.read_bytes() == content
            return Answer(SUCCESS) if same else Answer(CANNOT_UNDERSTAND, "UID is there with other content")
        try:
            write_whole(content, path)
        except ServiceError:
            return Answer(OUT_OF_RESOURCES)
        return Answer(SUCCESS)
