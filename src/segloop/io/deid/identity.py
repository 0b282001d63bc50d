"""The identities that a file names: names of everyone in it, numbers, addresses, birth date, UIDs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pydicom import Dataset
from pydicom.charset import convert_encodings
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement

from segloop.io.deid.elements import content_of, text_of, vr_of
from segloop.io.deid.matching import Matcher, matcher
from segloop.io.deid.profile import Option

_NUMBERS = (
    "PatientID OtherPatientIDs RETIRED_OtherPatientIDs AccessionNumber StudyID AdmissionID ServiceEpisodeID "
    "MedicalRecordLocator InsurancePlanIdentification RequestedProcedureID ScheduledProcedureStepID "
    "PerformedProcedureStepID PlacerOrderNumberImagingServiceRequest FillerOrderNumberImagingServiceRequest "
    "PatientTelephoneNumbers ReferringPhysicianTelephoneNumbers PersonTelephoneNumbers OrderCallbackPhoneNumber "
    "ClinicalTrialSubjectID ClinicalTrialSubjectReadingID IssuerOfPatientID"
)
_ADDRESSES = (
    "PatientAddress ReferringPhysicianAddress PersonAddress PatientInstitutionResidence PatientTelecomInformation "
    "PersonTelecomInformation CurrentPatientLocation"
)
_PLACES = "InstitutionName InstitutionAddress InstitutionalDepartmentName"
_DEVICES = "DeviceSerialNumber StationName GantryID"
_UIDS = "StudyInstanceUID SeriesInstanceUID SOPInstanceUID FrameOfReferenceUID"
_BIRTH = tag_for_keyword("PatientBirthDate")
_NOBODY = frozenset(
    ["removed", "anonymous", "anonymized", "anon", "unknown", "none", "patient", "name", "test", "phantom"]
)
_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_SHORTEST_NUMBER = 4
_SHORTEST_BARE_NUMBER = 6
_SHORTEST_PART = 8


def _tags(words: str) -> frozenset[int]:
    return frozenset(tag for tag in map(tag_for_keyword, words.split()) if tag is not None)


_ALL_NUMBERS, _ALL_ADDRESSES, _ALL_PLACES = _tags(_NUMBERS), _tags(_ADDRESSES), _tags(_PLACES)
_ALL_DEVICES, _ALL_UIDS = _tags(_DEVICES), _tags(_UIDS)


@dataclass(frozen=True, slots=True)
class Identities:
    """What must not be found in a copy.

    Attributes:
        words: Parts of names, in lower case; found as whole words.
        phrases: Numbers and addresses, in lower case; found as a whole.
        names: Names as they are written in full, for the search in pixels.
        uids: UIDs of the original.
        encodings: Python's names of the file's character sets.
        dates_stay: The copy has dates, one of which may happen to be the birth date.
    """

    words: frozenset[str]
    phrases: frozenset[str]
    names: frozenset[str]
    uids: frozenset[str]
    encodings: tuple[str, ...]
    dates_stay: bool = False

    @property
    def matcher(self) -> Matcher:
        """What finds them in text; made once for all files of a series."""
        return matcher(self.words, self.phrases, self.names, self.encodings, dates_stay=self.dates_stay)

    @classmethod
    def of(cls, dataset: Dataset, options: frozenset[Option]) -> Identities:
        """Everyone and everything the file itself names, at any depth, less what an option retains."""
        numbers = _ALL_NUMBERS | (_ALL_DEVICES if Option.DEVICE not in options else frozenset())
        places = _ALL_ADDRESSES | (_ALL_PLACES if Option.INSTITUTION not in options else frozenset())
        words, phrases, names, uids = set[str](), set[str](), set[str](), set[str]()
        encodings: dict[str, None] = {}
        for tag, vr, text, codecs in _texts(dataset):
            encodings.update(dict.fromkeys(codecs))
            if vr == "PN":
                found = _name(text)
                words.update(found[0])
                names.update(found[1])
                phrases.update(found[2])
            elif tag in numbers or tag in places:
                phrases.update(_phrases(text, split=tag in places))
            elif tag in _ALL_UIDS and Option.UIDS not in options:
                uids.update(part for part in text.split("\\") if len(part) > 8)
            elif tag == _BIRTH:
                phrases.update(_dates(text))
        stay = bool(options & {Option.FULL_DATES, Option.MODIFIED_DATES})
        sets = (frozenset(words), frozenset(phrases), frozenset(names), frozenset(uids))
        return cls(*sets, tuple(encodings), stay)


def encodings_of(dataset: Dataset, outer: Sequence[str] = ("iso8859",)) -> tuple[str, ...]:
    """Python's names of a data set's character sets; an item of a sequence has its parent's unless it names its own."""
    element = dataset.get_item(0x00080005) if 0x00080005 in dataset else None
    if element is None:
        return tuple(outer)
    named = content_of(element).decode("ascii", "replace").strip("\0 ").split("\\")
    return tuple(convert_encodings([name.strip() for name in named]))


def _texts(dataset: Dataset, outer: Sequence[str] = ("iso8859",)) -> Iterator[tuple[int, str, str, tuple[str, ...]]]:
    """Tag, VR, text and character sets of every element that is no sequence, at any depth."""
    codecs = encodings_of(dataset, outer)
    for tag, element in list(dataset.items()):
        vr = vr_of(element)
        if vr == "SQ":
            for item in items_of(dataset, element):
                yield from _texts(item, codecs)
        elif vr == "PN" or tag in _WANTED:
            yield int(tag), vr, text_of(element, codecs), codecs


def items_of(dataset: Dataset, element: DataElement | RawDataElement) -> Iterable[Dataset]:
    """The items of a sequence."""
    value = dataset[element.tag].value
    return value if value is not None else ()


_WANTED = _ALL_NUMBERS | _ALL_ADDRESSES | _ALL_PLACES | _ALL_DEVICES | _ALL_UIDS | {_BIRTH}


def _name(text: str) -> tuple[set[str], set[str], set[str]]:
    """The parts of person names, without titles; each name written in the usual ways; parts that are codes."""
    words, names, codes = set[str](), set[str](), set[str]()
    for name in text.casefold().split("\\"):
        for group in name.split("="):
            parts = [part.strip() for part in group.split("^")[:3]]
            codes.update(part for part in parts if len(part) >= _SHORTEST_NUMBER and any(c.isdigit() for c in part))
            parts = [part for part in parts if not any(c.isdigit() for c in part)]
            single = {word for part in parts for word in re.split(r"[\s,.;'()\-]+", part)}
            words.update(word for word in single if len(word) > 1 and not word.isdigit() and word not in _NOBODY)
            filled = [part for part in parts if part and part not in _NOBODY]
            if len(filled) > 1:
                names.update(joint.join(order) for joint in "^ , " for order in (filled, filled[:2][::-1]))
                names.add("".join(filled))
                if all(part.isascii() for part in filled) and len(filled[0]) >= _SHORTEST_NUMBER:
                    # As accounts are called: jsmith, smithj
                    names.update((filled[1][0] + filled[0], filled[0] + filled[1][0]))
    return words, names, codes


def _phrases(text: str, *, split: bool) -> set[str]:
    whole = {part.strip() for part in text.casefold().split("\\")}
    # As systems write them that take a number for one
    whole |= {part.lstrip("0") for part in whole if part.isdigit() and len(part.lstrip("0")) >= _SHORTEST_BARE_NUMBER}
    parts = {piece.strip() for part in whole for piece in re.split(r"[,;\r\n]", part)} if split else set()
    return {part for part in whole if len(part) >= _SHORTEST_NUMBER and part not in _NOBODY} | {
        part for part in parts if len(part) >= _SHORTEST_PART
    }


def _dates(text: str) -> set[str]:
    """The ways in which a date is written in free text."""
    if not re.fullmatch(r"\d{8}", text) or text.startswith("1900"):
        return set()
    year, month, day = text[:4], text[4:6], text[6:]
    short = (month.lstrip("0"), day.lstrip("0"))
    orders = [(year, month, day), (month, day, year), (day, month, year)]
    orders += [(short[0], short[1], year), (short[1], short[0], year), (month, day, year[2:]), (day, month, year[2:])]
    return {text, *(joint.join(order) for joint in "-/." for order in orders), *_spelt_dates(year, *short)}


def _spelt_dates(year: str, month: str, day: str) -> set[str]:
    """A date with its month in words."""
    if not (1 <= int(month or 0) <= 12 and day):
        return set()
    long = _MONTHS[int(month) - 1]
    found = {f"{year}年{month}月{day}日", f"{year}年{month.zfill(2)}月{day.zfill(2)}日"}
    for name in {long, long[:3], f"{long[:3]}."}:
        for number in {day, day.zfill(2)}:
            found |= {f"{number} {name} {year}", f"{number}. {name} {year}", f"{name} {number}, {year}"}
            found |= {f"{name} {number} {year}", f"{number}-{name}-{year}", f"{number}-{name}-{year[2:]}"}
    return found
