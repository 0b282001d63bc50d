"""Tables E.1-1, E.3.4-1 and E.3.10-1 of PS3.15, read from the data files beside this module.

`scripts/deid_tables.py` writes the files from the standard's own source; their first line says which edition it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from segloop.io.deid.profile import Option

REMOVE, EMPTY, DUMMY, UID, KEEP, CLEAN, WITHIN = "XZDUKCW"
"""The actions of Table E.1-1a; `WITHIN` is U of a sequence: kept, with the UIDs inside replaced."""

_CHOICE = {
    "Z/D": {"1": DUMMY, "2": EMPTY, "3": EMPTY, "": DUMMY},
    "X/Z": {"1": EMPTY, "2": EMPTY, "3": REMOVE, "": EMPTY},
    "X/D": {"1": DUMMY, "2": EMPTY, "3": REMOVE, "": DUMMY},
    "X/Z/D": {"1": DUMMY, "2": EMPTY, "3": REMOVE, "": DUMMY},
    "X/Z/U*": {"1": WITHIN, "2": WITHIN, "3": WITHIN, "": WITHIN},
}
"""By the attribute's type in the object. Where it is not known, what suits every type."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table.

    Attributes:
        basic: The Basic Profile's action, perhaps a choice such as `X/Z`.
        options: The actions of options.
    """

    basic: str
    options: Mapping[Option, str]

    def action(self, options: frozenset[Option], kind: str = "") -> str:
        """What to do under some options; C of any of them goes before K, since it leaves less.

        Args:
            options: The options in force.
            kind: `1`, `2` or `3`, the attribute's type in the object; empty when not known.
        """
        told = {self.options[option] for option in options if option in self.options}
        if told:
            return CLEAN if CLEAN in told else KEEP
        return _CHOICE[self.basic][kind] if self.basic in _CHOICE else self.basic


@cache
def edition() -> str:
    """The edition of the standard that the tables are of, such as `DICOM PS3.15 2026c`."""
    return _lines("profile.tsv")[0].lstrip("# ").split(",")[0]


@cache
def attributes() -> Mapping[int, Row]:
    """Table E.1-1, by tag; without its four lines that stand for more than one tag."""
    head, *rows = rows_of("profile.tsv")
    found = {}
    for cells in rows:
        tag = cells[1].strip("()").replace(",", "")
        if len(tag) == 8 and "x" not in tag:
            found[int(tag, 16)] = Row(cells[4], _options(head, cells))
    return found


@cache
def rules(options: frozenset[Option], sop_class: str) -> Mapping[int, str]:
    """The action for each tag of Table E.1-1.

    Args:
        options: The options in force.
        sop_class: The object's SOP class for its top level; empty for the items of sequences, whose types depend on
            where they stand.
    """
    types = _types().get(sop_class)
    if types is None:
        return {tag: row.action(options) for tag, row in attributes().items()}
    return {tag: row.action(options, types.get(tag, "3")) for tag, row in attributes().items()}


@cache
def content() -> Mapping[tuple[str, str, str], Row]:
    """Table E.3.4-1, by coding scheme, code and value type of a content item."""
    head, *rows = rows_of("content.tsv")
    return {(cells[2].split()[0], cells[1], cells[3]): Row(cells[6], _options(head, cells)) for cells in rows}


@cache
def safe_private() -> Mapping[tuple[str, int, int], str]:
    """Table E.3.10-1: VR by private creator, group, and the element's last two digits."""
    _, *rows = rows_of("private.tsv")
    return {(cells[1], int(cells[0][:4], 16), int(cells[0][6:], 16)): cells[2] for cells in rows}


@cache
def _types() -> Mapping[str, Mapping[int, str]]:
    """Each SOP class's attributes of a compound action, by tag, with their type 1 or 2."""
    found: dict[str, dict[int, str]] = {}
    for uid, *kinds in rows_of("types.tsv")[1:]:
        found[uid] = {
            int(tag, 16): kind for kind, tags in zip("12", kinds, strict=False) for tag in tags.split(",") if tag
        }
    return found


def _options(head: list[str], cells: list[str]) -> Mapping[Option, str]:
    told = dict(zip(head, cells, strict=False))
    return {option: told[option.value] for option in Option if told.get(option.value)}


def rows_of(name: str) -> list[list[str]]:
    """A data file's lines, split; the first is its head."""
    return [line.split("\t") for line in _lines(name)[1:]]


def _lines(name: str) -> list[str]:
    return files("segloop.io.deid").joinpath("tables", name).read_text("utf-8").splitlines()
