"""`segloop jobs`: the study ledger of a deployment."""

from __future__ import annotations

import argparse
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segloop.cli.console import Console
from segloop.cli.deployment import add_config, settings
from segloop.cli.verbs.sign import add_observer
from segloop.errors import InputError, ServiceError

if TYPE_CHECKING:
    from segloop.store import JobRecord, Store

_ASKED = {"retry": "runs once more", "sign": "is signed", "reject": "is rejected"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument(
        "action",
        choices=("list", "show", "retry", "sign", "reject"),
        help="all jobs; one with its deliveries; run a failed one once more; put a name under a result, or correct "
        "what was signed; say that a result is not to be used",
    )
    parser.add_argument("job", nargs="?", metavar="JOB", help="key of a job, or its first digits")
    add_observer(parser, required=False)
    parser.add_argument("--note", default="", metavar="TEXT", help="a sentence to add to a report that is signed")
    parser.add_argument("--reason", metavar="TEXT", help="why a result is rejected")
    add_config(parser)


def run(arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Read the ledger, or ask the running service for something."""
    from segloop.store import Store

    data = settings(arguments).data_dir
    path = data / "segloop.sqlite"
    if not path.exists():
        raise InputError("There is no study ledger in data_dir; has the service run?", code="input.empty")
    store = Store(path)
    try:
        if arguments.action == "list":
            return _list(store, console)
        job = _one(store, arguments.job)
        if arguments.action == "show":
            return _show(store, job, console)
        return _ask(data, job, arguments.action, _body(arguments), console)
    finally:
        store.close()


def _list(store: Store, console: Console) -> dict[str, Any]:
    jobs = store.jobs()
    standings = [store.standing(j.key) for j in jobs]
    rows = [
        (j.key[:12], j.study[:12], j.number, j.model, j.state, standing, j.step, j.code)
        for j, standing in zip(jobs, standings, strict=True)
    ]
    console.table(("job", "study", "version", "model", "state", "standing", "step", "error"), rows)
    both = zip(jobs, standings, strict=True)
    return {"jobs": [{**j.model_dump(mode="json"), "standing": standing} for j, standing in both]}


def _one(store: Store, begin: str | None) -> JobRecord:
    found = [j for j in store.jobs() if begin and j.key.startswith(begin)]
    if len(found) != 1:
        raise InputError(f"{len(found)} jobs begin with {begin!r}; one is needed.", code="usage", found=len(found))
    return found[0]


def _show(store: Store, job: JobRecord, console: Console) -> dict[str, Any]:
    deliveries = store.deliveries(job.key)
    decisions, standing = store.decisions(job.key), store.standing(job.key)
    for name, value in {**job.model_dump(mode="json"), "standing": standing}.items():
        console.say(f"{name:8} {value}")
    rows = [(d.destination, d.state, d.files, d.code) for d in deliveries]
    console.table(("destination", "state", "files", "error"), rows)
    if decisions:
        decided = [(d.number, d.kind, d.state, d.decided, d.code) for d in decisions]
        console.table(("decision", "kind", "state", "when", "error"), decided)
    return {
        "job": job.model_dump(mode="json"),
        "standing": standing,
        "deliveries": [d.model_dump(mode="json") for d in deliveries],
        "decisions": [d.model_dump(mode="json") for d in decisions],
    }


def _body(arguments: argparse.Namespace) -> dict[str, str]:
    """What the service is told beside the job, once it is known to be all there."""
    needed = {"sign": ("observer", "organisation"), "reject": ("observer", "reason")}.get(arguments.action, ())
    missing = [f"--{name}" for name in needed if not getattr(arguments, name)]
    if missing:
        raise InputError(f"`jobs {arguments.action}` needs {' and '.join(missing)}.", code="usage", expected=missing)
    body = {name: str(getattr(arguments, name)) for name in needed}
    return {**body, "note": arguments.note} if arguments.action == "sign" else body


def _ask(data: Path, job: JobRecord, action: str, body: dict[str, str], console: Console) -> dict[str, Any]:
    try:
        port = int(json.loads((data / "ports.json").read_text("utf-8"))["web"])
        url = f"http://127.0.0.1:{port}/api/v1/jobs/{job.key}/{action}"
        headers = {"X-Segloop": f"jobs {action}", "Content-Type": "application/json"}
        content = json.dumps(body).encode() if body else None
        request = urllib.request.Request(url, data=content, method="POST", headers=headers)
        with urllib.request.urlopen(request, timeout=30):  # noqa: S310 - the same
            pass
    except urllib.error.HTTPError as fault:
        raise _refused(fault, job) from fault
    except (OSError, ValueError, KeyError) as fault:
        raise ServiceError(
            "The service of this data_dir does not answer.", hint="Start it with `segloop serve`, then try again."
        ) from fault
    console.say(f"job {job.key[:12]} {_ASKED[action]}")
    return {"job": job.key, "state": "queued"}


def _refused(fault: urllib.error.HTTPError, job: JobRecord) -> InputError:
    try:
        said = json.loads(fault.read())["detail"]
    except (ValueError, KeyError, OSError):
        said = None
    told = said if isinstance(said, str) else "The service does not understand what it was asked."
    code = "usage" if fault.code == 422 else "job.unknown"
    return InputError(f"Job {job.key[:12]} is {job.state}. {told}", code=code, found=job.state)
