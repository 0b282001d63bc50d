"""`segloop models`: what models there are, which version stands in which stage, and whether one works here."""

from __future__ import annotations

import argparse
import getpass
from pathlib import Path
from typing import Any

from segloop.cli.console import Console
from segloop.cli.deployment import add_registry, registry
from segloop.cli.values import runtime


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument(
        "action",
        choices=("list", "add", "show", "promote", "rollback", "selftest"),
        help="what to do (list needs no MODEL; selftest without one tests all)",
    )
    parser.add_argument("model", nargs="?", metavar="MODEL", help="bundle folder, or NAME[@stage|@version]")
    parser.add_argument(
        "--stage", choices=("candidate", "shadow", "production"), default="production", help="for promote, rollback"
    )
    parser.add_argument(
        "--by", default="", metavar="NAME", help="who decides (default: the account that runs the command)"
    )
    parser.add_argument(
        "--why", default="", metavar="TEXT", help="reason for a promotion or rollback; goes into the history"
    )
    parser.add_argument(
        "--runtime",
        type=runtime,
        default="auto",
        metavar="RUNTIME",
        help="what runs the network, for add and selftest: auto, tensorflow, openvino, litert or serving:URL",
    )
    add_registry(parser)


def run(arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Do the one action asked for."""
    from segloop.errors import InputError

    if arguments.action not in ("list", "selftest") and not arguments.model:
        raise InputError(f"`segloop models {arguments.action}` needs a MODEL.", code="usage")
    actions = {
        "list": _list,
        "show": _show,
        "add": _add,
        "promote": _promote,
        "rollback": _rollback,
        "selftest": _selftest,
    }
    return actions[arguments.action](arguments, console)


def _list(arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    entries = registry(arguments).list()
    console.table(
        ("name", "version", "stages", "source", "digest"),
        [(e.name, e.version, ", ".join(e.stages) or "-", e.source, e.digest[:19]) for e in entries],
    )
    return {"models": [e.model_dump(mode="json") for e in entries]}


def _show(arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    bundle = registry(arguments).load(arguments.model)
    console.say(bundle.card)
    console.say(f"digest {bundle.digest}")
    return {"digest": bundle.digest, "manifest": bundle.manifest.model_dump(mode="json", by_alias=True)}


def _add(arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    bundle = registry(arguments).add(
        Path(arguments.model), by=_who(arguments), why=arguments.why, runtime=arguments.runtime
    )
    console.say(f"added {bundle.manifest.name} {bundle.manifest.version}; put it to use with `segloop models promote`")
    return {"name": bundle.manifest.name, "version": bundle.manifest.version, "digest": bundle.digest}


def _promote(arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    from segloop.errors import InputError
    from segloop.registry import Stage

    name, _, version = arguments.model.partition("@")
    if not version:
        raise InputError("A promotion names the version: NAME@VERSION.", code="usage", found=arguments.model)
    registry(arguments).promote(name, version, Stage(arguments.stage), by=_who(arguments), why=arguments.why)
    console.say(f"{name} {version} now stands in {arguments.stage}")
    return {"name": name, "version": version, "stage": arguments.stage}


def _rollback(arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    from segloop.registry import Stage

    version = registry(arguments).rollback(
        arguments.model, Stage(arguments.stage), by=_who(arguments), why=arguments.why
    )
    console.say(f"{arguments.model} is back at {version} in {arguments.stage}")
    return {"name": arguments.model, "version": version, "stage": arguments.stage}


def _selftest(arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    from segloop.infer import choose, open_runtime, selftest

    known = registry(arguments)
    names = [arguments.model] if arguments.model else [f"{entry.name}@{entry.version}" for entry in known.list()]
    documents = []
    for name in names:
        bundle = known.load(name)
        if arguments.runtime == "auto":
            console.say(choose(bundle).text)
        result = selftest(bundle, open_runtime(bundle, arguments.runtime))
        console.say(
            f"{bundle.manifest.name} {bundle.manifest.version}: {result.cases} cases on {result.runtime} "
            f"({result.precision}), lowest Dice {result.lowest_dice:.4f}"
        )
        documents.append({"name": bundle.manifest.name, **result.model_dump(mode="json")})
    return {"selftests": documents}


def _who(arguments: argparse.Namespace) -> str:
    return arguments.by or getpass.getuser()
