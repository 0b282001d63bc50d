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
from segloop.errors import InputError, ServiceError

if TYPE_CHECKING:
    from segloop.store import JobRecord, Store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument(
        "action",
        choices=("list", "show", "retry"),
        help="all jobs; one with its deliveries; run a failed one once more",
    )
    parser.add_argument("job", nargs="?", metavar="JOB", help="key of a job, or its first digits")
    add_config(parser)


def run(arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Read the ledger, or ask the running service for a retry."""
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
        return _show(store, job, console) if arguments.action == "show" else _retry(data, job, console)
    finally:
        store.close()


def _list(store: Store, console: Console) -> dict[str, Any]:
    jobs = store.jobs()
    rows = [(j.key[:12], j.study[:12], j.number, j.model, j.state, j.step, j.code) for j in jobs]
    console.table(("job", "study", "version", "model", "state", "step", "error"), rows)
    return {"jobs": [j.model_dump(mode="json") for j in jobs]}


def _one(store: Store, begin: str | None) -> JobRecord:
    found = [j for j in store.jobs() if begin and j.key.startswith(begin)]
    if len(found) != 1:
        raise InputError(f"{len(found)} jobs begin with {begin!r}; one is needed.", code="usage", found=len(found))
    return found[0]


def _show(store: Store, job: JobRecord, console: Console) -> dict[str, Any]:
    deliveries = store.deliveries(job.key)
    for name, value in job.model_dump(mode="json").items():
        console.say(f"{name:8} {value}")
    rows = [(d.destination, d.state, d.files, d.code) for d in deliveries]
    console.table(("destination", "state", "files", "error"), rows)
    return {"job": job.model_dump(mode="json"), "deliveries": [d.model_dump(mode="json") for d in deliveries]}


def _retry(data: Path, job: JobRecord, console: Console) -> dict[str, Any]:
    try:
        port = int(json.loads((data / "ports.json").read_text("utf-8"))["web"])
        url = f"http://127.0.0.1:{port}/api/v1/jobs/{job.key}/retry"
        request = urllib.request.Request(url, method="POST", headers={"X-Segloop": "jobs retry"})
        with urllib.request.urlopen(request, timeout=30):  # noqa: S310 - the same
            pass
    except urllib.error.HTTPError as fault:
        raise InputError(
            f"Job {job.key[:12]} is {job.state}; only one that failed or was not delivered is run again.",
            code="job.unknown",
            found=job.state,
            expected=["failed", "undelivered"],
        ) from fault
    except (OSError, ValueError, KeyError) as fault:
        raise ServiceError(
            "The service of this data_dir does not answer.", hint="Start it with `segloop serve`, then retry."
        ) from fault
    console.say(f"job {job.key[:12]} runs once more")
    return {"job": job.key, "state": "queued"}
