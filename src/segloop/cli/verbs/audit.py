"""`segloop audit`: the hash-chained record of who did what."""

from __future__ import annotations

import argparse
from typing import Any

from segloop.cli.console import Console
from segloop.cli.deployment import add_config, settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("action", choices=("show", "verify"), help="the last events, or whether the chain is whole")
    parser.add_argument("--last", type=int, default=20, metavar="N", help="how many events `show` prints (default 20)")
    add_config(parser)


def run(arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Show or verify; a broken chain is an error."""
    from segloop.audit import events, verify

    path = settings(arguments).data_dir / "audit.jsonl"
    count = verify(path)
    if arguments.action == "verify":
        console.say(f"{count} events, the chain is whole")
        return {"events": count, "whole": True}
    last = events(path)[-arguments.last :]
    console.table(("action", "actor", "subject"), [(e.action, e.actor, e.subject[:16]) for e in last])
    return {"events": [e.model_dump(mode="json") for e in last]}
