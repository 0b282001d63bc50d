"""Orders from the hospital information system, kept so that a result says which order it answers.

An order is found again by study UID or accession number, and used only when its patient is the images' patient: an
accession number may be used twice in the world, and a result under another patient's order would be filed there. Files
are named by keyed tokens; what they hold is identity, like the spool.

Source: HL7 version 2.5.1, 4.4.1 (ORM), 4.4.14 (OMI), 4.5.6 (IPC); IHE Radiology Technical Framework for ZDS and OBR-18.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import ValidationError

from segloop.errors import ServiceError
from segloop.io.dicom import SeriesRef
from segloop.log import get_logger
from segloop.plan import Frozen
from segloop.report.messages import Order
from segloop.report.messages.hl7 import Message, Segment, escape, message, parse, segment
from segloop.store import Tokens, make_folder, now, write_whole
from segloop.store.files import sync_folder

_log = get_logger(__name__)

_KINDS = {("ORM", "O01"): "ORR", ("OMI", "O23"): "ORI"}
_KEPT = frozenset({"NW", "XO", "SC", "RO"})
_LOOK_AGAIN = timedelta(hours=1)
_ENDED = frozenset({"CA", "OC", "DC", "CR", "DR"})


class OrderRecord(Frozen):
    """One order, as its file holds it. Numbers as the sender wrote them, each with the name of its authority.

    Attributes:
        accession: What it is looked for by: the accession number, or the filler's where none is stated.
        stated_accession: The accession number, if one is stated.
    """

    patient_id: str
    accession: str
    study_uid: str
    placer: str
    placer_issuer: str
    filler: str
    filler_issuer: str
    received: str
    stated_accession: str = ""


class Orders:
    """The orders of a deployment.

    Args:
        folder: Where they are kept.
        tokens: The deployment's secret, which names the files.
        keep_days: Days after which an order is forgotten; None keeps every order.
    """

    def __init__(self, folder: Path, tokens: Tokens, keep_days: float | None = None) -> None:
        self._folder, self._tokens = folder, tokens
        self._longest = None if keep_days is None else timedelta(days=keep_days)
        self._looked = datetime.min.replace(tzinfo=UTC)
        self.forget(datetime.now(UTC))

    def forget(self, moment: datetime) -> int:
        """Delete the orders that last came longer ago than they are to be kept; returns how many, looking once an hour.

        A file that is no order any more is left for a person to look at.
        """
        if self._longest is None or moment - self._looked < _LOOK_AGAIN:
            return 0
        self._looked, gone = moment, 0
        for path in self._folder.glob("*.json"):
            try:
                record = OrderRecord.model_validate_json(path.read_bytes())
                if moment - datetime.fromisoformat(record.received) > self._longest:
                    path.unlink()
                    gone += 1
            except (OSError, ValueError) as fault:
                _log.error("order is unreadable", error=type(fault).__name__)
        if gone:
            sync_folder(self._folder)
            _log.info("old orders forgotten", count=gone)
        return gone

    def find(self, series: SeriesRef) -> Order | None:
        """The order that a series was made for; None where none is known, or only one of another patient."""
        for path in self._paths(series.study_uid, series.study.accession_number):
            try:
                record = OrderRecord.model_validate_json(path.read_bytes())
            except (OSError, ValidationError):
                continue
            if not record.patient_id or record.patient_id != series.patient.id:
                _log.warning("order of another patient is not used")
                continue
            numbers = record.placer, record.filler, record.placer_issuer, record.filler_issuer
            return Order(*numbers, record.stated_accession)
        return None

    def take(self, content: bytes) -> bytes:
        """Keep what a message orders, on disk when this returns, and return the acknowledgement.

        `AA`: kept, withdrawn, or nothing to be kept. `AR`: not a kind of message that is understood. `AE`: no space, so
        the sender must send it again.

        Raises:
            InputError: It is no HL7 message, so nobody can be answered.
        """
        self.forget(datetime.now(UTC))
        read = parse(content)
        kind = (read.header.get(9), read.header.get(9, 2))
        if kind not in _KINDS:
            return acknowledgement(read, "AR", "200^Unsupported message type^HL70357")
        try:
            for control, record in _records(read):
                self._apply(control, record)
        except ServiceError as fault:
            _log.error("order not kept", code=fault.code)
            return acknowledgement(read, "AE", "207^Application internal error^HL70357")
        return acknowledgement(read, "AA")

    def _apply(self, control: str, record: OrderRecord) -> None:
        make_folder(self._folder)
        for path in self._paths(record.study_uid, record.accession):
            if control in _KEPT:
                write_whole(record.model_dump_json().encode(), path)
            elif control in _ENDED and path.exists():
                path.unlink()
                sync_folder(self._folder)

    def _paths(self, study_uid: str, accession: str) -> Iterator[Path]:
        for kind, value in (("order of study", study_uid), ("order of accession", accession)):
            if value:
                yield self._folder / f"{self._tokens.token(kind, value)}.json"


def acknowledgement(read: Message, code: str, error: str = "") -> bytes:
    """The answer to a message: AA, AE or AR, for its MSH-10."""
    header, control = read.header, read.control_id
    lines = [
        segment(
            "MSH",
            (3, "SEGLOOP"),
            (4, "SEGLOOP"),
            (5, escape(header.get(3))),
            (6, escape(header.get(4))),
            (7, datetime.now(UTC).strftime("%Y%m%d%H%M%S%z")),
            (9, f"ACK^{escape(header.get(9, 2))}^ACK"),
            (10, hashlib.sha256(f"ACK\n{control}".encode()).hexdigest()[:20].upper()),
            (11, "P"),
            (12, "2.5.1"),
            (18, "UNICODE UTF-8"),
        ),
        segment("MSA", (1, code), (2, escape(control))),
    ]
    return message(*lines, *([segment("ERR", (3, error), (4, "E"))] if error else []))


def _records(read: Message) -> Iterator[tuple[str, OrderRecord]]:
    """Control code and content of each order of a message, with the patient that stands before it."""
    groups: list[dict[str, Segment]] = []
    patient = read.first("PID")
    study = read.first("ZDS").get(1)
    for line in read.segments:
        if line.name == "PID":
            patient = line
        elif line.name == "ORC":
            groups.append({"ORC": line, "PID": patient})
        elif line.name in ("OBR", "IPC") and groups:
            groups[-1].setdefault(line.name, line)
    empty = Segment("", read.header.marks)
    for group in groups:
        common, request, imaging = (group.get(name, empty) for name in ("ORC", "OBR", "IPC"))
        placer = common if common.get(2) else request
        filler = common if common.get(3) else request
        stated = imaging.get(1) or request.get(18)
        record = OrderRecord(
            patient_id=group["PID"].get(3),
            accession=stated or filler.get(3),
            stated_accession=stated,
            study_uid=imaging.get(3) or (study if len(groups) == 1 else ""),
            placer=placer.get(2),
            placer_issuer=placer.get(2, 2),
            filler=filler.get(3),
            filler_issuer=filler.get(3, 2),
            received=now(),
        )
        yield common.get(1), record
