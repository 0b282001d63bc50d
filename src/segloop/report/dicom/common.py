"""What every outgoing DICOM object shares: whose study it belongs to, what made it, when, and how it is put on disk."""

from __future__ import annotations

import hashlib
import os
from datetime import datetime, timedelta, timezone
from pathlib import Path

from pydicom import DataElement, Dataset, config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pydicom.valuerep import PersonName, validate_value

from segloop.io.dicom.header import plain_text, quiet
from segloop.io.dicom.own import MANUFACTURER
from segloop.io.dicom.refs import SeriesRef
from segloop.report.findings import Findings

RESEARCH_USE = "For research use only. Not for diagnosis."

# Patient, Clinical Trial Subject, General Study, Patient Study: what says whose and which study this is.
_IDENTITY = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence", "TypeOfPatientID"),
    *("OtherPatientIDsSequence", "OtherPatientNames", "PatientBirthDate", "PatientBirthTime", "PatientSex"),
    *("EthnicGroup", "PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence"),
    *("PatientSpeciesDescription", "PatientSpeciesCodeSequence", "PatientBreedDescription"),
    *("PatientBreedCodeSequence", "BreedRegistrationSequence", "ResponsiblePerson", "ResponsiblePersonRole"),
    *("ResponsibleOrganization", "ClinicalTrialSponsorName", "ClinicalTrialProtocolID", "ClinicalTrialProtocolName"),
    *("ClinicalTrialSiteID", "ClinicalTrialSiteName", "ClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID"),
    *("StudyInstanceUID", "StudyID", "StudyDate", "StudyTime", "StudyDescription", "AccessionNumber"),
    *("IssuerOfAccessionNumberSequence", "ReferringPhysicianName", "ProcedureCodeSequence", "PatientAge"),
    *("PatientSize", "PatientWeight", "PatientSexNeutered", "LongitudinalTemporalInformationModified"),
    "TimezoneOffsetFromUTC",
)
IDENTIFIERS = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID"),
    "AccessionNumber",
)
"""What a result and its source must agree in before the result may leave."""
_TYPE_2 = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime"),
    *("AccessionNumber", "ReferringPhysicianName"),
)


def derive_uid(key: str, role: str) -> str:
    """The same `2.25.…` UID for the same key and role, on every machine.

    Args:
        key: What the object is made from; a change of it is a new version of the object.
        role: Which of the objects made from it.

    Source: DICOM PS3.5 B.2, UUID derived UIDs.

    >>> derive_uid("a", "seg") == derive_uid("a", "seg") != derive_uid("a", "sr")
    True
    """
    digest = hashlib.sha256(f"{key}\n{role}".encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def series_uid_of(uid: str) -> str:
    """The UID of the series that holds the one object `uid`; segloop puts each object in a series of its own."""
    return derive_uid(uid, "series")


def identity(series: SeriesRef) -> Dataset:
    """Patient and study attributes of the source, re-encoded so that one character set (UTF-8) holds them all.

    Identifiers are taken as they stand, also where the source breaks a length limit: a shortened one would no longer
    match. Descriptive values that are not allowed in DICOM (an age of `0Y`) are left out. Attributes that every object
    needs are there, empty where the source lacks them.
    """
    header = series.header()
    result = Dataset()
    with quiet():
        header.decode()
        result.SpecificCharacterSet = "ISO_IR 192"
        for keyword in _IDENTITY:
            if keyword in header and (keyword in IDENTIFIERS or _allowed(header[keyword])):
                result.add(_unicode(header[keyword]))
            elif keyword in _TYPE_2:
                result.add(_empty(keyword))
    return result


def link(dataset: Dataset, series: SeriesRef, findings: Findings, role: str, number: int) -> None:
    """Make `dataset` a result of the source's study: identity, series, equipment, dates, in place.

    Args:
        dataset: An object with its SOPInstanceUID.
        series: The source.
        findings: What made the object, and when.
        role: What it is, for the series description: `segmentation`, `measurements`, `report`, `key images`.
        number: Series number.
    """
    source = identity(series)
    for keyword in _IDENTITY:
        if keyword in dataset:
            del dataset[keyword]
    dataset.update(source)
    date, time = moment(findings.created, source)
    dataset.SeriesInstanceUID = series_uid_of(dataset.SOPInstanceUID)
    dataset.SeriesNumber = number
    dataset.SeriesDescription = f"{findings.model.title[: 63 - len(role)]} {role}"
    dataset.InstanceNumber = 1
    for keyword in ("SeriesDate", "InstanceCreationDate", "ContentDate"):
        setattr(dataset, keyword, date)
    for keyword in ("SeriesTime", "InstanceCreationTime", "ContentTime"):
        setattr(dataset, keyword, time)
    dataset.Manufacturer = MANUFACTURER
    dataset.ManufacturerModelName = MANUFACTURER
    dataset.SoftwareVersions = [f"segloop {findings.software}", findings.model.title]
    # A serial number has 64 characters, just enough to say exactly which weights were used.
    dataset.DeviceSerialNumber = findings.model.digest.removeprefix("sha256:")
    dataset.ContributingEquipmentSequence = [_equipment(findings, f"{date}{time}")]


def new_dataset(sop_class: str, uid: str, modality: str) -> Dataset:
    """An empty object of a class, with file meta information for Explicit VR Little Endian."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = UID(sop_class)
    dataset.SOPInstanceUID = UID(uid)
    dataset.Modality = modality
    return dataset


def save(dataset: Dataset, path: Path, syntax: UID = ExplicitVRLittleEndian) -> Path:
    """Write the object as a DICOM file, whole or not at all; equal objects give equal bytes.

    Args:
        dataset: The object.
        path: File to write.
        syntax: Little endian transfer syntax, with explicit or implicit VR.
    """
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    meta.ImplementationClassUID = UID(derive_uid("segloop", "implementation"))
    meta.ImplementationVersionName = "SEGLOOP"
    dataset.file_meta = meta
    dataset.preamble = b"\0" * 128
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with quiet():
            implicit = syntax == ImplicitVRLittleEndian
            dataset.save_as(temporary, enforce_file_format=True, little_endian=True, implicit_vr=implicit)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def state(findings: Findings) -> str:
    """What stands behind a mask, in words: nobody yet, or a signature."""
    return "automatic draft" if findings.signature is None else "signed"


def code_item(value: str, scheme: str, meaning: str) -> Dataset:
    """One item of a code sequence."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning[:64]
    return item


def source_reference(series: SeriesRef) -> list[Dataset]:
    """Items that name every instance of the source."""
    items = []
    for instance in series.files:
        item = Dataset()
        item.ReferencedSOPClassUID = UID(instance.sop_class_uid)
        item.ReferencedSOPInstanceUID = UID(instance.sop_instance_uid)
        items.append(item)
    return items


def _equipment(findings: Findings, moment: str) -> Dataset:
    model = findings.model
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [code_item("109102", "DCM", "Processing Equipment")]
    item.Manufacturer = MANUFACTURER
    item.ManufacturerModelName = model.name[:64]
    item.SoftwareVersions = model.version[:64]
    item.ContributionDateTime = moment
    run = f"; run by {model.runtime} in {model.precision}" if model.runtime else ""
    item.ContributionDescription = f"Model {model.name} {model.version}, {model.digest}{run}"
    return item


def moment(created: datetime, source: Dataset) -> tuple[str, str]:
    """DICOM date and time, in the offset that the source's own times are in where it states one."""
    offset = str(source.get("TimezoneOffsetFromUTC", "") or "")
    if len(offset) == 5 and offset[0] in "+-" and offset[1:].isdigit():
        minutes = int(offset[1:3]) * 60 + int(offset[3:])
        created = created.astimezone(timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes)))
    return created.strftime("%Y%m%d"), created.strftime("%H%M%S")


def _allowed(element: DataElement) -> bool:
    """Whether each value fits its value representation; sequences are taken as they are."""
    if element.VR == "SQ" or element.value is None:
        return True
    try:
        for value in element.value if element.VM > 1 else [element.value]:
            validate_value(element.VR, value if element.VR == "PN" else str(value), config.RAISE)
    except ValueError:
        return False
    return True


def _unicode(element: DataElement) -> DataElement:
    """A copy that forgets the character set it was read in."""
    if element.VR == "SQ":
        copied = DataElement(element.tag, "SQ", [_unicode_item(item) for item in element.value])
    elif element.VR == "PN" and element.value is not None:
        several = element.value if element.VM > 1 else [element.value]
        names = [PersonName(plain_text(str(name))) for name in several]
        copied = DataElement(element.tag, "PN", names if element.VM > 1 else names[0])
    else:
        value = plain_text(element.value) if isinstance(element.value, str) else element.value
        copied = DataElement(element.tag, element.VR, value, validation_mode=config.IGNORE)
    return copied


def _unicode_item(item: Dataset) -> Dataset:
    copied = Dataset()
    for element in item:
        if element.keyword != "SpecificCharacterSet" and not element.tag.is_private:
            copied.add(_unicode(element))
    return copied


def _empty(keyword: str) -> DataElement:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"a keyword of the DICOM dictionary is needed. Received: {keyword!r}")
    return DataElement(tag, dictionary_VR(tag), "")
