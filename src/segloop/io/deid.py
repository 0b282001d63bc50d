"""Copies for training without identity: the header part of DICOM's Basic Application Confidentiality Profile.

What happens to each attribute stands in `basic_profile.txt`, taken from PS3.15 Table E.1-1. Pseudonyms and UIDs are
keyed hashes: the same patient, study and instance get the same ones each time, and nobody without the key can link them
back. Pixels are not looked at: an image that says its annotations are burned in is refused.

Source: DICOM PS3.15 2024b, annex E.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.dataelem import DataElement
from pydicom.dataset import FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.sequence import Sequence as Items

from segloop.errors import InputError, PrivacyError

METHOD = "segloop: DICOM PS3.15 Basic Profile (header)"
_DUMMY = {"DA": "19000101", "TM": "000000", "DT": "19000101000000", "AS": "000Y", "PN": "REMOVED", "AE": "REMOVED"}
_TEXT = frozenset({"LO", "SH", "LT", "ST", "UT", "UC", "CS", "PN", "UR"})
_SHORTEST_WORD = 4


def pseudonym(patient_id: str, issuer: str, key: bytes) -> str:
    """The patient's pseudonym: 16 hex digits, the same for the same patient and key."""
    return _hash(key, "patient", f"{patient_id.strip()}\\{issuer.strip()}").hex()[:16]


def pseudonymise(sources: Sequence[Path], out: Path, key: bytes) -> tuple[Path, ...]:
    """Write copies without identity, named by their new SOP instance UIDs.

    Args:
        sources: DICOM files of one patient.
        out: Folder for the copies; made when absent.
        key: Secret that pseudonyms and UIDs are derived with.

    Raises:
        InputError: `input.two_patients`, `input.unreadable`.
        PrivacyError: `pixels.uncleared`: text is burned into the pixels; `identity.found`: a part of the patient's name
            or id still stands in a copy. In both cases nothing of that image is written.
    """
    out.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    seen: str | None = None
    for number, source in enumerate(sources, start=1):
        try:
            dataset = dcmread(source)
        except (OSError, InvalidDicomError) as fault:
            raise InputError(f"File {number} of {len(sources)} cannot be read as DICOM.") from fault
        alias = pseudonym(str(dataset.get("PatientID", "")), str(dataset.get("IssuerOfPatientID", "")), key)
        if seen not in (None, alias):
            raise InputError("The files to copy belong to two patients.", code="input.two_patients")
        seen = alias
        _clean_file(dataset, alias, key)
        target = out / f"{dataset.SOPInstanceUID}.dcm"
        temporary = target.with_suffix(".tmp")
        dataset.save_as(temporary, enforce_file_format=True)
        temporary.replace(target)
        written.append(target)
    return tuple(written)


def new_uid(uid: str, key: bytes) -> str:
    """A UID derived from another with the key, under 2.25.

    Source: DICOM PS3.5 section B.2, UUID-derived UIDs.
    """
    return f"2.25.{int.from_bytes(_hash(key, 'uid', uid)[:16], 'big')}"


def _clean_file(dataset: Dataset, alias: str, key: bytes) -> None:
    if str(dataset.get("BurnedInAnnotation", "")).upper() == "YES":
        raise PrivacyError(
            "An image says that text is burned into its pixels, so no copy is kept.", code="pixels.uncleared"
        )
    words = _identity_words(dataset)
    old_meta = dataset.file_meta
    _clean(dataset, key)
    dataset.PatientName = alias
    dataset.PatientID = alias
    dataset.PatientIdentityRemoved = "YES"
    dataset.LongitudinalTemporalInformationModified = "REMOVED"
    dataset.DeidentificationMethod = METHOD
    dataset.DeidentificationMethodCodeSequence = Items([_method_code()])
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = old_meta.TransferSyntaxUID
    dataset.preamble = b"\0" * 128
    _refuse_identity(dataset, words)


def _method_code() -> Dataset:
    code = Dataset()
    code.CodeValue = "113100"
    code.CodingSchemeDesignator = "DCM"
    code.CodeMeaning = "Basic Application Confidentiality Profile"
    return code


def _clean(dataset: Dataset, key: bytes) -> None:
    table = _table()
    for element in list(dataset):
        tag = element.tag
        action = table.get((tag.group, tag.element), "")
        if tag.is_private or tag.group & 0xFF00 in (0x5000, 0x6000) or action == "X":
            del dataset[tag]
        elif action == "Z":
            element.value = [] if element.VR == "SQ" else ""
        elif action == "D":
            _dummy(dataset, element, key)
        elif action == "U":
            _map_uids(element, key)
        elif element.VR == "SQ":
            for item in element.value:
                _clean(item, key)


def _dummy(dataset: Dataset, element: DataElement, key: bytes) -> None:
    if element.VR == "UI":
        _map_uids(element, key)
    elif element.VR in _DUMMY:
        element.value = _DUMMY[element.VR]
    elif element.VR in _TEXT:
        element.value = "REMOVED"
    else:
        del dataset[element.tag]


def _map_uids(element: DataElement, key: bytes) -> None:
    if element.VR != "UI" or not element.value:
        return
    value = element.value
    element.value = new_uid(str(value), key) if isinstance(value, str) else [new_uid(str(v), key) for v in value]


def _identity_words(dataset: Dataset) -> frozenset[str]:
    sources = (dataset.get("PatientName", ""), dataset.get("PatientID", ""), dataset.get("OtherPatientIDs", ""))
    words = {word.casefold() for source in sources for word in re.split(r"[\s^=,;.\\]+", str(source))}
    return frozenset(word for word in words if len(word) >= _SHORTEST_WORD)


def _refuse_identity(dataset: Dataset, words: frozenset[str]) -> None:
    """Look for the patient in what free text the profile leaves."""
    for element in dataset.iterall():
        if element.VR not in _TEXT:
            continue
        found = set(re.split(r"[\s^=,;.\\'\[\]]+", str(element.value).casefold())) & words
        if found:
            raise PrivacyError(
                f"A part of the patient's name or id still stands in {element.keyword or element.tag}; no copy.",
                code="identity.found",
                found=element.keyword,
            )


@cache
def _table() -> dict[tuple[int, int], str]:
    table: dict[tuple[int, int], str] = {}
    for line in files("segloop.io").joinpath("basic_profile.txt").read_text("utf-8").splitlines():
        if line.startswith("#"):
            continue
        action, group, *elements = line.split()
        table.update({(int(group, 16), int(element, 16)): action for element in elements})
    return table


def _hash(key: bytes, kind: str, text: str) -> bytes:
    return hmac.new(key, f"{kind}\0{text}".encode(), hashlib.sha256).digest()
