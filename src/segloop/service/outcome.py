"""What is done with a job's results: compared with their source and sent, copied for training, or quarantined."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from segloop import forms
from segloop.errors import CODES, InputError, PrivacyError, SegloopError
from segloop.io import deid, dicom
from segloop.log import get_logger
from segloop.report.identity import verify_against_source
from segloop.report.messages import fhir, oru, verify_bundle, verify_oru
from segloop.service import training
from segloop.service.decisions import Decision
from segloop.service.deliver import Address, put_in_folder, send
from segloop.service.orders import Orders
from segloop.service.outbox import Channel, notice
from segloop.service.planning import form_of
from segloop.service.quarantine import Quarantine
from segloop.service.recall import rejection_note
from segloop.service.ticket import Ticket
from segloop.settings import Destination, Settings
from segloop.signing import folder_of
from segloop.store import DecisionKind, Tokens, make_folder, write_whole
from segloop.study import read_record
from segloop.workflow import LABELS, RESULT, StudyResult

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

    def deliver(self, ticket: Ticket, goal: Destination, edition: int = 0) -> int:
        """Send a form of a job's result to a destination; returns how many files lie there now.

        Args:
            ticket: The job.
            goal: The destination.
            edition: 0 for the draft, 1… for the signed forms.

        Raises:
            PrivacyError: `identity.mismatch`: an object does not belong to its source's patient or study.
            ServiceError: The destination does not take them.
        """
        folder = forms.folder_of(ticket.task.out, edition, form_of(goal))
        result = read_record(StudyResult, folder / RESULT)
        paths = [folder / name for name in sorted(result.files.values())]
        objects = [path for path in paths if path.suffix == ".dcm"]
        self._compare(ticket, result, objects)
        if goal.kind == "folder":
            assert goal.folder is not None  # checked by Destination
            return put_in_folder([*paths, folder / RESULT], folder_of(goal.folder / ticket.key, edition))
        if goal.kind in ("dicom", "stow"):
            return self._store(objects, goal)
        self._tell(ticket, goal, self._message(ticket, result, goal, folder))
        return 1

    def withdraw(
        self, ticket: Ticket, goal: Destination, decision: Decision, editions: Sequence[int], *, replaced: bool
    ) -> int:
        """Tell a destination not to use forms of a result that it has got; returns how many files or messages went.

        Archives and folders get a rejection note. A receiver of messages gets the last one again, marked as wrong. A
        signed form replaces the draft there by itself, and so does a newer version by HL7, where both have the same
        order numbers: a withdrawal behind it would take the newer one back.

        Args:
            ticket: The job.
            goal: The destination.
            decision: Why.
            editions: What the destination has got: 0 is the draft.
            replaced: Whether something newer took the result's place.

        Raises:
            PrivacyError: `identity.mismatch`: what would be sent is not about its source's patient or study.
            ServiceError: The destination does not take it.
        """
        job = self._settings.data_dir / "jobs" / ticket.key
        folders = [forms.folder_of(ticket.task.out, edition, form_of(goal)) for edition in editions]
        folder = folders[-1]
        result = read_record(StudyResult, folder / RESULT)
        if goal.kind in ("hl7", "fhir", "webhook"):
            if decision.kind == DecisionKind.SIGN or (replaced and goal.kind == "hl7"):
                return 0
            self._tell(ticket, goal, self._message(ticket, result, goal, folder, decision))
            return 1
        with dicom.opened(ticket.task.source, ticket.task.files) as found:
            series = _series(dicom.scan_files(found), result.series_uid)
            note = rejection_note(decision, folders, series, job / "withdrawn", replaced)
        if goal.kind == "folder":
            assert goal.folder is not None  # checked by Destination
            return put_in_folder([note], goal.folder / ticket.key / "withdrawn")
        return self._store([note], goal)

    def keep_copy(self, ticket: Ticket) -> bool:
        """Keep the series and its mask for training, without identity; False when an image may not be copied.

        A sealed table beside the training data leads from the copies back to the original: `segloop reidentify`.

        Raises:
            ServiceError: `disk.full`.
        """
        result = read_record(StudyResult, ticket.task.out / RESULT)
        with dicom.opened(ticket.task.source, ticket.task.files) as found:
            series = _series(dicom.scan_files(found), result.series_uid)
            key = training.secret(self._tokens)
            alias = deid.alias_of(series.header(), key)
            folder = training.case_folder(self._settings.data_dir, alias, ticket.key)
            if folder.exists() or self._is_kept(ticket, alias):
                return True  # renamed into place as a whole by an earlier try
            half = folder.with_name(f".{folder.name}.half")
            shutil.rmtree(half, ignore_errors=True)
            make_folder(half)
            try:
                table = training.case_table(self._settings.data_dir, alias, ticket.key)
                make_folder(table.parent)
                mapping = deid.MappingTable(table, key)
                deid.pseudonymise([file.path for file in series.files], half / "images", key, mapping=mapping)
            except PrivacyError as fault:
                shutil.rmtree(half)
                _log.warning("no training copy kept", job=ticket.key, code=fault.code)
                return False
        labels = result.files.get("labels")
        if labels is not None:
            write_whole((ticket.task.out / labels).read_bytes(), half / "labels.nii.gz")
        half.rename(folder)
        return True

    def _is_kept(self, ticket: Ticket, alias: str) -> bool:
        """Whether images and mask are there already, from the result that this one was made anew from."""
        first = ticket.task.mask_from
        if first is None:
            return False
        kept = training.case_folder(self._settings.data_dir, alias, first.parent.name) / "labels.nii.gz"
        return kept.exists() and kept.read_bytes() == (ticket.task.out / LABELS).read_bytes()

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

    def _store(self, objects: list[Path], goal: Destination) -> int:
        if goal.kind == "stow":
            return self._channels[goal.name].store_objects(objects)
        peer = Address(aet=goal.aet, host=goal.host, port=goal.port)
        return send(objects, peer, self._settings.node.aet) if objects else 0

    def _tell(self, ticket: Ticket, goal: Destination, content: bytes) -> None:
        receipts = self._settings.data_dir / "jobs" / ticket.key / "receipts"
        self._channels[goal.name].send_once(content, receipts)

    def _message(
        self,
        ticket: Ticket,
        result: StudyResult,
        goal: Destination,
        folder: Path,
        withdrawn: Decision | None = None,
    ) -> bytes:
        """What a destination that takes messages gets, compared with the source as it will be sent."""
        if goal.kind == "webhook":
            event = "result.withdrawn" if withdrawn is not None else _event(result)
            return notice(event, ticket.key, ticket.study, ticket.model)
        name = result.files.get("oru" if goal.kind == "hl7" else "fhir")
        if name is None:
            raise InputError("The result holds no message for this kind of destination.", code="input.empty")
        content = (folder / name).read_bytes()
        if withdrawn is not None:
            content = (oru if goal.kind == "hl7" else fhir).withdrawn(content, withdrawn.decided)
        with dicom.opened(ticket.task.source, ticket.task.files) as found:
            series = _series(dicom.scan_files(found), result.series_uid)
            order = self._orders.find(series)
            if order is not None:
                content = (oru if goal.kind == "hl7" else fhir).ordered(content, order)
            if goal.kind == "hl7":
                content = oru.addressed(content, goal.application, goal.facility)
                verify_oru(content, series, order)
            else:
                content = fhir.addressed(content, goal.patient_system) if goal.patient_system else content
                verify_bundle(content, series, order)
        return content

    def _compare(self, ticket: Ticket, result: StudyResult, objects: list[Path]) -> None:
        with dicom.opened(ticket.task.source, ticket.task.files) as found:
            series = _series(dicom.scan_files(found), result.series_uid)
            verify_against_source(objects, series)


def _event(result: StudyResult) -> str:
    if result.signature is None:
        return "result.ready"
    return "result.signed" if result.signature.corrects is None else "result.corrected"


def _series(found: tuple[dicom.SeriesRef, ...] | list[dicom.SeriesRef], uid: str) -> dicom.SeriesRef:
    return next(series for series in found if series.series_uid == uid)
