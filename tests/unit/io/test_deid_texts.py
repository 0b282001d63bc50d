"""Identities in free text, in bytes and in structured reports that only their form or their place gives away."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.tag import Tag
from pydicom.uid import EnhancedSRStorage

import service_kit as kit
from segloop.errors import PrivacyError
from segloop.io import deid

KEY = b"k" * 32
KEPT = deid.Profile.of(["longitudinal"], ["descriptors", "structured-content", "graphics"])
SHORT = "Smitt^Jon"
"""Shorter than what is looked for among the bytes of a whole file."""


def copy_of(folder: Path, profile: deid.Profile = KEPT, **changes: object) -> Dataset:
    shutil.rmtree(folder / "in", ignore_errors=True)
    sources = kit.write(folder / "in", kit.slice_of(1, **changes))
    return dcmread(deid.pseudonymise(sources, folder / "out", KEY, profile)[0])


@pytest.mark.parametrize(
    "date",
    ["29 November 1963", "29. Nov 1963", "Nov 29, 1963", "november 29 1963", "29-NOV-1963", "29-Nov-63", "Nov. 1963",
     "1963年11月29日"],
)  # fmt: skip
def test_a_date_whose_month_is_a_word_goes(tmp_path: Path, date: str) -> None:
    assert copy_of(tmp_path, StudyDescription=f"MR knee {date} axial").StudyDescription == "MR knee axial"


def test_the_birth_date_in_words_goes_from_what_is_no_descriptor(tmp_path: Path) -> None:
    assert copy_of(tmp_path, deid.BASIC, SequenceName="tse 29 Nov 1963").SequenceName == "tse"


@pytest.mark.parametrize(
    "title", ["Dr Visitor", "DR. VISITOR", "dr visitor", "Mr. Visitor", "MR. VISITOR", "Mrs Visitor", "MISS VISITOR"]
)
def test_whoever_has_a_title_goes(tmp_path: Path, title: str) -> None:
    assert copy_of(tmp_path, StudyDescription=f"knee, {title}").StudyDescription == "knee"


@pytest.mark.parametrize("text", ["MR knee axial", "DR CHEST PA", "SR report", "MS protocol", "mr brain"])
def test_a_modality_is_no_title(tmp_path: Path, text: str) -> None:
    assert copy_of(tmp_path, StudyDescription=text).StudyDescription == text


@pytest.mark.parametrize("text", ["in the way of 2 mm", "marrow 30 deg", "may 12 slices", "dec 5"])
def test_what_is_no_date_stays(tmp_path: Path, text: str) -> None:
    assert copy_of(tmp_path, StudyDescription=text).StudyDescription == text


def test_an_address_on_the_net_goes_as_a_whole(tmp_path: Path) -> None:
    text = "MR knee q.zyxplanted@planted-clinic.example axial"
    assert copy_of(tmp_path, StudyDescription=text).StudyDescription == "MR knee axial"


@pytest.mark.parametrize("account", ["JSmitt", "smittj"])
def test_a_name_as_accounts_have_it_goes(tmp_path: Path, account: str) -> None:
    copy = copy_of(tmp_path, PatientName=SHORT, StudyDescription=f"MR knee for {account}")
    assert copy.StudyDescription == "MR knee for"


def test_bytes_that_hold_a_short_name_go_and_others_stay(tmp_path: Path) -> None:
    held = copy_of(tmp_path, PatientName=SHORT, ICCProfile=b"profile for Smitt, J")
    assert "ICCProfile" not in held
    assert copy_of(tmp_path, PatientName=SHORT, ICCProfile=b"profile for nobody..").ICCProfile


@pytest.mark.parametrize(
    ("tag", "vr"), [(0x00189073, "FD"), (0x00700314, "FL"), (0x00186020, "SL"), (0x00186032, "UL")]
)
def test_numbers_that_spell_a_name_go(tmp_path: Path, tag: int, vr: str) -> None:
    source = kit.slice_of(1, PatientName=SHORT)
    source[tag] = RawDataElement(Tag(tag), vr, 8, b"Smitt^J.", 0, False, True)
    (copy,) = deid.pseudonymise(kit.write(tmp_path / "in", source), tmp_path / "out", KEY)
    assert tag not in dcmread(copy)


def test_a_number_without_its_leading_zeros_is_the_same_number(tmp_path: Path) -> None:
    copy = copy_of(tmp_path, deid.BASIC, PatientID="0007731999", SequenceName="tse 7731999")
    assert copy.SequenceName == "tse"


def test_a_palette_that_holds_a_short_name_is_not_taken_from_its_image(tmp_path: Path) -> None:
    with pytest.raises(PrivacyError) as caught:
        copy_of(tmp_path, PatientName=SHORT, RedPaletteColorLookupTableData=b"red of Smitt")
    assert caught.value.code == "identity.found"


@pytest.mark.parametrize(("bits", "stays"), [(b"..Smitt.", False), (b"\xff\0\xff\0\xff\0\xff\0", True)])
def test_a_region_whose_bits_spell_a_name_goes_as_a_whole(tmp_path: Path, bits: bytes, stays: bool) -> None:
    source = kit.slice_of(1, PatientName=SHORT)
    for element, vr, value in ((0x10, "US", 8), (0x11, "US", 8), (0x40, "CS", "R"), (0x3000, "OW", bits)):
        source[0x60000000 | element] = DataElement(0x60000000 | element, vr, value)
    (copy,) = deid.pseudonymise(kit.write(tmp_path / "in", source), tmp_path / "out", KEY, KEPT)
    assert (0x60003000 in dcmread(copy)) == stays
    assert (0x60000010 in dcmread(copy)) == stays


def _report(profile: deid.Profile, folder: Path) -> list[Dataset]:
    items = []
    for kind, keyword, value in (
        ("TEXT", "TextValue", "nodule seen by Dr. Visitorplanted, call 555-123-4567, q@planted.example"),
        ("UIDREF", "UID", "1.2.3.4.5.6"),
    ):
        item, concept = Dataset(), Dataset()
        concept.CodeValue, concept.CodingSchemeDesignator, concept.CodeMeaning = "121071", "DCM", "Finding"
        item.RelationshipType, item.ValueType, item.ConceptNameCodeSequence = "CONTAINS", kind, [concept]
        setattr(item, keyword, value)
        items.append(item)
    return list(copy_of(folder, profile, SOPClassUID=EnhancedSRStorage, ContentSequence=items).ContentSequence)


def test_text_of_a_report_loses_what_looks_like_an_identity(tmp_path: Path) -> None:
    text, _ = _report(KEPT, tmp_path)
    assert text.TextValue.startswith("nodule seen by")
    assert not any(word in text.TextValue for word in ("planted", "555", "@"))


def test_a_report_keeps_its_uids_where_they_are_retained_and_only_there(tmp_path: Path) -> None:
    _, kept = _report(deid.Profile.of(["uids"], ["structured-content"]), tmp_path)
    assert kept.UID == "1.2.3.4.5.6"
    _, changed = _report(KEPT, tmp_path)
    assert deid.new_uid("1.2.3.4.5.6", KEY) == changed.UID
