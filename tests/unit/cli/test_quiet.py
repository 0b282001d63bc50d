"""Loading TensorFlow says nothing, and swallows nothing that matters."""

from __future__ import annotations

import subprocess
import sys


def test_loading_tensorflow_prints_nothing_but_what_is_not_noise():
    code = (
        "import sys, types, os;"
        "from segloop.cli.quiet import load_tensorflow;"
        "finder = types.SimpleNamespace(find_spec=lambda name, *rest: os.write(2, b'a real problem\\n') and None);"
        "sys.meta_path.insert(0, finder);"
        "load_tensorflow()"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "a real problem" in done.stderr
    assert "oneDNN" not in done.stderr
    assert "absl::InitializeLog" not in done.stderr
