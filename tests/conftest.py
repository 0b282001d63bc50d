"""What every test may ask for: real data beside the repository, and real peers on the machine."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DATA = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """`shared_data("hippocampus")` is that folder of real data; the test is skipped where it is absent."""

    def folder(name: str) -> Path:
        path = DATA / name
        if not path.exists():
            pytest.skip(f"real data ../shared/data/{name} are not beside this checkout")
        return path

    return folder


@pytest.fixture(scope="session")
def require_peer() -> Callable[[str], Path]:
    """`require_peer("storescu")` is that program's path; absent, it skips, or fails under SEGLOOP_REQUIRE_PEERS=1."""

    def peer(name: str) -> Path:
        beside_python = Path(sys.executable).parent / name
        found = str(beside_python) if beside_python.exists() else shutil.which(name, path=_search_path())
        if found is None and Path(name).is_absolute() and Path(name).exists():
            found = name
        if found is None:
            message = f"the peer {name!r} is not installed (see .ci/run for the packages)"
            if os.environ.get("SEGLOOP_REQUIRE_PEERS") == "1":
                pytest.fail(message)
            pytest.skip(message)
        return Path(found)

    return peer


def _search_path() -> str:
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
