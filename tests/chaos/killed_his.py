"""A service in a process of its own that delivers to a test HIS: `killed_his.py ROOT HIS_PORT`."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import his_kit
import service_kit as kit
from segloop import log


def main() -> None:
    root, port = sys.argv[1:]
    log.configure("info", form="json")
    goal = {"name": "his", "kind": "hl7", "port": int(port), "retry_seconds": 0.2, "timeout_seconds": 5}
    kit.service(kit.settings(Path(root), destination=[goal]), his_kit.STEPS)
    threading.Event().wait()


if __name__ == "__main__":
    main()
