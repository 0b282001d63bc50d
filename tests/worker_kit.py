"""Training processes on this machine: alone, or several that train together."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]


def start(program: str, *arguments: object, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """A Python program that can import the helpers of the tests, in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", 'import sys; sys.path.insert(0, "tests")\n' + program, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def start_team(program: str, arguments: Sequence[Sequence[object]]) -> list[subprocess.Popen[str]]:
    """One process for each row of arguments, told of each other by `TF_CONFIG`."""
    sockets = [socket.socket() for _ in arguments]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    cluster = {"worker": [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]}
    for each in sockets:
        each.close()
    return [
        start(
            program,
            *row,
            environment={"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})},
        )
        for index, row in enumerate(arguments)
    ]


def finished(process: subprocess.Popen[str], seconds: float = 280) -> str:
    """Standard output of a process that must end well."""
    out, err = process.communicate(timeout=seconds)
    assert process.returncode == 0, err
    return out
