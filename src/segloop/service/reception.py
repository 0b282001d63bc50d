"""What happens to one received instance: checked, then kept, set aside or quarantined; then the sender is answered.

The statuses are those of DICOM PS3.4 table B.2-1.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

from pydicom import Dataset, dcmread
from pydicom.dataelem import RawDataElement
from pydicom.uid import UID

from segloop.errors import InputError, ServiceError
from segloop.io.dicom import read_rejection
from segloop.io.dicom.own import is_own_object
from segloop.io.dicom.rejection import KEY_OBJECTS
from segloop.log import get_logger
from segloop.service.quarantine import Quarantine
from segloop.service.rejected import Rejected
from segloop.store import Spool, Tokens

_log = get_logger(__name__)

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
MISMATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000
UNREADABLE, CONFLICT, TWO_PATIENTS = 0xC001, 0xC002, 0xC003

_UNDEFINED = 0xFFFFFFFF
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData", "PixelDataProviderURL")


class _AnotherObjectError(InputError):
    """The dataset and the request that carried it name different objects."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the sender is told.

    Attributes:
        status: DIMSE status.
        comment: At most 64 characters, without identity.
    """

    status: int
    comment: str = ""


class Reception:
    """Takes instances in. Safe for threads.

    Args:
        spool: Where images go.
        returned: Where objects go that segloop made itself and a PACS sends back; they start no job.
        quarantine: Where the rest goes.
        tokens: Names for studies and instances.
        arrived: Called with the study's token after a new instance is on disk, or one of another patient in quarantine.
        rejected: What others have withdrawn.
    """

    def __init__(
        self,
        spool: Spool,
        returned: Spool,
        quarantine: Quarantine,
        tokens: Tokens,
        arrived: Callable[[str], None],
        rejected: Rejected,
    ) -> None:
        self._spool, self._returned, self._quarantine, self._rejected = spool, returned, quarantine, rejected
        self._tokens, self._arrived = tokens, arrived
        self._lock = threading.Lock()
        self._patients: dict[str, str] = {}

    def accept(self, content: bytes, sop_class: str, sop_instance: str) -> Answer:
        """Take one instance in; on `SUCCESS` it is on disk.

        Args:
            content: The instance as a DICOM file.
            sop_class: Affected SOP class UID of the request.
            sop_instance: Affected SOP instance UID of the request.
        """
        try:
            try:
                return self._accept(content, sop_class, sop_instance)
            except InputError as fault:
                digest = hashlib.sha256(content).hexdigest()
                token = self._tokens.token("quarantine", sop_instance, digest)
                study = self._study_of(content)
                self._quarantine.put_instance(token, study, fault, content)
                if fault.code == "input.two_patients":
                    self._arrived(study)  # what is already there of the study must be looked at again
                return _answer(fault)
        except ServiceError as fault:
            _log.error("instance not stored", code=fault.code, bytes=len(content))
            return Answer(OUT_OF_RESOURCES, "no space left to store the instance")

    def _accept(self, content: bytes, sop_class: str, sop_instance: str) -> Answer:
        header = read_whole(content)
        if str(header.get("SOPClassUID", "")) != sop_class or str(header.get("SOPInstanceUID", "")) != sop_instance:
            raise _AnotherObjectError(
                "The instance is another one than its C-STORE request names.", hint="Correct the sender."
            )
        study_uid = str(header.get("StudyInstanceUID", ""))
        if not study_uid:
            raise InputError("The instance has no StudyInstanceUID.", found="", expected="StudyInstanceUID")
        study, instance = self._tokens.study(study_uid), self._tokens.instance(sop_instance)
        if is_own_object(header):
            state = self._returned.add(study, instance, content).state
            _log.info("own object came back", study=study, instance=instance, state=state)
            return Answer(SUCCESS)
        if sop_class == KEY_OBJECTS:
            return self._key_object(header, content, study, instance)
        with self._lock:
            self._check_patient(study, header)
            stored = self._spool.add(study, instance, content)
        if stored.state == "other" and not _same_dataset(content, stored.path.read_bytes()):
            raise InputError(
                "The instance was received before with other content; the first one is kept in use.",
                code="input.duplicate",
                hint="Send changed images under new SOP instance UIDs.",
            )
        if stored.state == "new":
            self._arrived(study)
        return Answer(SUCCESS)

    def _key_object(self, header: Dataset, content: bytes, study: str, instance: str) -> Answer:
        """Follow a rejection note; any other key object is kept aside, since nothing is made from it."""
        note = read_rejection(header)
        with self._lock:
            concerned = {study} if note is None else {self._tokens.study(one.study_uid) for one in note.series}
            for one in concerned:
                self._check_patient(one, header)
            self._returned.add(study, instance, content)
            if note is not None:
                self._rejected.take(note)
        if note is not None:
            _log.info("instances rejected", study=study, code=note.code, count=len(note.sop_instance_uids))
            for one in concerned:
                self._arrived(one)
        return Answer(SUCCESS)

    def _check_patient(self, study: str, header: Dataset) -> None:
        mine = self._tokens.token("patient", *patient_of(header))
        known = self._patients.get(study)
        if known is None:
            files = self._spool.files(study)
            first = header if not files else dcmread(self._spool.folder(study) / files[0], stop_before_pixels=True)
            known = self._patients[study] = self._tokens.token("patient", *patient_of(first))
        if mine != known:
            raise InputError(
                "The study UID was received before with another patient.",
                code="input.two_patients",
                hint="Find out which patient the study belongs to, correct it at its source and send it again.",
            )

    def _study_of(self, content: bytes) -> str:
        try:
            header = dcmread(BytesIO(content), stop_before_pixels=True, specific_tags=["StudyInstanceUID"], force=True)
            uid = str(header.get("StudyInstanceUID", ""))
        except Exception:
            return ""
        return self._tokens.study(uid) if uid else ""


def patient_of(header: Dataset) -> tuple[str, str, str]:
    """What tells one patient from another: id and its issuer, or name and birth date where there is no id."""
    patient_id = str(header.get("PatientID", "") or "").strip()
    if patient_id:
        return (patient_id, str(header.get("IssuerOfPatientID", "") or "").strip(), "")
    name = str(header.get("PatientName", "") or "").strip().casefold()
    return ("", name, str(header.get("PatientBirthDate", "") or ""))


def read_whole(content: bytes) -> Dataset:
    """The dataset of a DICOM file, complete to its last byte.

    Raises:
        InputError: `input.unreadable`: it cannot be decoded, or ends too early.
    """
    try:
        dataset = dcmread(BytesIO(content))
        for tag in list(dataset.keys()):
            element: object = dataset.get_item(tag)
            if isinstance(element, RawDataElement) and element.length != _UNDEFINED:
                found = len(element.value or b"")
                if found != element.length:
                    raise InputError(
                        f"An element is cut off: {found} of {element.length} bytes.", hint="Send the instance again."
                    )
        name = UID(str(dataset.get("SOPClassUID", ""))).name
        image = "Image Storage" in name or name == "Segmentation Storage"
        pixels = any(dataset.get_item(tag) is not None for tag in _PIXELS if tag in dataset)
    except InputError:
        raise
    except Exception as fault:  # pydicom raises whatever the bytes lead it to
        raise InputError(
            f"The instance cannot be decoded ({type(fault).__name__}).", hint="Send the instance again."
        ) from fault
    if "SOPClassUID" not in dataset or "SOPInstanceUID" not in dataset:
        # What pydicom makes of a file that ends inside its compressed pixels.
        raise InputError("The instance ends before its last element.", hint="Send it again.")
    if image and not pixels:
        raise InputError("The instance is an image but ends before its pixels.", hint="Send it again.")
    return dataset


def _same_dataset(one: bytes, other: bytes) -> bool:
    """Whether two files differ only in how they were encoded for the network."""
    first, second = dcmread(BytesIO(one)), dcmread(BytesIO(other))
    if first.file_meta.TransferSyntaxUID == second.file_meta.TransferSyntaxUID:
        return False
    return bool(Dataset(first) == Dataset(second))


def _answer(fault: InputError) -> Answer:
    status = {"input.duplicate": CONFLICT, "input.two_patients": TWO_PATIENTS}.get(fault.code, UNREADABLE)
    if isinstance(fault, _AnotherObjectError):
        status = MISMATCH
    return Answer(status, f"quarantined: {fault.code}"[:64])
