"""Everything the command prints: sentences, tables and progress to a person, one document to a machine."""

from __future__ import annotations

import json
import math
import shutil
import sys
import time
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from segloop.errors import SegloopError

_WIDE = frozenset("WF")
_PROGRESS_AFTER_SECONDS = 2.0
_BAR = 20


class Verdict(NamedTuple):
    """What a verb returns that did its work and found a failure: its document, and the error that it ends with."""

    document: Mapping[str, Any]
    error: SegloopError


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

    @property
    def interactive(self) -> bool:
        """True when a person watches: a bar can be redrawn in place."""
        return sys.stderr.isatty()

    def progress(self, done: int, total: int, text: str = "", seconds_left: float | None = None) -> None:
        """A bar that is redrawn in place, cut to the terminal's width; shown for work over two seconds.

        Args:
            done: So far.
            total: In all.
            text: What is counted, and what else there is to know; its end is what a narrow terminal does not show.
            seconds_left: Estimate.
        """
        if not self.interactive or time.monotonic() - self._started < _PROGRESS_AFTER_SECONDS:
            return
        filled = int(_BAR * min(1.0, done / max(total, 1)))
        left = "" if seconds_left is None else f"  {minutes(seconds_left)} left"
        line = f"{'█' * filled}{'░' * (_BAR - filled)} {done}/{total}{left}  {text}"
        sys.stderr.write(f"\r\x1b[2K{_cut(line, shutil.get_terminal_size().columns - 1)}")
        sys.stderr.flush()
        self._bar = True

    def document(self, document: Mapping[str, Any] | None) -> None:
        """The verb's result as JSON, when asked for."""
        self._clear()
        if self.json:
            sys.stdout.write(json.dumps(finite({"schema": 1, **(document or {})}), ensure_ascii=False, indent=2) + "\n")
            sys.stdout.flush()

    def error(self, fault: SegloopError, document: Mapping[str, Any] | None = None) -> None:
        """A failure: a sentence on standard error, and with `--json` its document on standard output.

        Args:
            fault: The failure.
            document: What else the document holds.
        """
        self.document({**(document or {}), "error": fault.as_document()})
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
    return sum(2 if unicodedata.east_asian_width(c) in _WIDE else 1 for c in text)


def _cut(text: str, width: int) -> str:
    """The text as far as it fits into `width` columns; an ellipsis stands for the rest."""
    if _width(text) <= width:
        return text
    while _width(text) > width - 1:
        text = text[:-1]
    return text.rstrip() + "…"


def minutes(seconds: float) -> str:
    """A length of time in words: `42 s`, `3 min 20 s`, `2 h 05 min`."""
    whole, rest = divmod(int(max(seconds, 0)), 60)
    hours, whole = divmod(whole, 60)
    if hours:
        return f"{hours} h {whole:02d} min"
    return f"{whole} min {rest:02d} s" if whole else f"{rest} s"
