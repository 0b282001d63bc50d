from __future__ import annotations

import pytest
from pydicom.sr._concepts_dict import concepts

from segloop.data.terms import ABNORMAL, ANATOMICAL, TERMS, label_spec, words


@pytest.mark.parametrize("term", TERMS, ids=lambda term: term.meaning)
def test_every_code_is_dicoms_own(term: object) -> None:
    code, meaning = term.code, term.meaning  # type: ignore[attr-defined]
    meanings = {m.casefold() for entry in concepts["SCT"].values() for c, (m, _) in entry.items() if c == code}
    assert meaning.casefold() in meanings


def test_a_bare_side_is_a_part_of_what_the_dataset_is_about() -> None:
    spec = label_spec(1, "Anterior", "Hippocampus")
    assert (spec.code.meaning, spec.name, spec.name_zh, spec.category) == (
        "Hippocampus",
        "Anterior",
        "海马前部",
        ANATOMICAL,
    )


def test_a_tumour_of_an_organ_is_a_tumour_there_and_counted() -> None:
    spec = label_spec(2, "liver_tumour")
    assert spec.category == ABNORMAL
    assert spec.components
    assert spec.site is not None
    assert spec.site.meaning == "Liver"


@pytest.mark.parametrize(
    ("name", "meaning", "chinese"),
    [
        ("liver", "Liver", "肝脏"),
        ("left kidney", "Kidney", "左肾脏"),
        ("KidneyRight", "Kidney", "右肾脏"),
        ("lesion", "Lesion", "病灶"),
        ("肝脏", "Liver", "肝脏"),
        ("海马后部", "Hippocampus", "海马后部"),
        ("GTV_Mass", "Neoplasm", ""),
        ("blob", "Tissue", ""),
    ],
)
def test_names_in_english_and_chinese(name: str, meaning: str, chinese: str) -> None:
    spec = label_spec(1, name)
    assert (spec.code.meaning, spec.name, spec.name_zh) == (meaning, name, chinese)


def test_words_of_a_name() -> None:
    assert words("kidney_Left2") == ("kidney", "left")
