"""TensorFlow loaded without the lines its C++ part prints before it reads any log level."""

from __future__ import annotations

import os
import sys
import tempfile

_NOISE = (
    b"WARNING: All log messages before absl::InitializeLog()",
    b"oneDNN custom operations are on",
    b"This TensorFlow binary is optimized to use available CPU instructions",
    b"To enable the following instructions",
    b"Could not find cuda drivers",
    b"Unable to register cu",
)


def load_tensorflow() -> None:
    """Import TensorFlow; of what it writes to standard error meanwhile, only what is not known noise comes through.

    Raises:
        ImportError: It is not installed, or cannot be loaded here.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            import tensorflow  # noqa: F401 - loaded for what follows
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            caught.seek(0)
            lines = [line for line in caught if not any(noise in line for noise in _NOISE)]
            sys.stderr.write(b"".join(lines).decode("utf-8", "replace"))
            sys.stderr.flush()
