"""What is done with a job's results: compared with their source and sent, copied for training, or quarantined."""

from __future__ import annotations

import json
import shutil
from contextlib import AbstractContextManager
from pathlib import Path

from segloop.errors import CODES, InputError, PrivacyError, SegloopError
from segloop.io import deid, dicom
from segloop.log import get_logger
from segloop.report.identity import verify_against_source
from segloop.report.messages import fhir, oru, verify_bundle, verify_oru
from segloop.service.deliver import Address, put_in_folder, send
from segloop.service.orders import Orders
from segloop.service.outbox import Channel, notice
from segloop.service.quarantine import Quarantine
from segloop.service.ticket import Ticket
from segloop.settings import Destination, Settings
from segloop.store import Tokens, make_folder, write_whole
from segloop.study import read_record
from segloop.workflow import RESULT, StudyResult

_log = get_logger(__name__)


class Outcomes:
    """Everything that happens behind the workflow's own steps.

    Args:
        settings: Our title, where data lie.
        tokens: The deployment's secret.
        quarantine: Where failed studies are shown.
        orders: What studies were made for.

    Raises:
        InputError: `usage`: a file that the settings name for a destination cannot be used.
    """

    def __init__(self, settings: Settings, tokens: Tokens, quarantine: Quarantine, orders: Orders) -> None:
        self._settings, self._tokens, self._quarantine, self._orders = settings, tokens, quarantine, orders
        self._channels = {goal.name: Channel(goal) for goal in settings.destination}

    def turn(self, goal: Destination) -> AbstractContextManager[object]:
        """To be held from the last look at whether a result is still the newest until it is delivered."""
        return self._channels[goal.name].turn

    def deliver(self, ticket: Ticket, goal: Destination) -> int:
        """Send a job's results to a destination; returns how many files lie there now.

        Raises:
            PrivacyError: `identity.mismatch`: an object does not belong to its source's patient or study.
            ServiceError: The destination does not take them.
        """
        result = read_record(StudyResult, ticket.task.out / RESULT)
        paths = [ticket.task.out / name for name in sorted(result.files.values())]
        objects = [path for path in paths if path.suffix == ".dcm"]
        self._compare(ticket, result, objects)
        if goal.kind == "folder":
            assert goal.folder is not None  # checked by Destination
            return put_in_folder([*paths, ticket.task.out / RESULT], goal.folder / ticket.key)
        channel = self._channels[goal.name]
        if goal.kind == "stow":
            return channel.store_objects(objects)
        if goal.kind != "dicom":
            receipts = self._settings.data_dir / "jobs" / ticket.key / "receipts"
            channel.send_once(self._message(ticket, result, goal), receipts)
            return 1
        peer = Address(aet=goal.aet, host=goal.host, port=goal.port)
        return send(objects, peer, self._settings.node.aet) if objects else 0

    def keep_copy(self, ticket: Ticket) -> bool:
        """Keep the series and its mask for training, without identity; False when an image may not be copied.

        Raises:
            ServiceError: `disk.full`.
        """
        result = read_record(StudyResult, ticket.task.out / RESULT)
        with dicom.opened(ticket.task.source, ticket.task.files) as found:
            series = _series(dicom.scan_files(found), result.series_uid)
            key = self._tokens.derived("training")
            alias = deid.pseudonym(series.patient.id, series.patient.issuer, key)
            folder = self._settings.data_dir / "training" / alias / ticket.key[:16]
            if folder.exists():
                return True  # renamed into place as a whole by an earlier try
            half = folder.with_name(f".{folder.name}.half")
            shutil.rmtree(half, ignore_errors=True)
            make_folder(half)
            try:
                deid.pseudonymise([file.path for file in series.files], half / "images", key)
            except PrivacyError as fault:
                shutil.rmtree(half)
                _log.warning("no training copy kept", job=ticket.key, code=fault.code)
                return False
        labels = result.files.get("labels")
        if labels is not None:
            write_whole((ticket.task.out / labels).read_bytes(), half / "labels.nii.gz")
        half.rename(folder)
        return True

    def note_failure(self, key: str, fault: SegloopError) -> None:
        """Keep an error's full text in the job's folder; databases and logs get its code only."""
        path = self._settings.data_dir / "jobs" / key / "failure.json"
        write_whole(json.dumps(fault.as_document(), ensure_ascii=False, indent=2).encode(), path)

    def quarantine(self, ticket: Ticket, code: str) -> None:
        """Show a failed job's study in quarantine with the full reason."""
        path = self._settings.data_dir / "jobs" / ticket.key / "failure.json"
        document = json.loads(path.read_text("utf-8")) if path.exists() else {"message": CODES[code], "hint": None}
        fault = SegloopError(str(document["message"]), code=code, hint=document["hint"])
        files = [ticket.task.source / name for name in ticket.task.files]
        self._quarantine.put_study(ticket.key[:32], ticket.study, fault, files)

    def release(self, ticket: Ticket) -> None:
        """Take a job's study out of quarantine, now that the job is done."""
        self._quarantine.release(ticket.key[:32])

    def _message(self, ticket: Ticket, result: StudyResult, goal: Destination) -> bytes:
        """What a destination that takes messages gets, compared with the source as it will be sent."""
        if goal.kind == "webhook":
            return notice(ticket.key, ticket.study, ticket.model)
        name = result.files.get("oru" if goal.kind == "hl7" else "fhir")
        if name is None:
            raise InputError("The result holds no message for this kind of destination.", code="input.empty")
        content = (ticket.task.out / name).read_bytes()
        with dicom.opened(ticket.task.source, ticket.task.files) as found:
            series = _series(dicom.scan_files(found), result.series_uid)
            order = self._orders.find(series)
            if order is not None:
                content = (oru if goal.kind == "hl7" else fhir).ordered(content, order)
            if goal.kind == "hl7":
                content = oru.addressed(content, goal.application, goal.facility)
                verify_oru(content, series)
            else:
                content = fhir.addressed(content, goal.patient_system) if goal.patient_system else content
                verify_bundle(content, series)
        return content

    def _compare(self, ticket: Ticket, result: StudyResult, objects: list[Path]) -> None:
        with dicom.opened(ticket.task.source, ticket.task.files) as found:
            series = _series(dicom.scan_files(found), result.series_uid)
            verify_against_source(objects, series)


def _series(found: tuple[dicom.SeriesRef, ...] | list[dicom.SeriesRef], uid: str) -> dicom.SeriesRef:
    return next(series for series in found if series.series_uid == uid)
