"""Messages on their way to a hospital information system: in turn, never lost, never sent again once acknowledged.

What is to be sent lies in the job's folder from the step before, and DBOS repeats the delivery until it is done, over
any crash; that is the outbox, and it needs no database of its own. Two things it does not know are kept here. That a
message was acknowledged is put on disk at once, so that neither a crash behind that nor a job that is run again for the
sake of another destination sends it a second time. And results for one receiver go one after another, so that a newer
version cannot be overtaken by an older one that was still on the line. A crash between the receiver's yes
and the receipt sends the very same message again, with the same MSH-10, by which a receiver knows it.
"""

from __future__ import annotations

import hashlib
import json
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from segloop.errors import InputError
from segloop.io.web import Endpoint
from segloop.plan import Frozen
from segloop.service.mllp import Line, send_message
from segloop.service.web import send_bundle, send_notice, send_objects
from segloop.settings import Destination
from segloop.store import make_folder, now, write_whole


class Receipt(Frozen):
    """That a receiver has taken something.

    Attributes:
        digest: SHA-256 of what it has taken.
        acknowledged: When, ISO 8601 in UTC.
    """

    schema_: Literal[1] = Field(default=1, alias="schema")
    digest: str
    acknowledged: str


class Channel:
    """The way to one destination, checked when the service starts.

    Raises:
        InputError: `usage`: a certificate, key or token file of the settings cannot be read.
    """

    def __init__(self, goal: Destination) -> None:
        self.goal = goal
        self.turn = threading.Lock()
        try:
            self._context = ssl.create_default_context(cafile=goal.ca)
            self._context.minimum_version = ssl.TLSVersion.TLSv1_2
            if goal.certificate is not None:
                self._context.load_cert_chain(goal.certificate, goal.certificate_key)
            self._token = "" if goal.token_file is None else goal.token_file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as fault:
            raise InputError(
                f"A certificate, key or token file of destination {goal.name!r} cannot be used "
                f"({type(fault).__name__}).",
                code="usage",
                hint="Look at ca, certificate, certificate_key and token_file in the settings.",
            ) from fault
        self._endpoint = Endpoint(url=goal.url, timeout_seconds=goal.timeout_seconds)

    def send_once(self, content: bytes, receipts: Path) -> None:
        """Send a message unless the receiver has acknowledged it before, and keep the receipt.

        Args:
            content: Message, bundle or notice, ready to go.
            receipts: Folder of the job's receipts.

        Raises:
            ServiceError: What the receiver did instead of taking it; or `disk.full`.
        """
        path = receipts / f"{self.goal.name}.json"
        digest = hashlib.sha256(content).hexdigest()
        if _receipt(path) == digest:
            return
        self._transmit(content)
        make_folder(receipts)
        receipt = Receipt(digest=digest, acknowledged=now())
        write_whole(receipt.model_dump_json(by_alias=True).encode(), path)

    def store_objects(self, files: list[Path]) -> int:
        """Send DICOM files by STOW-RS; doing so again changes nothing.

        Raises:
            ServiceError: The server does not take them.
        """
        return send_objects(files, self._endpoint, self._context, self._token) if files else 0

    def _transmit(self, content: bytes) -> None:
        goal = self.goal
        if goal.kind == "hl7":
            line = Line(host=goal.host, port=goal.port, timeout_seconds=goal.timeout_seconds)
            send_message(content, line, self._context if goal.tls else None)
            return
        send: Callable[..., None] = send_bundle if goal.kind == "fhir" else send_notice
        send(content, self._endpoint, self._context, self._token)


def notice(event: str, job: str, study: str, model: str) -> bytes:
    """Word of what became of a result, without identity: whoever hears it asks the API of this deployment."""
    document = {"schema": 1, "event": event, "job": job, "study": study, "model": model}
    return json.dumps(document, sort_keys=True).encode()


def _receipt(path: Path) -> str | None:
    try:
        return Receipt.model_validate_json(path.read_bytes()).digest
    except (OSError, ValidationError):
        return None
