"""`segloop ensemble`: several bundles as one, such as the folds of a 2-D and of a 3-D network."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from segloop.cli.console import Console
from segloop.cli.deployment import add_registry, registry
from segloop.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument(
        "bundles", nargs="+", metavar="BUNDLE", help="bundle folders, ensembles among them, or NAME[@stage|@version]"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="folder of the ensemble")
    parser.add_argument(
        "--weights", metavar="W1,W2,…", help="of each bundle in the mean of the probabilities (default: all alike)"
    )
    parser.add_argument(
        "--model-version", default="", metavar="V", help="version of the ensemble (default: the first bundle's)"
    )
    add_registry(parser)


def run(arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Write the ensemble and say how large it is."""
    from segloop.cli.quiet import load_tensorflow

    load_tensorflow()
    from segloop.infer import export_ensemble

    models = registry(arguments)
    bundles = [models.load(bundle) for bundle in arguments.bundles]
    ensemble = export_ensemble(arguments.output, bundles, _weights(arguments.weights), version=arguments.model_version)
    members = ensemble.manifest.members
    console.say(f"{len(members)} models, {ensemble.size_bytes / 2**20:.1f} MiB: {arguments.output}")
    console.say("Each image takes the time of all of them together.")
    return {
        "ensemble": str(arguments.output),
        "digest": ensemble.digest,
        "members": [member.model_dump(mode="json") for member in members],
        "bytes": ensemble.size_bytes,
    }


def _weights(text: str | None) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in (text or "").split(",") if part)
    except ValueError as fault:
        raise InputError(
            f"--weights needs numbers separated by commas, not {text!r}.", code="usage", found=text, expected="1,2.5"
        ) from fault
