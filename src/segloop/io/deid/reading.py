"""Text in pixels found by a network, for what no rule knows: `pip install 'segloop[ocr]'` brings it.

The detector of RapidOCR (PP-OCR) is used, through OpenVINO; its weights lie in the package, so nothing is fetched. Text
is only found, never read. Every frame is looked at as a whole and in tiles, so that small letters in a large radiograph
and large ones are found alike.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from jaxtyping import UInt8

from segloop.io.deid.burned import Box

EXTRA = "segloop[ocr]"
SURE, DOUBTFUL = 0.5, 0.3
"""Scores from which a finding is taken for text, and for what may be text."""

_TILE, _OVERLAP = 512, 96
_SEEN, _ENLARGED, _SMALLEST = 736, 2.0, 64
_TALLEST = 0.25
_MARGIN = 0.25
_SMALLEST_MARGIN = 3
_RANGE = (0.5, 99.5)


@dataclass(frozen=True, slots=True)
class Line:
    """What looks like a line of text.

    Attributes:
        box: Where, without a margin.
        score: 0 to 1.
    """

    box: Box
    score: float

    @property
    def with_margin(self) -> Box:
        """The box grown by a quarter of its height, at least three pixels, for what stands beside the letters."""
        box = self.box
        edge = max(_SMALLEST_MARGIN, round(_MARGIN * min(box.bottom - box.top, box.right - box.left)))
        return Box(max(box.top - edge, 0), max(box.left - edge, 0), box.bottom + edge, box.right + edge)


Reader = Callable[[np.ndarray[Any, np.dtype[Any]]], list[Line]]


def reader() -> Reader | None:
    """What finds text in a frame of any kind (y, x) or (y, x, sample); None where the extra is not installed."""
    return find_lines if reader_name() else None


@cache
def reader_name() -> str:
    """Name and version of the detector; empty where the extra is not installed."""
    try:
        import rapidocr  # noqa: F401 - only whether it can be loaded

        return f"rapidocr {version('rapidocr')}"
    except (ImportError, PackageNotFoundError):
        return ""


def find_lines(frame: np.ndarray[Any, np.dtype[Any]]) -> list[Line]:
    """Everything in a frame that is or may be a line of text.

    What is taller than a quarter of the frame is no line: a body on a black ground looks like a letter.
    """
    picture = _picture(frame)
    height, width = picture.shape[:2]
    found = _found(picture, 0, 0, _TALLEST * min(height, width))
    if max(height, width) > _TILE:
        for top in _starts(height):
            for left in _starts(width):
                tile = picture[top : top + _TILE, left : left + _TILE]
                found += _found(tile, top, left, _TALLEST * min(tile.shape[:2]))
    return found


def _found(picture: UInt8[np.ndarray, "y x 3"], top: int, left: int, tallest: float) -> list[Line]:
    """The lines of a part of a frame that begins at `top`, `left`."""
    from PIL import Image

    height, width = picture.shape[:2]
    scale = min(_ENLARGED, _SEEN / max(height, width))
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    seen = np.zeros((max(size[1], _SMALLEST), max(size[0], _SMALLEST), 3), np.uint8)
    seen[: size[1], : size[0]] = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
    told = _engine()(seen, use_det=True, use_cls=False, use_rec=False)
    lines = []
    for corners, score in zip(told.boxes if told.boxes is not None else (), told.scores or (), strict=True):
        (x, y), (right, bottom) = np.floor(corners.min(axis=0) / scale), np.ceil(corners.max(axis=0) / scale)
        if min(bottom - y, right - x) <= tallest:
            lines.append(Line(Box(int(top + y), int(left + x), int(top + bottom), int(left + right)), float(score)))
    return lines


def _starts(length: int) -> list[int]:
    """Where tiles begin that overlap and cover a length."""
    if length <= _TILE:
        return [0]
    count = math.ceil((length - _OVERLAP) / (_TILE - _OVERLAP))
    return [round(i * (length - _TILE) / (count - 1)) for i in range(count)]


def _picture(frame: np.ndarray[Any, np.dtype[Any]]) -> UInt8[np.ndarray, "y x 3"]:
    """A frame as it would be looked at: grey values between their extremes, without the few outermost."""
    if frame.ndim == 3 and frame.dtype == np.uint8:
        return np.ascontiguousarray(frame[..., :3])
    grey = (frame.max(axis=-1) if frame.ndim == 3 else frame).astype(np.float32)
    low, high = np.percentile(grey, _RANGE)
    if high <= low:
        low, high = float(grey.min()), float(grey.max())
    scaled = np.clip((grey - low) / max(high - low, 1e-6), 0, 1) * 255
    return np.repeat(scaled.astype(np.uint8)[..., None], 3, axis=-1)


@cache
def _engine() -> Any:
    from rapidocr import EngineType, RapidOCR

    return RapidOCR(
        params={
            "Global.log_level": "critical",
            "Global.use_cls": False,
            "Global.use_rec": False,
            "Det.engine_type": EngineType.OPENVINO,
            "Det.box_thresh": DOUBTFUL,
            "Det.limit_type": "max",
            "Det.limit_side_len": _SEEN,
            "EngineConfig.openvino.inference_num_threads": os.cpu_count() or 1,
        }
    )
