"""`segloop status`: what this installation can do."""

from __future__ import annotations

import argparse
import platform
from importlib import metadata
from importlib.util import find_spec
from typing import Any

from segloop import __version__
from segloop.cli.console import Console

_PARTS = {
    "training": ("tensorflow", "keras", "tensorboard"),
    "inference on TensorFlow": ("tensorflow", "keras"),
    "inference on OpenVINO": ("openvino",),
    "reading DICOM": ("pydicom", "pylibjpeg"),
    "writing SEG and SR": ("highdicom",),
    "PDF reports": ("typst",),
    "DICOM node": ("pynetdicom",),
    "durable jobs": ("dbos",),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb has no arguments of its own."""


def run(arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    """List the parts, the machine and the models."""
    from segloop.infer.machine import cpu_model
    from segloop.registry import Registry

    parts = {name: all(find_spec(module) is not None for module in modules) for name, modules in _PARTS.items()}
    modules = sorted({module for names in _PARTS.values() for module in names})
    versions = {module: _version(module) for module in modules}
    models = Registry().list()
    console.say(f"segloop {__version__}, Python {platform.python_version()}, {cpu_model()}")
    console.table(("part", "ready"), [(name, "yes" if ready else "no") for name, ready in parts.items()])
    console.table(("library", "version"), [(name, version or "not installed") for name, version in versions.items()])
    console.table(("shipped model", "version"), [(m.name, m.version) for m in models])
    return {
        "version": __version__,
        "python": platform.python_version(),
        "processor": cpu_model(),
        "parts": parts,
        "libraries": versions,
        "models": [m.model_dump(mode="json") for m in models],
    }


def _version(module: str) -> str | None:
    for distribution in (module, f"{module}-cpu"):
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return None
