"""A fault of a dataset: what it is, in which case, the two values that do not fit, the cause and the mend."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import JsonValue, model_validator

from segloop.data.checks.kinds import KINDS, Severity
from segloop.plan import Frozen

RANKS: dict[str, int] = {"error": 0, "warning": 1, "note": 2}


class Fault(Frozen):
    """One thing that is wrong, or strange, in one case or in the dataset as a whole.

    Attributes:
        kind: One of `KINDS`.
        severity: `error` when training would fail or learn something wrong, `warning` when a person should look,
            `note` when nothing has to be done.
        case: Its id; empty when the fault is the dataset's.
        found: What is there.
        expected: What should be.
        cause: How it came about, in words.
        mend: What to do.
        mendable: Whether `mend` (`--fix`) does it.
        file: Relative to the dataset, with `/`; empty when no single file is at fault.
        others: Further cases that it is about.
    """

    kind: str
    severity: Severity
    case: str
    found: JsonValue
    expected: JsonValue
    cause: str
    mend: str
    mendable: bool = False
    file: str = ""
    others: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _of_a_kind(self) -> Fault:
        if self.kind not in KINDS:
            raise ValueError(f"{self.kind!r} is no kind of fault")
        if self.mendable and not KINDS[self.kind].fixed:
            raise ValueError(f"nothing mends {self.kind!r}, so it cannot be mendable")
        return self


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault as a check words it; what it leaves open stands in the table of kinds.

    Args:
        kind: One of `KINDS`.
        found: What is there.
        expected: What should be.
        severity: Instead of the kind's own.
        cause: Instead of the kind's own.
        mend: Instead of the kind's own.
        mendable: Whether `--fix` mends it.
        file: Relative to the dataset.
        others: Further cases that it is about.
    """

    kind: str
    found: object
    expected: object
    severity: Severity | None = None
    cause: str = ""
    mend: str = ""
    mendable: bool = False
    file: str = ""
    others: tuple[str, ...] = ()

    def of(self, case: str = "") -> Fault:
        """The fault of this case, or of the dataset."""
        kind = KINDS[self.kind]
        return Fault(
            kind=self.kind,
            severity=self.severity or kind.severity,
            case=printable(case),
            found=_plain(self.found),
            expected=_plain(self.expected),
            cause=printable(self.cause or kind.cause),
            mend=printable(self.mend or kind.mend),
            mendable=self.mendable,
            file=printable(self.file),
            others=tuple(printable(other) for other in self.others),
        )


def printable(text: str) -> str:
    """The text, with what is no valid Unicode in a file name written out as an escape."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _plain(value: object) -> JsonValue:
    """The value as JSON can hold it: no NaN, no infinity, no broken text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {printable(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, bool | int | float) or value is None else str(value)


def ordered(faults: Iterable[Fault]) -> tuple[Fault, ...]:
    """Errors first, then by the order of `KINDS`, then by case; what was found twice stands once."""
    order = {kind: number for number, kind in enumerate(KINDS)}
    unique = {(fault.kind, fault.case, fault.file, str(fault.found)): fault for fault in faults}
    return tuple(sorted(unique.values(), key=lambda f: (RANKS[f.severity], order[f.kind], f.case, f.file)))
