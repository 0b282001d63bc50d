"""What a dataset's label names mean: SNOMED CT codes, Chinese names and colours for the usual ones.

A name that is not in the table is coded "Tissue": true of every mask, and plainly no more than that.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from segloop.plan import Code, LabelSpec

ANATOMICAL = Code(value="91723000", meaning="Anatomical Structure")
ABNORMAL = Code(value="49755003", meaning="Morphologically Abnormal Structure")
TISSUE = Code(value="85756007", meaning="Tissue")


class Term(NamedTuple):
    """One coded concept with the words that name it, in lower case; the first Chinese word is the one shown."""

    code: str
    meaning: str
    words: tuple[str, ...]
    chinese: tuple[str, ...]
    category: Code = ANATOMICAL
    components: bool = False


# Morphology stands first: "liver tumour" is a tumour. Codes and meanings follow DICOM PS3.16 CID 7151 and 7159.
TERMS: tuple[Term, ...] = (
    Term(
        "108369006",
        "Neoplasm",
        ("tumour", "tumor", "gtv", "neoplasm", "cancer", "carcinoma"),
        ("肿瘤", "癌"),
        ABNORMAL,
        True,
    ),
    Term("27925004", "Nodule", ("nodule",), ("结节",), ABNORMAL, True),
    Term("367643001", "Cyst", ("cyst",), ("囊肿",), ABNORMAL, True),
    Term("79654002", "Edema", ("edema", "oedema"), ("水肿",), ABNORMAL),
    Term("6574001", "Necrosis", ("necrosis",), ("坏死",), ABNORMAL),
    Term("52988006", "Lesion", ("lesion", "metastasis", "metastases"), ("病灶", "病变", "转移"), ABNORMAL, True),
    Term("5366008", "Hippocampus", ("hippocampus",), ("海马",)),
    Term("10200004", "Liver", ("liver",), ("肝脏", "肝")),
    Term("78961009", "Spleen", ("spleen",), ("脾脏", "脾")),
    Term("64033007", "Kidney", ("kidney",), ("肾脏", "肾")),
    Term("15776009", "Pancreas", ("pancreas",), ("胰腺", "胰")),
    Term("41216001", "Prostate", ("prostate",), ("前列腺",)),
    Term("89837001", "Bladder", ("bladder",), ("膀胱",)),
    Term("28231008", "Gallbladder", ("gallbladder",), ("胆囊",)),
    Term("69695003", "Stomach", ("stomach",), ("胃",)),
    Term("71854001", "Colon", ("colon",), ("结肠",)),
    Term("39607008", "Lung", ("lung",), ("肺",)),
    Term("80891009", "Heart", ("heart",), ("心脏",)),
    Term("15825003", "Aorta", ("aorta",), ("主动脉",)),
    Term("32849002", "Esophagus", ("esophagus", "oesophagus"), ("食管",)),
    Term("12738006", "Brain", ("brain",), ("脑",)),
    Term("2748008", "Spinal cord", ("spinal",), ("脊髓",)),
    Term("51282000", "Vertebra", ("vertebra", "vertebrae"), ("椎骨", "椎体")),
    Term("272673000", "Bone", ("bone",), ("骨",)),
    Term("59820001", "Blood Vessel", ("vessel", "vessels"), ("血管",)),
    Term("4421005", "Cell", ("cell", "cells"), ("细胞",)),
)

# Told apart for the colour-blind as well (Okabe and Ito, 2008), black left out.
COLOURS: tuple[tuple[int, int, int], ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (204, 121, 167),
    (213, 94, 0),
    (0, 114, 178),
    (240, 228, 66),
)

# Parts named only by their side stand for a part of what the dataset is about ("Anterior" of dataset "Hippocampus").
_SIDES = {"anterior": "前部", "posterior": "后部", "left": "左", "right": "右", "superior": "上部", "inferior": "下部"}


def words(name: str) -> tuple[str, ...]:
    """Lower-case words of a label name; `"kidney_Left2"` gives `("kidney", "left")`."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return tuple(re.findall(r"[^\W\d_]+", spaced.lower()))


def label_spec(value: int, name: str, dataset: str = "") -> LabelSpec:
    """The label with its code, category, Chinese name and colour.

    Args:
        value: Number in the label map.
        name: Name as in the dataset, English or Chinese.
        dataset: The dataset's name, which says what a bare side such as "Anterior" is a part of.
    """
    own = words(name)
    side_only = bool(own) and all(word in _SIDES for word in own)
    term = _find(own, name) or (_find(words(dataset), dataset) if side_only else None)
    colour = COLOURS[(value - 1) % len(COLOURS)]
    if term is None:
        return LabelSpec(value=value, name=name, name_zh=_chinese(name, own, None), colour=colour)
    return LabelSpec(
        value=value,
        name=name,
        name_zh=_chinese(name, own, term),
        code=Code(value=term.code, meaning=term.meaning),
        category=term.category,
        site=_site(term, own, name, dataset),
        components=term.components,
        colour=colour,
    )


def _site(term: Term, own: Sequence[str], name: str, dataset: str) -> Code | None:
    """The organ that an abnormality's own name, else the dataset's, says it lies in."""
    if term.category != ABNORMAL:
        return None
    organs = [other for other in TERMS if other.category == ANATOMICAL]
    for tokens, text in ((own, name), (words(dataset), dataset)):
        for organ in organs:
            if any(word in tokens for word in organ.words) or any(word in text for word in organ.chinese):
                return Code(value=organ.code, meaning=organ.meaning)
    return None


def _find(own: Sequence[str], name: str) -> Term | None:
    for term in TERMS:
        if any(word in own for word in term.words) or any(word in name for word in term.chinese):
            return term
    return None


def _chinese(name: str, own: Sequence[str], term: Term | None) -> str:
    """The name in Chinese where every word of it is known; empty otherwise, so that the English name is shown."""
    if re.search(r"[\u4e00-\u9fff]", name):
        return name
    if term is None:
        return ""
    sides = [_SIDES[word] for word in own if word in _SIDES]
    rest = [word for word in own if word not in _SIDES and word not in term.words]
    if rest or not own:
        return ""
    side = "".join(sides)
    # 左肾, but 海马前部: a lateral side stands before its noun, a part after it.
    return f"{side}{term.chinese[0]}" if side in ("左", "右") else f"{term.chinese[0]}{side}"
