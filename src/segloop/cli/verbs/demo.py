"""`segloop demo`: a study arrives by DICOM, is segmented and measured, and its results go to an archive."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segloop.cli.console import Console
from segloop.cli.verbs.send import dicom_files
from segloop.errors import InputError, ServiceError

if TYPE_CHECKING:
    from segloop.service import Archive, Service
    from segloop.store import JobRecord

_PHANTOM_MODEL = "phantom-ct"
_QUIET_SECONDS = 2.0
_PATIENCE_SECONDS = 300.0
_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Truth:
    """One true volume of the phantom: label name, part (0 all), millilitres."""

    name: str
    component: int
    ml: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("--study", type=Path, metavar="FOLDER", help="a study of your own instead of the phantom")
    parser.add_argument(
        "--model", metavar="MODEL", help=f"the model for it (default {_PHANTOM_MODEL} with the phantom)"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="another seed is another phantom (default 1)")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="OUT", help="folder for everything (default: a new temporary one)"
    )
    parser.add_argument("--language", choices=("en", "zh-CN"), default="en", help="language of the report")
    parser.add_argument("--keep", action="store_true", help="leave the service running until Ctrl-C")


def run(arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Show the whole loop."""
    from segloop import log
    from segloop.service import Archive, start

    started = time.monotonic()
    if arguments.study is not None and not arguments.model:
        raise InputError("A study of your own needs --model MODEL; see `segloop models list`.", code="usage")
    log.configure("error")
    out = arguments.output or Path(tempfile.mkdtemp(prefix="segloop-demo-"))
    study, truth = _study(arguments, out, console)
    archive = Archive(out / "archive")
    try:
        console.say("2  service and archive start on free ports of this machine")
        service = start(_settings(arguments, out, archive))
        try:
            service.wait_ready()
            document = _loop(service, archive, study, truth, console)
            console.say(f"   done in {time.monotonic() - started:.0f} s; everything is in {out}")
            if arguments.keep:
                console.say(f"\nThe work list is at {service.page} until you press Ctrl-C.")
                _wait_for_interrupt()
        finally:
            service.stop()
    finally:
        archive.stop()
    return {**document, "output": str(out), "seconds": time.monotonic() - started}


def _study(arguments: argparse.Namespace, out: Path, console: Console) -> tuple[Path, tuple[Truth, ...]]:
    if arguments.study is not None:
        console.say(f"1  study {arguments.study}")
        return arguments.study, ()
    from segloop.phantom import generate, write_study

    phantom = generate(arguments.seed)
    write_study(phantom, out / "study")
    console.say(f"1  a CT study of an invented patient is written to {out / 'study'}")
    return out / "study", tuple(Truth(t.name, t.component, t.value) for t in phantom.truth)


def _settings(arguments: argparse.Namespace, out: Path, archive: Archive) -> Any:
    from segloop.settings import Settings

    model = arguments.model or _PHANTOM_MODEL
    goal = {
        "name": "archive",
        "kind": "dicom",
        "aet": archive.aet,
        "host": "127.0.0.1",
        "port": archive.port,
        "attempts": 3,
    }
    return Settings.parse(
        {
            "data_dir": str(out / "data"),
            "node": {"port": 0},
            "web": {"port": 0},
            "study": {"quiet_seconds": _QUIET_SECONDS},
            "models": {"warm": [model]},
            "report": {"language": arguments.language},
            "destination": [goal],
            "rule": [{"model": model}],
        }
    )


def _loop(
    service: Service, archive: Archive, study: Path, truth: tuple[Truth, ...], console: Console
) -> dict[str, Any]:
    from segloop.service import Address, send

    node = Address(aet=service.settings.node.aet, host="127.0.0.1", port=service.ports.dicom)
    count = send(dicom_files(study), node, "DEMO")
    console.say(f"3  {count} images sent by C-STORE to {node.aet} at {node.host}:{node.port}")
    job = _finished(service, console)
    folder = service.settings.data_dir / "jobs" / job.key / "out"
    result = json.loads((folder / "result.json").read_text("utf-8"))
    model = result["model"]
    console.say(f"4  {model['name']} {model['version']} on {model['runtime']} ({model['precision']}):")
    console.say("")
    _show(result["measurements"], truth, console)
    for series in result["refused"]:
        console.say(f"   not taken: {series['title']}: {'; '.join(series['reasons'])}")
    for warning in result["warnings"]:
        console.say(f"   warning: {warning}")
    console.say(f"\n5  results in {folder}")
    for kind, name in result["files"].items():
        console.say(f"   {kind:11} {name}")
    console.say(f"   {len(archive.files())} objects received by the archive {archive.aet} in {archive.folder}")
    console.say(f"   page        {service.page}")
    return {
        "result": result,
        "truth": [{"name": t.name, "component": t.component, "volume_ml": t.ml} for t in truth],
        "archive": [path.name for path in archive.files()],
        "page": service.page,
    }


def _finished(service: Service, console: Console) -> JobRecord:
    from segloop.service.quarantine import Quarantine
    from segloop.store import JobState, StudyState

    started = time.monotonic()
    while time.monotonic() - started < _PATIENCE_SECONDS:
        for job in service.store.jobs():
            if job.state == JobState.DONE:
                return job
            if job.state in (JobState.FAILED, JobState.UNDELIVERED):
                raise ServiceError(
                    f"The study was not processed to its end: {job.state} ({job.code}).", code="peer.refused"
                )
        for reason in Quarantine(service.settings.data_dir / "quarantine").reasons():
            raise InputError(f"The study was put into quarantine: {reason.message}", code=reason.code)
        if any(study.state == StudyState.NO_MODEL for study in service.store.studies()):
            raise InputError("The model does not apply to any series of the study.", code="input.not_applicable")
        time.sleep(_POLL_SECONDS)
    raise ServiceError(f"No result within {_PATIENCE_SECONDS:.0f} s.", hint="The log in the data folder tells more.")


def _show(measurements: list[dict[str, Any]], truth: tuple[Truth, ...], console: Console) -> None:
    true = {(t.name, t.component): t.ml for t in truth}
    found = {(m["name"], m["component"]): m["value"] for m in measurements if m["quantity"] == "volume"}
    longest = {(m["name"], m["component"]): m["value"] for m in measurements if m["quantity"] == "longest_diameter"}
    rows = []
    for name, part in sorted({*true, *found}, key=lambda place: (place[0] != "liver", place)):
        measured, known = found.get((name, part)), true.get((name, part))
        error = f"{100 * (measured - known) / known:+.1f} %" if measured is not None and known else "-"
        diameter = longest.get((name, part))
        rows.append(
            (
                name,
                part or "all",
                "not found" if measured is None else f"{measured:.2f}",
                "-" if known is None else f"{known:.2f}",
                error,
                "-" if diameter is None else f"{diameter:.1f}",
            )
        )
    console.table(("structure", "part", "measured ml", "true ml", "difference", "longest mm"), rows)


def _wait_for_interrupt() -> None:
    try:
        while True:
            time.sleep(1.0)
    except KeyboardInterrupt:
        return
