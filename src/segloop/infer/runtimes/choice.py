"""Which runtime is fastest here: measured once per bundle, machine and software, then remembered."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from segloop.errors import ModelError
from segloop.infer.bundle import Bundle
from segloop.infer.machine import cache_folder, cpu_model
from segloop.infer.runtimes.base import installed
from segloop.infer.runtimes.measure import Speed, speed
from segloop.log import get_logger
from segloop.plan import Frozen

_log = get_logger(__name__)

# A runtime is charged its start and this many patches: about what one study takes, most of which run in a new process.
_PATCHES = 32
_PACKAGES = ("openvino", "tensorflow", "tensorflow-cpu", "keras", "segloop")


class Choice(Frozen):
    """The runtime to use and why.

    Attributes:
        name: Of the runtime.
        speeds: What was measured, by runtime; empty when there was nothing to compare.
        failed: Why a runtime cannot run here, by runtime.
        measured: `now`, `before` (read from the cache), or `no` (one runtime only).
    """

    name: str
    speeds: dict[str, Speed]
    failed: dict[str, str] = Field(default_factory=dict)
    measured: Literal["now", "before", "no"]

    @property
    def text(self) -> str:
        """One sentence for people."""
        if self.measured == "no":
            return f"{self.name} is the only runtime installed"
        parts = [
            f"{name} starts in {s.start:.1f} s, {1000 * s.patch:.0f} ms per patch" for name, s in self.speeds.items()
        ]
        parts += [f"{name} cannot run here ({reason})" for name, reason in self.failed.items()]
        when = "just now" if self.measured == "now" else "earlier"
        return f"{self.name}, measured {when} on this machine: {'; '.join(parts)}"


def choose(bundle: Bundle) -> Choice:
    """The installed runtime that does a study with this bundle soonest on this machine.

    The first time each runtime is started in a process of its own and timed on one patch, which takes some seconds.
    Each is charged its start and 32 patches. The answer is kept in `runtimes.json` in the user's cache folder until
    bundle, processor or software change. Where it cannot be kept, that is logged and it is measured again next time.

    Raises:
        ModelError: `runtime.unavailable` when no runtime is installed, or none can run this bundle.
    """
    present = installed()
    if len(present) == 1:
        return _said(Choice(name=present[0], speeds={}, measured="no"))
    path, key = cache_folder() / "runtimes.json", _key(bundle, present)
    known = _read(path)
    if key in known:
        return _said(known[key].model_copy(update={"measured": "before"}))
    results = {name: speed(bundle, name) for name in present}
    speeds = {name: result for name, result in results.items() if isinstance(result, Speed)}
    failed = {name: result for name, result in results.items() if isinstance(result, str)}
    if not speeds:
        raise ModelError(
            f"No runtime can run {bundle.manifest.name} here. {failed or 'None is installed'}.",
            code="runtime.unavailable",
            found=failed,
            expected=["openvino", "tensorflow"],
            hint="Install openvino or tensorflow.",
        )
    name = min(speeds, key=lambda name: speeds[name].start + _PATCHES * speeds[name].patch)
    choice = Choice(name=name, speeds=speeds, failed=failed, measured="now")
    # A failure may pass (no memory left), so it is not remembered.
    if not failed:
        _keep(path, {**known, key: choice})
    return _said(choice)


def _said(choice: Choice) -> Choice:
    chosen = choice.speeds.get(choice.name)
    _log.info("runtime chosen", runtime=choice.name, choice=choice.measured, seconds=chosen.patch if chosen else None)
    for name in choice.failed:
        _log.warning("runtime cannot run here", runtime=name)
    return choice


def _key(bundle: Bundle, present: tuple[str, ...]) -> str:
    versions = []
    for package in _PACKAGES:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return hashlib.sha256(json.dumps([bundle.digest, cpu_model(), present, versions]).encode()).hexdigest()


def _read(path: Path) -> dict[str, Choice]:
    try:
        document = json.loads(path.read_text("utf-8"))
        return {key: Choice.model_validate(value) for key, value in document.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, ValidationError):
        _log.warning("runtime cache not readable, measuring again", file=path.name)
        return {}


def _keep(path: Path, choices: dict[str, Choice]) -> None:
    text = json.dumps({key: choice.model_dump() for key, choice in choices.items()}, indent=1)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, "utf-8")
        temporary.replace(path)
    except OSError as fault:
        _log.warning("runtime choice not kept", file=path.name, error=type(fault).__name__)
