"""What stands in place of a value: dummies by VR, dates moved by days, text without what could identify."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta

from segloop.io.deid.matching import Matcher

_LONGEST_DESCRIPTOR = 10_000
_FIRST_YEAR = 1850
REMOVED = "REMOVED"
"""The dummy of text, and what is left of a text that was nothing but identity."""

_DUMMIES = {"DA": "19000101", "TM": "000000", "DT": "19000101000000", "AS": "000Y", "DS": "0", "IS": "0"}
_DUMMIES |= dict.fromkeys(("LO", "SH", "LT", "ST", "UT", "UC", "CS", "PN", "AE"), REMOVED)
_DATE = re.compile(r"(\d{4})(\d{2})(\d{2})(.*)", re.DOTALL)
_LEGAL = {
    "DS": re.compile(rb"[0-9+\-.eE \\\0]*"),
    "IS": re.compile(rb"[0-9+\- \\\0]*"),
    "AS": re.compile(rb"(\d{3}[DWMY])?[ \0]*"),
    "CS": re.compile(rb"[\x20-\x7e\0]*"),
    "DA": re.compile(rb"[0-9.\- \\\0]*"),
    "TM": re.compile(rb"[0-9.:\- \\\0]*"),
    "DT": re.compile(rb"[0-9.+\- \\\0]*"),
    "UI": re.compile(rb"[0-9. \\\0]*"),
}
_ON_THE_NET = re.compile(r"https?://\S+|\bwww\.\S+|[\w.+-]+@[\w-]+(\.[\w-]+)+", re.IGNORECASE)
_MONTH = r"(?:jan(uary)?|feb(ruary)?|mar(ch)?|apr(il)?|may|june?|july?|aug(ust)?|sept?(ember)?|oct(ober)?|"
_MONTH += r"nov(ember)?|dec(ember)?)\.?"
_TITLE = r"((?-i:[Dd]r|Mr|Ms|Sr|Rn)|prof|mrs|miss|doctor|physician|herr|frau|mme|sra|dott)"
"""Without a point, `MR` is a modality, and so are `DR` and `SR`."""
_YEAR = r"(?:19|20)\d{2}"
_RISKY = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"\b({_TITLE}\s+|(dr|mr|ms|sr|md|rn|prof|mrs|dott)\.\s*)[^\W\d_][\w'\-]*\.?(\s+[^\W\d_][\w'\-]*\.?)?",
        r"\b(dob|born|birth\s*date|ssn|mrn|acc(ession)?|id|tel|phone|fax)\b\s*[#.:]*\s*[\w./-]*\d[\w./-]*",
        r"\b\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}\b",
        rf"\b(\d{{1,2}}(st|nd|rd|th)?[\s./-]*)?{_MONTH}[\s,./-]*{_YEAR}\b",
        rf"\b\d{{1,2}}(st|nd|rd|th)?[\s./-]*{_MONTH}[\s,./-]*\d{{2}}\b",
        rf"\b{_MONTH}\s*\d{{1,2}}(st|nd|rd|th)?[\s,./-]+{_YEAR}\b",
        rf"{_YEAR}\s*年(\s*\d{{1,2}}\s*月(\s*\d{{1,2}}\s*日)?)?",
        r"\b(19|20)\d{2}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])\b",
        r"\(?\+?\d[\d\s().-]{7,}\d",
        r"\b\d{5,}\b",
        r"\b\d{1,3}\s*(y/?o|years?\s*old|[mf])\b",
    )
]
"""What may identify someone in a descriptor although the file names nobody like it. Dates, addresses on the net,
numbers to call, numbers of five digits, titles with the name behind them, ages with sex."""


def dummy(vr: str) -> str | None:
    """A value of a VR that says nothing; None where there is none."""
    return _DUMMIES.get(vr)


def is_legal(vr: str, value: bytes) -> bool:
    """Whether a value has only characters that its VR allows; identities can hide in others."""
    pattern = _LEGAL.get(vr)
    return pattern is None or pattern.fullmatch(value) is not None


def shifted(text: str, days: int) -> str:
    """DA or DT values moved back by days; the time of day stays. What is no date becomes empty."""
    return "\\".join(_shifted(part.strip("\0 "), days) for part in text.split("\\"))


def _shifted(text: str, days: int) -> str:
    found = _DATE.fullmatch(text.replace("-", "").replace(".", "") if len(text) == 10 else text)
    if found is None:
        return ""
    year, month, day, rest = found.groups()
    try:
        moved = datetime(int(year), int(month), int(day)) - timedelta(days=days)
    except (ValueError, OverflowError):
        return ""
    return f"{moved:%Y%m%d}{rest}" if moved.year >= _FIRST_YEAR and re.fullmatch(r"[\d.+\-]*", rest) else ""


def cleaned(text: str, matcher: Matcher) -> str:
    """A descriptor without identities, known ones and those of their form; empty if it is far too long for one."""
    if len(text) > _LONGEST_DESCRIPTOR:
        return ""
    # An address on the net before the names in it, which would leave the rest of it
    return replaced(matcher.without(replaced(text, lambda whole: _ON_THE_NET.sub(" ", whole))), _without_risky)


def _without_risky(text: str) -> str:
    for pattern in _RISKY:
        text = pattern.sub(" ", text)
    return text


def replaced(text: str, change: Callable[[str], str]) -> str:
    """The text changed, with the gaps closed that this leaves."""
    rest = change(text)
    return text if rest == text else re.sub(r"[ \t]{2,}", " ", rest).strip(" ,;:-")
