"""TensorBoard's event files, written without TensorFlow, so that every backend leaves the same logs."""

from __future__ import annotations

import io
import os
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from segloop.errors import ServiceError

_PATTERN = "events.out.tfevents.*"
# A record is its length and a checksum of that (12 bytes), the event, and a checksum of it (4 bytes).
_HEAD, _TAIL = 12, 4
_BUCKETS = 30
# Of a larger tensor every n-th weight stands for the others: the shape of a histogram does not need more.
_MOST_VALUES = 50_000


class EventFile:
    """One event file: scalars, histograms and pictures over steps, and the hyper-parameters of a run.

    Args:
        folder: Of one TensorBoard run; made where it is missing.
        start: Steps that were done before. What earlier files of the same folder say of later steps, which were done
            but lost with a kill, is taken out, so that curves go on without a fold; with 0 they go altogether.

    Raises:
        ServiceError: `disk.full`, from the constructor and from every method, when the file cannot be written.
    """

    def __init__(self, folder: Path, start: int = 0) -> None:
        from tensorboard.compat.proto import event_pb2
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._events = event_pb2
        with _disk():
            folder.mkdir(parents=True, exist_ok=True)
            for path in sorted(folder.glob(_PATTERN)):
                if start:
                    _cut(path, start)
                else:
                    path.unlink()
            self._file: IO[bytes] = _fresh(folder)
        self._records = RecordWriter(self._file)
        self._add(event_pb2.Event(wall_time=time.time(), file_version="brain.Event:2"))

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """One number for each tag."""
        from tensorboard.plugins.scalar.summary_v2 import scalar_pb

        for tag, value in values.items():
            self.summary(scalar_pb(tag, value), step)

    def histogram(self, tag: str, values: Float[np.ndarray, ...], step: int) -> None:
        """The distribution of some numbers; of more than 50,000 a regular sample. What is not finite is left out."""
        from tensorboard.plugins.histogram.summary_v2 import histogram_pb

        flat = np.ravel(values)
        flat = flat[:: max(1, flat.size // _MOST_VALUES)].astype(np.float64)
        self.summary(histogram_pb(tag, flat[np.isfinite(flat)], buckets=_BUCKETS), step)

    def image(self, tag: str, pixels: UInt8[np.ndarray, "row column 3"], step: int, text: str = "") -> None:
        """One RGB picture; `text` says what it shows."""
        from tensorboard.compat.proto import summary_pb2
        from tensorboard.plugins.image.metadata import create_summary_metadata
        from tensorboard.util.tensor_util import make_tensor_proto

        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "PNG", optimize=True)
        height, width = pixels.shape[:2]
        parts = [str(width).encode(), str(height).encode(), stream.getvalue()]
        summary = summary_pb2.Summary()
        summary.value.add(
            tag=tag,
            metadata=create_summary_metadata(display_name=None, description=text, converted_to_tensor=True),
            tensor=make_tensor_proto(np.array(parts, dtype=object)),
        )
        self.summary(summary, step)

    def summary(self, summary: Any, step: int) -> None:
        """A `Summary` message of TensorBoard's own."""
        self._add(self._events.Event(wall_time=time.time(), step=step, summary=summary))

    def flush(self) -> None:
        """What was written so far can be read."""
        with _disk():
            self._file.flush()

    def close(self) -> None:
        """No more is written."""
        with _disk():
            self._file.close()

    def _add(self, event: Any) -> None:
        with _disk():
            self._records.write(event.SerializeToString())


class _disk:  # noqa: N801 - reads as the statement it is
    """Turns a failed write into the error that says what to do."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, fault: BaseException | None, trace: object) -> None:
        if isinstance(fault, OSError):
            raise ServiceError(
                f"TensorBoard's log cannot be written: {fault.strerror}.",
                code="disk.full",
                found=fault.strerror,
                hint="Free some space, then go on with --resume.",
            ) from fault


def _fresh(folder: Path) -> IO[bytes]:
    """A new file that sorts after the ones already there, since TensorBoard reads them by name."""
    number = len(list(folder.glob(_PATTERN)))
    return (folder / f"events.out.tfevents.{int(time.time()):010d}.{number:04d}.{os.getpid()}").open("xb")


def _cut(path: Path, last: int) -> None:
    """Take the events after step `last` out of a file, and a torn one at its end."""
    from tensorboard.compat.proto import event_pb2

    data, kept, at = path.read_bytes(), [], 0
    while at + _HEAD <= len(data):
        size = int(struct.unpack_from("<Q", data, at)[0])
        end = at + _HEAD + size + _TAIL
        if end > len(data):
            break
        if event_pb2.Event.FromString(data[at + _HEAD : end - _TAIL]).step <= last:
            kept.append(data[at:end])
        at = end
    whole = b"".join(kept)
    if len(whole) == len(data):
        return
    temporary = path.with_name(f".{path.name.replace('tfevents', 'tmp')}")
    temporary.write_bytes(whole)
    temporary.replace(path)
