"""A service in a process of its own that makes real results for a test HIS: `killed_hospital.py ROOT PORT`."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import service_kit as kit
from segloop import log


def main() -> None:
    root, port = sys.argv[1:]
    log.configure("info", form="json")
    goal = {"name": "his", "kind": "hl7", "port": int(port), "retry_seconds": 0.2, "timeout_seconds": 5}
    sealed = {"name": "sealed", "kind": "folder", "folder": f"{root}/sealed", "gate": "approved"}
    kit.service(kit.settings(Path(root), destination=[goal, sealed]), kit.REAL)
    threading.Event().wait()


if __name__ == "__main__":
    main()
