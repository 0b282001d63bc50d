"""The `segloop` command."""

from segloop.cli.main import main

__all__ = ["main"]
