"""`segloop export`: a bundle to an artefact that a server or a device runs without this package."""

from __future__ import annotations

import argparse
from typing import Any

from segloop.cli.console import Console
from segloop.cli.deployment import add_registry, registry
from segloop.cli.quiet import load_tensorflow
from segloop.cli.values import output_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("bundle", metavar="BUNDLE", help="a bundle's folder, or NAME[@stage|@version]")
    parser.add_argument(
        "-o",
        "--output",
        type=output_folder,
        required=True,
        metavar="DIR",
        help="where it goes; saved-model adds DIR/N",
    )
    parser.add_argument(
        "--format", choices=("saved-model", "litert", "openvino"), default="saved-model", help="what it is for"
    )
    parser.add_argument(
        "--precision",
        choices=("float32", "float16"),
        default="float16",
        help="how litert stores the weights (default float16)",
    )
    add_registry(parser)


def run(arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Export, and say what is left to the host."""
    load_tensorflow()
    from segloop.infer.artefacts import export_artefact

    bundle = registry(arguments).load(arguments.bundle)
    folder, artefact = export_artefact(bundle, arguments.output, arguments.format, precision=arguments.precision)
    console.say(f"{artefact.format} of {artefact.model} {artefact.version} in {folder}")
    for sentence in artefact.leaves:
        console.say(f"left to the host: {sentence}")
    return {"folder": str(folder), **artefact.model_dump(mode="json", by_alias=True)}
