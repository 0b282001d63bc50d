"""What is to be done to a file: the Basic Profile with the options of PS3.15 annex E, as one value."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from segloop.errors import InputError


class Option(StrEnum):
    """An option of PS3.15 section E.3; its value is the table's column."""

    SAFE_PRIVATE = "Rtn. Safe Priv. Opt."
    UIDS = "Rtn. UIDs Opt."
    DEVICE = "Rtn. Dev. Id. Opt."
    INSTITUTION = "Rtn. Inst. Id. Opt."
    PATIENT = "Rtn. Pat. Chars. Opt."
    FULL_DATES = "Rtn. Long. Full Dates Opt."
    MODIFIED_DATES = "Rtn. Long. Modif. Dates Opt."
    DESCRIPTORS = "Clean Desc. Opt."
    STRUCTURED_CONTENT = "Clean Struct. Cont. Opt."
    GRAPHICS = "Clean Graph. Opt."


RETAIN: dict[str, Option] = {
    "dates": Option.FULL_DATES,
    "longitudinal": Option.MODIFIED_DATES,
    "patient": Option.PATIENT,
    "device": Option.DEVICE,
    "institution": Option.INSTITUTION,
    "uids": Option.UIDS,
    "safe-private": Option.SAFE_PRIVATE,
}
"""What may be retained, by the word the command line uses."""

CLEAN: dict[str, Option] = {
    "descriptors": Option.DESCRIPTORS,
    "structured-content": Option.STRUCTURED_CONTENT,
    "graphics": Option.GRAPHICS,
}
"""What may be kept in a cleaned form, by the word the command line uses."""

_LONGEST_ROOT = 32
_ROOT = re.compile(r"[0-2](\.(0|[1-9][0-9]*))+")

PROFILE_CODE = ("113100", "Basic Application Confidentiality Profile")
PIXEL_CODE = ("113101", "Clean Pixel Data Option")
OPTION_CODES: dict[Option, tuple[str, str]] = {
    Option.GRAPHICS: ("113103", "Clean Graphics Option"),
    Option.STRUCTURED_CONTENT: ("113104", "Clean Structured Content Option"),
    Option.DESCRIPTORS: ("113105", "Clean Descriptors Option"),
    Option.FULL_DATES: ("113106", "Retain Longitudinal Temporal Information Full Dates Option"),
    Option.MODIFIED_DATES: ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    Option.PATIENT: ("113108", "Retain Patient Characteristics Option"),
    Option.DEVICE: ("113109", "Retain Device Identity Option"),
    Option.UIDS: ("113110", "Retain UIDs Option"),
    Option.SAFE_PRIVATE: ("113111", "Retain Safe Private Option"),
    Option.INSTITUTION: ("113112", "Retain Institution Identity Option"),
}
"""Code value and meaning in DCM. Source: DICOM PS3.16, CID 7050."""


@dataclass(frozen=True, slots=True)
class Profile:
    """The Basic Profile, and what is done beside it.

    Attributes:
        options: Options of the profile.
        pixels: What happens to an image in whose pixels text may stand: `refuse` writes no copy, `clean` blanks the
            regions that a rule knows and refuses where none does.
        uid_root: What new UIDs begin with; `2.25` needs no registration; at most 32 characters.

    Raises:
        InputError: `usage`: both date options at once, or a root that no UID can begin with.
    """

    options: frozenset[Option] = frozenset()
    pixels: Literal["clean", "refuse"] = "refuse"
    uid_root: str = "2.25"

    def __post_init__(self) -> None:
        if {Option.FULL_DATES, Option.MODIFIED_DATES} <= self.options:
            raise InputError("Dates are retained either in full or modified, not both.", code="usage")
        if len(self.uid_root) > _LONGEST_ROOT or not _ROOT.fullmatch(self.uid_root):
            raise InputError(
                "The root of new UIDs is not one.", code="usage", found=self.uid_root, expected="numbers and points"
            )

    @classmethod
    def of(
        cls,
        retain: Iterable[str] = (),
        clean: Iterable[str] = (),
        pixels: Literal["clean", "refuse"] = "refuse",
        uid_root: str = "2.25",
    ) -> Profile:
        """A profile from the words of the command line, keys of `RETAIN` and `CLEAN`."""
        return cls(frozenset({*(RETAIN[word] for word in retain), *(CLEAN[word] for word in clean)}), pixels, uid_root)

    @property
    def codes(self) -> tuple[tuple[str, str], ...]:
        """Code value and meaning of the profile and each option, for (0012,0064)."""
        cleaned = (PIXEL_CODE,) if self.pixels == "clean" else ()
        return (PROFILE_CODE, *sorted((*cleaned, *(OPTION_CODES[option] for option in self.options))))

    @property
    def dates(self) -> str:
        """The value of Longitudinal Temporal Information Modified (0028,0303)."""
        if Option.FULL_DATES in self.options:
            return "UNMODIFIED"
        return "MODIFIED" if Option.MODIFIED_DATES in self.options else "REMOVED"


BASIC = Profile()
"""The Basic Profile without any option; images with text in their pixels are refused."""
