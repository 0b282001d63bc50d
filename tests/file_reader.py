"""Reads DICOM files, each in a process of its own under limits: `python file_reader.py FILE…` says what came of them.

One JSON object per file: `outcome` (`read`, an error's code, or the name of an exception that is none of segloop's),
`status` as `os.wait4` gives it (0 unless the process was killed), processor seconds, and peak resident megabytes.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from importlib import import_module
from pathlib import Path

SECONDS, PATIENCE, ADDRESSES = 30, 300, 6 * 1024**3
"""Where a runaway is stopped, far above what is allowed: processor time, waiting, address space."""


def outcome(path: Path) -> str:
    """What comes of scanning and reading a file."""
    from segloop.errors import SegloopError
    from segloop.io import dicom

    try:
        (series,) = dicom.scan(path)
        dicom.read_series(series)
    except SegloopError as fault:
        return fault.code
    # Whatever else comes out is what the caller wants to know of.
    except BaseException as fault:
        return type(fault).__name__
    return "read"


def measured(path: Path) -> dict[str, object]:
    """The outcome of a file and what it cost, from a forked process."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
        signal.alarm(PATIENCE)
        os.write(writing, outcome(path).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        said = stream.read().decode()
    _, status, usage = os.wait4(child, 0)
    per_mb = 1024**2 if sys.platform == "darwin" else 1024
    return {
        "file": str(path),
        "outcome": said,
        "status": status,
        "seconds": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss / per_mb,
    }


if __name__ == "__main__":
    # Loaded once, before the forks, so that each pays for its file alone.
    import_module("segloop.io.dicom")
    for name in sys.argv[1:]:
        sys.stdout.write(json.dumps(measured(Path(name))) + "\n")
        sys.stdout.flush()
