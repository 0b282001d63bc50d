"""The deployment a command works on: its settings file, and the registry that stands in it."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from segloop.registry import Registry
    from segloop.settings import Settings

DEFAULT_CONFIG = Path("segloop.toml")


def add_config(parser: argparse.ArgumentParser) -> None:
    """The `--config` option."""
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="settings file (default: ./segloop.toml where there is one)"
    )


def add_registry(parser: argparse.ArgumentParser) -> None:
    """The `--registry` option."""
    parser.add_argument(
        "--registry", type=Path, metavar="DIR", help="folder of the model registry (default: SEGLOOP_MODELS__REGISTRY)"
    )


def settings(arguments: argparse.Namespace) -> Settings:
    """The settings that `--config`, `SEGLOOP_CONFIG` or ./segloop.toml hold, with `SEGLOOP_` variables over them."""
    from segloop.settings import Settings

    named = os.environ.get("SEGLOOP_CONFIG")
    path = arguments.config or (Path(named) if named else None)
    return Settings.load(path or (DEFAULT_CONFIG if DEFAULT_CONFIG.is_file() else None), os.environ)


def registry(arguments: argparse.Namespace) -> Registry:
    """The registry that `--registry` or the environment names; without either, the shipped models alone."""
    from segloop.registry import Registry
    from segloop.settings import Settings

    return Registry(arguments.registry or Settings.load(None, os.environ).models.registry)
