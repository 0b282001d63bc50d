"""`segloop serve`: the DICOM node, the jobs and the work list, until the process is told to end."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from segloop.cli.console import Console
from segloop.cli.deployment import add_config, settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    add_config(parser)
    parser.add_argument(
        "--log-level", choices=("debug", "info", "warning", "error"), default="info", help="least level logged"
    )
    parser.add_argument(
        "--log-form", choices=("console", "json"), default="json", help="form of the log lines on standard error"
    )


def run(arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Serve, and say where."""
    from segloop import log
    from segloop.service import Service, serve

    facts = settings(arguments)
    log.configure(arguments.log_level, form=arguments.log_form, stream=sys.stderr)

    def started(service: Service) -> None:
        console.say(f"DICOM  {facts.node.aet}@{facts.node.host}:{service.ports.dicom}")
        console.say(f"page   {service.page}")
        console.say(f"data   {service.settings.data_dir}")
        console.say("Ctrl-C ends the service; unfinished studies go on at the next start.")

    serve(facts, started)
    return {"stopped": True}
