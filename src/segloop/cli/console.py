"""Everything the command prints: sentences, tables and progress to a person, one document to a machine."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from segloop.errors import SegloopError

_WIDE = 0x1100
_PROGRESS_AFTER_SECONDS = 2.0


class Console:
    """Where a verb talks.

    Args:
        json: With it, standard output holds exactly one JSON document and everything else goes to standard error.
    """

    def __init__(self, *, json: bool = False) -> None:
        self.json = json
        self._started = time.monotonic()
        self._bar = False

    def say(self, text: str = "") -> None:
        """One line to the person."""
        self._clear()
        stream = sys.stderr if self.json else sys.stdout
        stream.write(text + "\n")
        stream.flush()

    def table(self, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Aligned columns; wide (Chinese, Japanese, Korean) characters count double."""
        cells = [list(map(str, head)), *[[_cell(c) for c in row] for row in rows]]
        widths = [max(_width(row[i]) for row in cells) for i in range(len(head))]
        for number, row in enumerate(cells):
            self.say("  ".join(c + " " * (w - _width(c)) for c, w in zip(row, widths, strict=True)).rstrip())
            if number == 0:
                self.say("  ".join("-" * w for w in widths))

    def progress(self, done: int, total: int, text: str = "", seconds_left: float | None = None) -> None:
        """A bar that is redrawn in place; shown on a terminal for work over two seconds."""
        if not sys.stderr.isatty() or time.monotonic() - self._started < _PROGRESS_AFTER_SECONDS:
            return
        share = done / max(total, 1)
        bar = "█" * int(24 * share) + "░" * (24 - int(24 * share))
        left = "" if seconds_left is None else f"  {_minutes(seconds_left)} left"
        sys.stderr.write(f"\r\x1b[2K{bar} {done}/{total}  {text}{left}")
        sys.stderr.flush()
        self._bar = True

    def document(self, document: Mapping[str, Any] | None) -> None:
        """The verb's result as JSON, when asked for."""
        self._clear()
        if self.json:
            sys.stdout.write(json.dumps(finite({"schema": 1, **(document or {})}), ensure_ascii=False, indent=2) + "\n")
            sys.stdout.flush()

    def error(self, fault: SegloopError) -> None:
        """A failure: a sentence on standard error, and with `--json` the error document on standard output."""
        self._clear()
        if self.json:
            text = json.dumps(finite({"schema": 1, "error": fault.as_document()}), ensure_ascii=False, indent=2)
            sys.stdout.write(text + "\n")
            sys.stdout.flush()
        sys.stderr.write(f"segloop: {fault.code}: {fault}\n")
        sys.stderr.flush()

    def _clear(self) -> None:
        if self._bar:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()
            self._bar = False


def finite(value: Any) -> Any:
    """The same document with NaN and infinity as null, since JSON has neither."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return value


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) and math.isfinite(value) else str(value)


def _width(text: str) -> int:
    return sum(2 if ord(c) >= _WIDE else 1 for c in text)


def _minutes(seconds: float) -> str:
    minutes, rest = divmod(int(max(seconds, 0)), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
