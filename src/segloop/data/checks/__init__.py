"""Every fault of a dataset found before training, each with its case, the two values, the cause and the mend."""

from __future__ import annotations

from segloop.data.checks.checking import check
from segloop.data.checks.faults import Fault
from segloop.data.checks.kinds import GROUPS, KINDS, Kind
from segloop.data.checks.mending import Mended, mend, require_room

__all__ = ["GROUPS", "KINDS", "Fault", "Kind", "Mended", "check", "mend", "require_room"]
