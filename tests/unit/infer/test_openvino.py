"""What OpenVINO does to the process it runs in."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import os, signal
from pathlib import Path
import segloop
from segloop.infer import Bundle, open_runtime
bundle = Bundle(Path(segloop.__file__).parent / "bundles" / "phantom-ct")
came = []
signal.signal(signal.SIGTERM, lambda *_: came.append(True))
first, second = (open_runtime(bundle, "openvino") for _ in range(2))
del first
del second
os.kill(os.getpid(), signal.SIGTERM)
assert came
"""


def test_a_signal_finds_its_handler_when_networks_came_and_went():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.returncode, done.stderr)
