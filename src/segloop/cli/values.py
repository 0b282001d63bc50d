"""How the command line's values are read: durations, sizes, `--set` pairs, folds, peers."""

from __future__ import annotations

import argparse
import json
import os
import re
from pathlib import Path
from typing import Any

_UNITS_S = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_RUNTIMES = ("auto", "tensorflow", "openvino", "litert")
_UNITS_B = {
    "": 1,
    "K": 10**3,
    "M": 10**6,
    "G": 10**9,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
}


def duration_s(text: str) -> float:
    """Seconds of `90s`, `15m`, `1.5h` or a bare number of seconds."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|m|min|h)?\s*", text)
    if match is None or float(match[1]) <= 0:
        raise argparse.ArgumentTypeError(f"a duration such as 90s, 15m or 2h is needed, not {text!r}")
    return float(match[1]) * _UNITS_S[match[2] or "s"]


def size_bytes(text: str) -> int:
    """Bytes of `8GiB`, `500MB` or a bare number."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMG]?i?B?)\s*", text, flags=re.IGNORECASE)
    unit = match[2].upper() if match else ""
    if match is None or unit.removesuffix("B") not in ("", "K", "M", "G", "KI", "MI", "GI"):
        raise argparse.ArgumentTypeError(f"a size such as 8GiB or 500MB is needed, not {text!r}")
    return int(float(match[1]) * _UNITS_B.get(unit, _UNITS_B.get(unit + "B", 1)))


def setting(text: str) -> tuple[str, Any]:
    """`training.epochs=50` as a key and a JSON value; a value that is no JSON is taken as text."""
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise argparse.ArgumentTypeError(f"KEY=VALUE is needed, not {text!r}")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def runtime(text: str) -> str:
    """The name of a runtime, or `serving:URL`."""
    if text not in _RUNTIMES and not text.startswith("serving:"):
        raise argparse.ArgumentTypeError(f"one of {', '.join(_RUNTIMES)} or serving:URL is needed, not {text!r}")
    return text


def count(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number of at least 1 is needed, not {text!r}")
    return int(text)


def fold(text: str) -> int | None:
    """A fold's number, or None for `all`."""
    if text == "all":
        return None
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"`all` or the number of a fold is needed, not {text!r}")
    return int(text)


def output_folder(text: str) -> Path:
    """A folder that can be written, or made: said before any work is done for it."""
    path = Path(text)
    place = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    if not place.is_dir():
        raise argparse.ArgumentTypeError(f"{text} cannot be a folder: {place} is a file")
    if not os.access(place, os.W_OK | os.X_OK):
        raise argparse.ArgumentTypeError(f"{text} cannot be written: {place} is read-only")
    return path


def output_file(text: str) -> Path:
    """A file that can be written: said before any work is done for it."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a folder; the name of a file is needed")
    output_folder(str(path.parent))
    return path


def peer(text: str) -> tuple[str, str, int]:
    """AE title, host and port of `AET@HOST:PORT`."""
    match = re.fullmatch(r"([^@\s]{1,16})@(\[[0-9a-fA-F:]+\]|[^:@\s]+):(\d{1,5})", text)
    if match is None or not 0 < int(match[3]) < 65536:
        raise argparse.ArgumentTypeError(f"AET@HOST:PORT is needed, not {text!r}")
    return match[1], match[2].strip("[]"), int(match[3])


def receiver(text: str) -> tuple[str, str, int] | str:
    """A peer as `AET@HOST:PORT`, or the base address of a DICOMweb server."""
    if re.match(r"https?://", text) is None:
        return peer(text)
    if re.fullmatch(r"https?://[^\s/@?#]+[^\s@?#]*", text) is None:
        raise argparse.ArgumentTypeError(f"an address without user, query and fragment is needed, not {text!r}")
    return text
