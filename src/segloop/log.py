"""Structured logs that cannot carry a patient's identity.

An event is a short fixed phrase, and only the keys in `ALLOWED` may stand beside it, each checked for its kind. What
does not pass is a bug: it is dropped, and the line says so. Lines of other libraries are reduced to where they came
from, because their texts quote file contents ("invalid value for PN: …").
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol, TextIO, cast

import structlog

Check = Callable[[Any], bool]

_EVENT = re.compile(r"[a-z][a-z0-9 ,._/-]{0,79}")
_WORD = re.compile(r"[A-Za-z0-9_.:@/+-]{1,80}")
# At least 16 digits, so that no birth date or hospital number passes for a token.
_HEX = re.compile(r"(sha256:)?[0-9a-f]{16,64}")


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and bool(_WORD.fullmatch(value))


def _is_token(value: Any) -> bool:
    return isinstance(value, str) and bool(_HEX.fullmatch(value))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float))


ALLOWED: Mapping[str, Check] = {
    **dict.fromkeys(("study", "job", "version", "series", "instance", "token", "digest"), _is_token),
    **dict.fromkeys(
        ("seconds", "count", "files", "bytes", "attempt", "port", "status", "epoch", "step_number"), _is_number
    ),
    **dict.fromkeys(("loss", "dice", "learning_rate", "memory_mb", "fold", "line"), _is_number),
    **dict.fromkeys(("code", "model", "step", "state", "runtime", "precision", "destination", "kind"), _is_word),
    **dict.fromkeys(
        ("sop_class", "transfer_syntax", "library", "module", "file", "error", "choice", "layer"), _is_word
    ),
}
"""Every key a log line may have, with what its value must look like. Tokens are keyed hashes, never UIDs."""

_OWN = frozenset({"event", "level", "timestamp", "logger", "dropped"})


class Logger(Protocol):
    """What `get_logger` returns: one method per level, each taking an event phrase and allowed keys."""

    def debug(self, event: str, **keys: Any) -> Any:
        """Detail for developers."""

    def info(self, event: str, **keys: Any) -> Any:
        """The normal course of things."""

    def warning(self, event: str, **keys: Any) -> Any:
        """Something unexpected that work goes on after."""

    def error(self, event: str, **keys: Any) -> Any:
        """Something that ended a piece of work."""


def only_allowed(logger: Any, method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A log line without anything that is not on the list; `dropped` names the keys that were taken out."""
    kept: dict[str, Any] = {}
    dropped: list[str] = []
    for key, value in line.items():
        if key == "event":
            kept[key] = value if isinstance(value, str) and _EVENT.fullmatch(value) else "refused event text"
        elif key in _OWN or (key in ALLOWED and (value is None or ALLOWED[key](value))):
            kept[key] = value
        else:
            dropped.append(key if key in ALLOWED or key == "exc_info" else "unknown")
    if dropped:
        kept["dropped"] = ",".join(sorted(set(dropped)))
    return kept


class _StandardError:
    """Standard error as it is when a line is written: whoever replaces or closes it must not break a running thread."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text) if sys.stderr is not None and not sys.stderr.closed else len(text)

    def flush(self) -> None:
        if sys.stderr is not None and not sys.stderr.closed:
            sys.stderr.flush()

    def isatty(self) -> bool:
        return sys.stderr is not None and sys.stderr.isatty()


class _Reduced(logging.Handler):
    """Turns a line of another library into its origin, level and error type, without its text."""

    def emit(self, record: logging.LogRecord) -> None:
        kind = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        write = _LOGGER.error if record.levelno >= logging.ERROR else _LOGGER.warning
        write(
            "message of a library",
            library=record.name.split(".")[0],
            file=Path(record.pathname).name,
            line=record.lineno,
            error=kind,
        )


class _Lines:
    """Writes lines as configured when they are written, so that a logger may be made before `configure`."""

    def __init__(self) -> None:
        self._bound = _bound("warning", "console", None)

    def use(self, bound: Any) -> None:
        self._bound = bound

    def debug(self, event: str, **keys: Any) -> Any:
        return self._bound.debug(event, **keys)

    def info(self, event: str, **keys: Any) -> Any:
        return self._bound.info(event, **keys)

    def warning(self, event: str, **keys: Any) -> Any:
        return self._bound.warning(event, **keys)

    def error(self, event: str, **keys: Any) -> Any:
        return self._bound.error(event, **keys)


def _bound(level: str, form: Literal["console", "json"], stream: TextIO | None) -> Any:
    # Not `structlog.configure`: a program that uses segloop as a library may have its own.
    target = stream if stream is not None else cast(TextIO, _StandardError())
    renderer: Any = (
        structlog.processors.JSONRenderer() if form == "json" else structlog.dev.ConsoleRenderer(colors=target.isatty())
    )
    return structlog.wrap_logger(
        structlog.PrintLogger(file=target),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            only_allowed,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        cache_logger_on_first_use=False,
    ).bind()


_LOGGER = _Lines()


def configure(
    level: str = "info", *, form: Literal["console", "json"] = "console", stream: TextIO | None = None
) -> None:
    """Set up logging for a process of segloop's own, once at its start; a library's user need not call it.

    Lines of other libraries, and Python's warnings, are reduced to their origin from here on.

    Args:
        level: `debug`, `info`, `warning` or `error`.
        form: `json` writes one object per line; `console` is for reading.
        stream: Where lines go; standard error when None.
    """
    _LOGGER.use(_bound(level, form, stream))
    root = logging.getLogger()
    root.handlers[:] = [_Reduced(level=max(getattr(logging, level.upper()), logging.WARNING))]
    root.setLevel(logging.WARNING)
    # pydicom and others quote values in warnings; as records they pass through `_Reduced` like everything else.
    logging.captureWarnings(capture=True)


def get_logger(name: str) -> Logger:
    """A logger; `name` is the module's. Until `configure`, only warnings and errors are written, to standard error."""
    return _LOGGER


@contextmanager
def bind_study(token: str) -> Iterator[None]:
    """Every line written inside, in this thread or task, says which study (by its token) it is about."""
    with structlog.contextvars.bound_contextvars(study=token):
        yield
