"""The service: DICOM in, durable jobs, results out, a work list. Heavy parts are loaded when they are asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segloop.service.archive import Archive
    from segloop.service.deliver import Address, echo, send
    from segloop.service.running import Ports, Service, serve, start

__all__ = ["Address", "Archive", "Ports", "Service", "echo", "send", "serve", "start"]

_HOMES = {
    "Archive": "archive",
    "Address": "deliver",
    "echo": "deliver",
    "send": "deliver",
    "Ports": "running",
    "Service": "running",
    "serve": "running",
    "start": "running",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
