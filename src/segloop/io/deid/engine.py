"""Carries a profile out on a data set: every element at every depth gets the action of its rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydicom import Dataset
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.tag import BaseTag

from segloop.io.deid import table
from segloop.io.deid.content import item_action
from segloop.io.deid.elements import (
    TEXT,
    content_of,
    is_binary,
    is_known,
    is_term,
    keyword_of,
    text_of,
    vr_of,
    with_text,
)
from segloop.io.deid.identity import Identities, encodings_of, items_of
from segloop.io.deid.keys import new_uid
from segloop.io.deid.matching import Matcher
from segloop.io.deid.profile import Option, Profile
from segloop.io.deid.values import REMOVED, cleaned, dummy, is_legal, shifted

_STANDARD_UIDS = "1.2.840.10008."
_CONTENT = frozenset({0x0040A730, 0x00400555, 0x00400612})
"""Content Sequence, Acquisition Context Sequence, Specimen Preparation Step Content Item Sequence."""

_UID_VALUE, _TEXT_VALUE = 0x0040A124, 0x0040A160
_CURVES, _OVERLAYS = 0x5000, 0x6000
_ROI_OVERLAY = "R"
_DATES = frozenset({"DA", "DT"})
_CHECKED = frozenset({"DS", "IS", "AS", "TM", "DA", "DT"})
_SHOWN = frozenset(
    {0x00281201, 0x00281202, 0x00281203, 0x00281204, 0x00281221, 0x00281222, 0x00281223, 0x00283006, 0x54001010}
)
"""Palettes, look-up tables and waveforms: without them the object would show something else."""
_GONE = frozenset({"UR", "AE", "UN"})
_KEPT_UIDS = frozenset({
    "CodingSchemeUID", "ContextGroupExtensionCreatorUID", "ContextUID", "MappingResourceUID", "TemplateUID",
})  # fmt: skip


@dataclass(slots=True)
class Cleaner:
    """One file's de-identification.

    Attributes:
        profile: What is asked for.
        key: What UIDs are derived with.
        identities: What the file names; taken out of every text that stays.
        shift_days: By how much dates move back where they are kept modified.
        uids: The new UIDs, by the original's.
    """

    profile: Profile
    key: bytes
    identities: Identities
    shift_days: int
    uids: dict[str, str] = field(default_factory=dict)
    _matcher: Matcher = field(init=False)

    def __post_init__(self) -> None:
        self._matcher = self.identities.matcher

    def clean(self, dataset: Dataset, sop_class: str) -> None:
        """Carry the profile out, in place."""
        self._clean(dataset, table.rules(self.profile.options, sop_class), ("iso8859",))

    def _clean(self, dataset: Dataset, rules: Mapping[int, str], outer: Sequence[str]) -> None:
        encodings = encodings_of(dataset, outer)
        private = _kept_private(dataset) if Option.SAFE_PRIVATE in self.profile.options else {}
        for tag, element in list(dataset.items()):
            action = rules.get(tag)
            if tag.is_private:
                action = table.KEEP if tag in private else table.REMOVE
            elif action is None:
                action = self._unlisted(dataset, tag)
            if action == table.REMOVE:
                del dataset[tag]
            else:
                self._act(dataset, element, action, encodings, private.get(tag))

    def _act(
        self,
        dataset: Dataset,
        element: DataElement | RawDataElement,
        action: str,
        encodings: Sequence[str],
        known_vr: str | None,
    ) -> None:
        tag, vr = element.tag, known_vr or vr_of(element)
        if vr == "SQ":
            self._sequence(dataset, element, action, encodings)
        elif action == table.EMPTY:
            dataset[tag] = with_text(element, vr if vr != "UN" else "LO", "")
        elif vr == "UI":
            self._uid(dataset, element, action)
        elif action == table.DUMMY:
            self._dummy(dataset, element, vr)
        elif vr in TEXT or vr in {"PN", "CS"}:
            self._text(dataset, element, vr, action, encodings)
        elif vr in _CHECKED:
            self._checked(dataset, element, vr, action)
        elif vr in _GONE or action == table.CLEAN or self._is_spoilt(element, vr):
            del dataset[tag]

    def _is_spoilt(self, element: DataElement | RawDataElement, vr: str) -> bool:
        """Whether bytes that no picture and no waveform needs hold an identity; in others the search will find it."""
        spoilt = is_binary(element, vr) and self._matcher.found_in_binary(content_of(element))
        return spoilt and int(element.tag) not in _SHOWN

    def _unlisted(self, dataset: Dataset, tag: BaseTag) -> str:
        """The action for what the table does not list."""
        kind = tag.group & 0xFF00
        if kind == _OVERLAYS:
            return table.KEEP if self._is_clean_roi(dataset, tag.group << 16) else table.REMOVE
        if kind == _CURVES or tag.group in (0x0000, 0x0002, 0x0004) or not is_known(tag):
            return table.REMOVE
        vr = vr_of(dataset.get_item(tag))
        if vr in _DATES:
            if self.profile.dates == "REMOVED":
                return table.EMPTY
            return table.KEEP if self.profile.dates == "UNMODIFIED" else table.CLEAN
        return table.EMPTY if vr == "PN" else table.KEEP

    def _is_clean_roi(self, dataset: Dataset, group: int) -> bool:
        """Whether an overlay is a region of interest that stays, and no bits of it spell an identity."""
        if Option.GRAPHICS not in self.profile.options:
            return False
        kind, bits = (dataset.get_item(group | element) for element in (0x0040, 0x3000))
        if kind is None or content_of(kind).strip() != _ROI_OVERLAY.encode():
            return False
        return bits is None or not self._matcher.found_in_binary(content_of(bits))

    def _sequence(
        self, dataset: Dataset, element: DataElement | RawDataElement, action: str, encodings: Sequence[str]
    ) -> None:
        tag = element.tag
        if action == table.EMPTY:
            dataset[tag] = DataElement(tag, "SQ", [])
            return
        nested = table.rules(self.profile.options, "")
        kept = []
        for item in items_of(dataset, element):
            told = item_action(item, self.profile.options) if tag in _CONTENT else action
            if told == table.REMOVE:
                continue
            own = self._content_rules(item, told) if tag in _CONTENT else {}
            self._clean(item, {**nested, **own} if own else nested, encodings)
            if told == table.DUMMY:
                self._say_nothing(item, deep=tag not in _CONTENT)
            kept.append(item)
        if len(kept) != len(dataset[tag].value or ()):
            dataset[tag] = DataElement(tag, "SQ", kept)

    def _content_rules(self, item: Dataset, told: str) -> dict[int, str]:
        """What Table E.1-1 does not say of a content item's value, because it depends on the item."""
        if told == table.CLEAN:
            return {_TEXT_VALUE: table.CLEAN}
        kept = told == table.KEEP and Option.UIDS in self.profile.options and item.get("ValueType") == "UIDREF"
        return {_UID_VALUE: table.KEEP} if kept else {}

    def _say_nothing(self, item: Dataset, *, deep: bool) -> None:
        """Dummies in place of all text of an item, and of the items below it; of a content item only its own."""
        for element in list(item.values()):
            vr = vr_of(element)
            if vr == "SQ" and deep:
                for below in items_of(item, element):
                    self._say_nothing(below, deep=True)
            elif vr in TEXT or vr in ("PN", "DA", "TM", "DT"):
                self._dummy(item, element, vr)

    def _uid(self, dataset: Dataset, element: DataElement | RawDataElement, action: str) -> None:
        keyword = keyword_of(int(element.tag))
        kept = action == table.KEEP and (Option.UIDS in self.profile.options or _is_class(keyword))
        if kept and is_legal("UI", content_of(element)):
            return
        old = content_of(element).decode("ascii", "replace").strip("\0 ").split("\\")
        new = [self._new(uid.strip("\0 ")) for uid in old]
        if new != old:
            dataset[element.tag] = with_text(element, "UI", "\\".join(new))

    def _new(self, uid: str) -> str:
        if not uid or uid.startswith(_STANDARD_UIDS):
            return uid
        if uid not in self.uids:
            self.uids[uid] = new_uid(uid, self.key, self.profile.uid_root)
        return self.uids[uid]

    def _dummy(self, dataset: Dataset, element: DataElement | RawDataElement, vr: str) -> None:
        value = dummy(vr)
        if value is None:
            del dataset[element.tag]
        else:
            dataset[element.tag] = with_text(element, vr, value)

    def _text(
        self,
        dataset: Dataset,
        element: DataElement | RawDataElement,
        vr: str,
        action: str,
        encodings: Sequence[str],
    ) -> None:
        """Text that stays: without the identities of the file; a descriptor also without what looks like one."""
        matcher = self._matcher
        legal = vr != "CS" or is_legal("CS", content_of(element))
        if legal and action != table.CLEAN and not matcher.found_in(element, encodings):
            return
        if is_term(element):
            return
        text = text_of(element, encodings)
        rest = cleaned(text, matcher) if action == table.CLEAN else matcher.without(text)
        if vr == "CS" and not is_legal("CS", rest.encode()):
            rest = REMOVED
        if rest != text:
            dataset[element.tag] = with_text(element, vr, _limited(rest, vr) or REMOVED)

    def _checked(self, dataset: Dataset, element: DataElement | RawDataElement, vr: str, action: str) -> None:
        """Numbers, ages, dates and times that stay: emptied when they are none, or a number that identifies."""
        value = content_of(element)
        number = vr in ("DS", "IS") and _parts(value) & self._matcher.numbers
        if number or not is_legal(vr, value):
            dataset[element.tag] = with_text(element, vr, "")
        elif action == table.CLEAN and vr in _DATES:
            moved = shifted(value.decode("ascii"), self.shift_days)
            dataset[element.tag] = with_text(element, vr, moved or (dummy(vr) or "" if value.strip(b"\0 ") else ""))


def _is_class(keyword: str) -> bool:
    return "SOPClass" in keyword or "TransferSyntax" in keyword or keyword in _KEPT_UIDS


def _parts(value: bytes) -> set[str]:
    return {part.strip() for part in value.decode("ascii").strip("\0 ").split("\\")}


def _limited(text: str, vr: str) -> str:
    longest = {"SH": 16, "LO": 64, "CS": 16}.get(vr)
    return "\\".join(part[:longest].strip() for part in text.split("\\")) if longest else text


def _kept_private(dataset: Dataset) -> Mapping[int, str]:
    """The VRs of a data set's safe private elements, and of the creators that make them readable."""
    safe, kept = table.safe_private(), dict[int, str]()
    creators = {
        (tag.group, tag.element): content_of(element).decode("ascii", "replace").strip("\0 ")
        for tag, element in dataset.items()
        if tag.is_private and 0x10 <= tag.element <= 0xFF
    }
    for tag in list(dataset.keys()):
        block = tag.element >> 8
        vr = safe.get((creators.get((tag.group, block), ""), tag.group, tag.element & 0xFF))
        if vr is not None:
            kept |= {int(tag): vr, tag.group << 16 | block: "LO"}
    return kept
