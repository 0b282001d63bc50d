"""Patients who do not exist, in every place of DICOM files where an identity can stand, and what must become of each.

    corpus = make(folder, patients=6, seed=0)

Each place is a `Check` of one of the ten action kinds of the MIDI-B challenge; `deid_score` counts them. Names are in
Latin, Chinese, Japanese, Korean, Cyrillic and Arabic writing, in the national character sets and in UTF-8.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pydicom import Dataset, FileDataset
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

CT, US, SR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.6.1", "1.2.840.10008.5.1.4.1.1.88.33"
KINDS = (
    "tag retained", "text not null", "text retained", "text removed", "date shifted", "UID changed", "UID consistent",
    "patient id consistent", "pixels hidden", "pixels retained",
)  # fmt: skip
_UTF8 = "ISO_IR 192"


@dataclass(frozen=True)
class _Script:
    """How names of one part of the world are written: character set, families, given names, their Latin forms."""

    charset: str | list[str]
    codecs: tuple[str, ...]
    families: tuple[str, ...]
    given: tuple[str, ...]
    latin: tuple[tuple[str, ...], tuple[str, ...]] | None = None


_SCRIPTS = (
    _Script("ISO_IR 100", ("latin-1",), ("Müllerhof", "O'Braidy", "Sørbakk"), ("Änneliese", "Léonce", "Quill")),
    _Script("GB18030", ("gb18030",), ("王", "欧阳", "诸葛"), ("小东", "芳", "建国"),
            (("Wangg", "Ouyang", "Zhuge"), ("Xiaodong", "Fangg", "Jianguo"))),
    _Script(["", "ISO 2022 IR 87"], ("shift_jis", "euc_jp"), ("山田", "佐々木"), ("太郎", "花子"),
            (("Yamada", "Sasaki"), ("Tarou", "Hanako"))),
    _Script(["", "ISO 2022 IR 149"], ("euc_kr",), ("홍", "남궁"), ("길동", "서연"),
            (("Hongg", "Namgung"), ("Gildong", "Seoyeon"))),
    _Script("ISO_IR 144", ("iso8859_5", "cp1251"), ("Иванченко", "Лукьянова"), ("Марфа", "Пётр")),
    _Script("ISO_IR 127", ("iso8859_6", "cp1256"), ("قباني", "الحسيني"), ("لنزار", "مريم")),
)  # fmt: skip


@dataclass(frozen=True)
class Check:
    """One place, and what must become of it.

    Attributes:
        kind: One of `KINDS`.
        path: Keywords and item numbers that lead there.
        words: What must be gone, or what must still be there.
    """

    kind: str
    path: tuple[str | int, ...]
    words: tuple[str, ...] = ()


@dataclass
class File:
    """One planted file: where it is, whose, what to check, and the box of burned-in text (top, left, bottom, right)."""

    path: Path
    patient: int
    checks: list[Check]
    burned: tuple[int, int, int, int] | None = None


@dataclass
class Person:
    """Somebody who does not exist."""

    name: str
    words: tuple[str, ...]


@dataclass
class Corpus:
    """Files, and for each patient all tokens that may not be found in any byte of a copy."""

    files: list[File] = field(default_factory=list)
    tokens: list[tuple[str, ...]] = field(default_factory=list)
    codecs: list[tuple[str, ...]] = field(default_factory=list)


def make(folder: Path, patients: int, seed: int = 0) -> Corpus:
    """Write the corpus: for each patient two CT slices of two studies, a structured report and an ultrasound image."""
    corpus, dice = Corpus(), random.Random(seed)
    folder.mkdir(parents=True)
    for number in range(patients):
        script = _SCRIPTS[number % len(_SCRIPTS)]
        patient = _Patient(number, script, dice, utf8=number // len(_SCRIPTS) % 2 == 1)
        corpus.tokens.append(patient.tokens)
        corpus.codecs.append(script.codecs)
        for kind, study in ((patient.slice, 0), (patient.slice, 1), (patient.report, 1), (patient.ultrasound, 1)):
            dataset, checks, burned = kind(study)
            path = folder / f"{number:04d}-{len(corpus.files):05d}.dcm"
            dataset.save_as(path, enforce_file_format=True)
            corpus.files.append(File(path, number, checks, burned))
    return corpus


class _Patient:
    def __init__(self, number: int, script: _Script, dice: random.Random, *, utf8: bool) -> None:
        self.number, self.dice = number, dice
        self.charset = _UTF8 if utf8 else script.charset
        self.me, self.doctor, self.mother = (_person(script, dice) for _ in range(3))
        self.id = f"MRN{dice.randrange(10**6, 10**7)}"
        self.accession = f"A{dice.randrange(10**7, 10**8)}"
        self.phone = f"{dice.randrange(200, 999)}-555-{dice.randrange(1000, 9999)}"
        self.street = f"{dice.randrange(10, 99)} Planted Avenue {dice.randrange(100, 999)}"
        self.hospital = f"Saint Planted Hospital {dice.randrange(1000, 9999)}"
        self.serial = f"SN{dice.randrange(10**6, 10**7)}"
        self.born = date(1930, 1, 1) + timedelta(days=dice.randrange(20000))
        self.root = f"1.2.826.0.1.3680043.9.{7000 + number}.{dice.randrange(10**6, 10**7)}"
        self.first = date(2011, 3, 1) + timedelta(days=dice.randrange(3000))
        self.latin = next((w for w in self.me.words if w.isascii() and len(w) > 3), self.id)
        self.tokens = tuple(
            {*self.me.words, *self.doctor.words, *self.mother.words, self.id, self.accession, self.phone, self.street}
            | {self.hospital, f"{self.born:%Y%m%d}", f"{self.born:%d.%m.%Y}", self.root}
        )

    def slice(self, study: int) -> tuple[FileDataset, list[Check], None]:
        """A CT slice with identities in every VR, nested, private, in an overlay and a curve."""
        dataset = self._common(
            study, CT, "CT", ImplicitVRLittleEndian if self.number % 3 == 1 else ExplicitVRLittleEndian
        )
        names = (self.me.words[0], self.id)
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        dataset.BodyPartExamined, dataset.PatientPosition = "CHEST", "HFS"
        dataset.KVP, dataset.SliceThickness, dataset.PixelSpacing = "120", "2.5", ["0.7", "0.7"]
        dataset.ImageOrientationPatient, dataset.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, study]
        dataset.FrameOfReferenceUID = f"{self.root}.9"
        dataset.SequenceName = "helix"
        dataset.ScheduledProcedureStepStartDate = f"{self._day(study):%Y%m%d}"
        pixels = np.random.default_rng(self.number).integers(0, 1000, (64, 64)).astype(np.uint16)
        _image(dataset, pixels)
        checks = [Check("tag retained", (k,)) for k in ("KVP", "PixelSpacing", "ImageOrientationPatient", "Rows")]
        checks += [Check("text retained", ("BodyPartExamined",), ("CHEST",)), Check("pixels retained", ("PixelData",))]
        checks += self._plant_texts(dataset, names) + self._plant_raw(dataset) + self._nest(dataset, study)
        overlay = bytes(64 * 64 // 8 - 20) + self.latin.ljust(20).encode()
        for element, vr, value in (
            (0x10, "US", b"\x40\0"), (0x11, "US", b"\x40\0"), (0x40, "CS", b"G "), (0x50, "SS", b"\1\0\1\0"),
            (0x100, "US", b"\1\0"), (0x102, "US", b"\0\0"), (0x3000, "OW", overlay),
            (0x4000, "LT", _even(self.latin)),
        ):  # fmt: skip
            _raw(dataset, 0x60000000 | element, vr, value)
        _raw(dataset, 0x50003000, "OB", _even(self.latin))
        checks += [
            Check("text removed", ("60003000",), (self.latin,)),
            Check("text removed", ("50003000",), (self.latin,)),
        ]
        return dataset, checks, None

    def report(self, study: int) -> tuple[FileDataset, list[Check], None]:
        """A structured report that names people in its content items."""
        dataset = self._common(study, SR, "SR", ExplicitVRLittleEndian)
        dataset.ValueType, dataset.ContinuityOfContent = "CONTAINER", "SEPARATE"
        dataset.CompletionFlag, dataset.VerificationFlag = "COMPLETE", "VERIFIED"
        dataset.ConceptNameCodeSequence = [_code("126000", "DCM", "Imaging Measurement Report")]
        verifier = Dataset()
        verifier.VerifyingObserverName, verifier.VerificationDateTime = (
            self.doctor.name,
            f"{self._day(study):%Y%m%d}1200",
        )
        verifier.VerifyingOrganization = self.hospital
        verifier.VerifyingObserverIdentificationCodeSequence = [_code(self.id, "99LOCAL", self.doctor.words[0])]
        dataset.VerifyingObserverSequence = [verifier]
        told = f"nodule of {self.me.words[0]} seen, {self.id}"
        items = [
            _item("PNAME", _code("121008", "DCM", "Person Observer Name"), "PersonName", self.doctor.name),
            _item("TEXT", _code("111111", "99X", "Remark"), "TextValue", told),
            _item("UIDREF", _code("112039", "99X", "Tracking"), "UID", f"{self.root}.{study}.77"),
            _item("NUM", _code("118565006", "SCT", "Volume"), "ConceptCodeSequence", [_code("1", "99X", "x")]),
            _item("DATE", _code("111018", "DCM", "Content Date"), "Date", f"{self._day(study):%Y%m%d}"),
        ]
        dataset.ContentSequence = items
        checks = [
            Check("text removed", ("VerifyingObserverSequence",), (*self.doctor.words, self.id, self.hospital)),
            Check("text removed", ("ContentSequence", 0, "PersonName"), self.doctor.words),
            Check("text removed", ("ContentSequence", 1, "TextValue"), (self.me.words[0], self.id)),
            Check("text retained", ("ContentSequence", 1, "TextValue"), ("nodule of", "seen")),
            Check("UID changed", ("ContentSequence", 2, "UID")),
            Check("tag retained", ("ContentSequence", 3)),
            Check("date shifted", ("ContentSequence", 4, "Date")),
        ]
        return dataset, checks, None

    def ultrasound(self, study: int) -> tuple[FileDataset, list[Check], tuple[int, int, int, int]]:
        """An ultrasound image with the patient's name and number drawn above the sector."""
        dataset = self._common(study, US, "US", ExplicitVRLittleEndian)
        dataset.ManufacturerModelName = "LOGIQ9"
        picture = Image.new("L", (640, 120), 0)
        draw, font = ImageDraw.Draw(picture), ImageFont.load_default(14)
        draw.fontmode = "1"
        box = draw.textbbox((20, 12), f"{self.latin} {self.id}", font=font)
        draw.text((20, 12), f"{self.latin} {self.id}", 255, font=font)
        pixels = np.asarray(picture).copy()
        pixels[70:, 100:500] = np.random.default_rng(self.number).integers(20, 180, (50, 400))
        _image(dataset, pixels.astype(np.uint8))
        checks = [Check("pixels hidden", ("PixelData",)), Check("text removed", ("PatientName",), self.me.words)]
        return dataset, checks, (box[1], box[0], box[3], box[2])

    def _common(self, study: int, sop_class: str, modality: str, syntax: str) -> FileDataset:
        meta = FileMetaDataset()
        meta.TransferSyntaxUID, meta.SourceApplicationEntityTitle = UID(syntax), self.id[:16]
        dataset = FileDataset("", {}, file_meta=meta, preamble=_even(self.latin).ljust(128, b"\0"))
        dataset.SpecificCharacterSet = self.charset
        dataset.SOPClassUID, dataset.Modality = sop_class, modality
        dataset.SOPInstanceUID = f"{self.root}.{study}.1.{self.dice.randrange(10**6)}"
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"{self.root}.{study}", f"{self.root}.{study}.1"
        day = f"{self._day(study):%Y%m%d}"
        dataset.StudyDate, dataset.SeriesDate, dataset.ContentDate, dataset.StudyTime = day, day, day, "101500"
        dataset.PatientName, dataset.PatientID = self.me.name, self.id
        dataset.PatientBirthDate, dataset.PatientSex = f"{self.born:%Y%m%d}", "F"
        dataset.ReferringPhysicianName, dataset.OperatorsName = self.doctor.name, self.doctor.name
        dataset.PatientMotherBirthName, dataset.OtherPatientIDs = self.mother.name, f"X{self.id}"
        dataset.AccessionNumber, dataset.StudyID = self.accession, self.accession[:8]
        dataset.PatientTelephoneNumbers, dataset.PatientAddress = self.phone, self.street
        dataset.InstitutionName, dataset.Manufacturer = self.hospital, "Acme"
        dataset.SeriesNumber, dataset.InstanceNumber = "1", "1"
        return dataset

    def _plant_texts(self, dataset: Dataset, names: tuple[str, ...]) -> list[Check]:
        """In descriptors and in text that no rule lists."""
        who = f"{self.me.words[0]} {self.id}"
        dataset.StudyDescription = f"CT Thorax {who}"
        dataset.ProtocolName = f"Thorax {self.doctor.words[0]}"
        dataset.ImageComments = f"born {self.born:%d.%m.%Y}, call {self.phone}, mother {self.mother.words[0]}"
        dataset.DerivationDescription = f"axial {self.street}"
        dataset.FilterType = self.latin[:12]
        dataset.ConvolutionKernel = "B30f"
        dataset.ContrastBolusAgent = f"Iodine {self.me.words[0]}"
        kept = (("StudyDescription", "CT Thorax"), ("ProtocolName", "Thorax"), ("DerivationDescription", "axial"))
        kept += (("ConvolutionKernel", "B30f"), ("SequenceName", "helix"), ("Manufacturer", "Acme"))
        gone = {
            "StudyDescription": names, "ProtocolName": (self.doctor.words[0],), "FilterType": (self.latin[:12],),
            "ImageComments": (f"{self.born:%d.%m.%Y}", self.phone, self.mother.words[0]),
            "DerivationDescription": (self.street,), "ContrastBolusAgent": (self.me.words[0],),
            "PatientName": self.me.words, "PatientID": (self.id,), "PatientMotherBirthName": self.mother.words,
            "ReferringPhysicianName": self.doctor.words, "OperatorsName": self.doctor.words,
            "PatientBirthDate": (f"{self.born:%Y%m%d}",), "InstitutionName": (self.hospital,),
            "AccessionNumber": (self.accession,), "PatientAddress": (self.street,), "OtherPatientIDs": (self.id,),
        }  # fmt: skip
        checks = [Check("text retained", (keyword,), (word,)) for keyword, word in kept]
        checks += [Check("text removed", (keyword,), words) for keyword, words in gone.items()]
        checks += [Check("text not null", (keyword,)) for keyword in ("PatientName", "PatientID", "SOPInstanceUID")]
        checks += [Check("date shifted", (k,)) for k in ("StudyDate", "SeriesDate", "ScheduledProcedureStepStartDate")]
        checks += [Check("UID changed", (k,)) for k in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")]
        checks += [Check("UID consistent", (k,)) for k in ("StudyInstanceUID", "FrameOfReferenceUID")]
        return [*checks, Check("patient id consistent", ("PatientID",))]

    def _plant_raw(self, dataset: Dataset) -> list[Check]:
        """In values that their VR does not allow, in unknown and private elements, in every VR."""
        text, checks = _even(self.latin), list[Check]()
        odd = (
            ("RetrieveAETitle", "AE"), ("PatientAge", "AS"), ("ScanOptions", "CS"), ("AcquisitionDate", "DA"),
            ("ExposureTimeInuS", "DS"), ("AcquisitionDateTime", "DT"), ("AcquisitionNumber", "IS"),
            ("AcquisitionComments", "LT"), ("PersonName", "PN"), ("TextValue", "UT"), ("RetrieveURL", "UR"),
            ("LongCodeValue", "UC"), ("AcquisitionTime", "TM"), ("InstitutionAddress", "ST"), ("CodeValue", "SH"),
        )  # fmt: skip
        for keyword, vr in odd:
            _raw(dataset, Tag(keyword), vr, text)
            checks.append(Check("text removed", (keyword,), (self.latin,)))
        _raw(dataset, 0x00090010, "LO", b"ACME 1.1")
        binary = ("OB", "OW", "OD", "OF", "OL", "OV", "UN")
        for number, vr in enumerate((*binary, "LO", "PN", "LT", "SH", "DS", "UI")):
            _raw(dataset, 0x00091000 + number, vr, text.ljust(32))
            checks.append(Check("text removed", (f"{0x00091000 + number:08X}",), (self.latin,)))
        for tag in (0x00180FF1, 0x00320FF1):
            _raw(dataset, tag, "UN", text)
            checks.append(Check("text removed", (f"{tag:08X}",), (self.latin,)))
        return checks

    def _nest(self, dataset: Dataset, study: int) -> list[Check]:
        """In items of sequences, and in items of items."""
        deep, inner = Dataset(), Dataset()
        deep.PatientName, deep.ReferencedSOPInstanceUID = self.me.name, f"{self.root}.{study}.5"
        deep.ReferencedSOPClassUID, deep.SeriesDescription = CT, f"scout {self.me.words[0]}"
        inner.ReferencedSOPClassUID, inner.ReferencedSOPInstanceUID = CT, f"{self.root}.{study}.6"
        inner.PurposeOfReferenceCodeSequence = [_code("121311", "DCM", f"Localizer {self.doctor.words[0]}")]
        inner.ReferencedImageSequence = [deep]
        dataset.SourceImageSequence = [inner]
        request = Dataset()
        request.RequestingPhysician, request.RequestedProcedureID = self.doctor.name, self.accession
        dataset.RequestAttributesSequence = [request]
        below = ("SourceImageSequence", 0, "ReferencedImageSequence", 0)
        return [
            Check("text removed", (*below, "PatientName"), self.me.words),
            Check("text removed", (*below, "SeriesDescription"), self.me.words[:1]),
            Check("text removed", ("RequestAttributesSequence",), (*self.doctor.words, self.accession)),
            Check("text removed", ("SourceImageSequence", 0, "PurposeOfReferenceCodeSequence"), self.doctor.words[:1]),
            Check("tag retained", ("SourceImageSequence", 0, "PurposeOfReferenceCodeSequence")),
            Check("UID changed", (*below, "ReferencedSOPInstanceUID")),
            Check("UID changed", ("SourceImageSequence", 0, "ReferencedSOPInstanceUID")),
            Check("tag retained", (*below, "ReferencedSOPClassUID")),
        ]

    def _day(self, study: int) -> date:
        return self.first + timedelta(days=41 * study)


def _person(script: _Script, dice: random.Random) -> Person:
    family, given = dice.randrange(len(script.families)), dice.randrange(len(script.given))
    native = f"{script.families[family]}^{script.given[given]}"
    if script.latin is None:
        return Person(native, (script.families[family], script.given[given]))
    families, names = script.latin
    full = script.families[family] + script.given[given]
    return Person(f"{families[family]}^{names[given]}={native}", (full, families[family], names[given]))


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code


def _item(kind: str, concept: Dataset, keyword: str, value: object) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType, item.ConceptNameCodeSequence = "CONTAINS", kind, [concept]
    setattr(item, keyword, value)
    return item


def _image(dataset: Dataset, pixels: np.ndarray) -> None:
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.itemsize
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, 0
    dataset.add_new("PixelData", "OW" if pixels.itemsize == 2 else "OB", pixels.tobytes())


def _raw(dataset: Dataset, tag: int, vr: str, value: bytes) -> None:
    """An element as bytes, whatever its VR allows."""
    implicit = dataset.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    dataset[Tag(tag)] = RawDataElement(Tag(tag), vr, len(value), value, 0, implicit, True)


def _even(text: str) -> bytes:
    content = text.encode("ascii", "ignore")
    return content + b" " * (len(content) % 2)
