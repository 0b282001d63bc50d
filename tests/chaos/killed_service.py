"""A service in a process of its own that a test can kill: `killed_service.py ROOT STEPS ARCHIVE_PORT QUIET_SECONDS`."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import service_kit as kit
from segloop import log


def main() -> None:
    root, steps, port, quiet = sys.argv[1:]
    log.configure("info", form="json")
    goal = {"name": "pacs", "kind": "dicom", "aet": "ARCHIVE", "port": int(port), "retry_seconds": 0.2}
    deployment = kit.settings(Path(root), destination=[goal], study={"quiet_seconds": float(quiet)})
    kit.service(deployment, {"tiny": kit.TINY, "slow": kit.SLOW}[steps])
    threading.Event().wait()


if __name__ == "__main__":
    main()
