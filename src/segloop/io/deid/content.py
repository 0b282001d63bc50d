"""What happens to a content item of a structured report."""

from __future__ import annotations

from pydicom import Dataset

from segloop.io.deid import table
from segloop.io.deid.profile import Option

_FREE = frozenset({"TEXT", "PNAME", "DATE", "TIME", "DATETIME"})
_DATES = frozenset({"DATE", "TIME", "DATETIME"})


def item_action(item: Dataset, options: frozenset[Option]) -> str:
    """The action for a content item: that of Table E.3.4-1, else by its value type.

    Text that the table does not list is cleaned under the Clean Structured Content option, and replaced by a dummy
    without it; names always become dummies, and dates do unless they are retained.

    Args:
        item: An item of Content Sequence (0040,A730).
        options: The options in force.
    """
    kind = str(item.get("ValueType", "")).strip()
    names = item.get("ConceptNameCodeSequence") or ()
    concept = names[0] if names else Dataset()
    code = str(concept.get("CodeValue") or concept.get("LongCodeValue") or "").strip()
    scheme = str(concept.get("CodingSchemeDesignator", "")).strip()
    row = table.content().get((scheme, code, kind))
    if row is not None:
        return row.action(options)
    if kind not in _FREE:
        return table.KEEP
    if kind in _DATES:
        retained = options & {Option.FULL_DATES, Option.MODIFIED_DATES}
        return table.KEEP if retained else table.DUMMY
    return table.CLEAN if kind == "TEXT" and Option.STRUCTURED_CONTENT in options else table.DUMMY
