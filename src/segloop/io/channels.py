"""Images whose channels lie in files of their own, as nnU-Net stores them: `NAME_0000.nii.gz`, `NAME_0001.nii.gz`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from segloop.errors import InputError
from segloop.io import files
from segloop.volume import Volume

_PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
_NUMBERED = re.compile(r"(.+)_(\d{4})")


def of_one_image(path: Path, channels: int) -> tuple[str, tuple[Path, ...]]:
    """The name of the image that a file belongs to, and its files in channel order.

    Files are one image when they are numbered from 0000 to the model's last channel and no further. Pictures, whose
    colours lie in one file and which cameras number in the same way, are never put together.

    Args:
        path: An image file; any of an image in several files stands for all of them.
        channels: Of a model.

    Returns:
        `NAME` and its files; else the file alone, under its own name.

    Raises:
        InputError: `input.unreadable` when some channels are there and others are not.
    """
    stem = files.stem(path)
    match, ending = _NUMBERED.fullmatch(stem), path.name.removeprefix(files.stem(path))
    if channels < 2 or match is None or ending.lower() in _PICTURES:
        return stem, (path,)
    numbered = [path.with_name(f"{match[1]}_{number:04d}{ending}") for number in range(channels + 1)]
    wanted, beyond = tuple(numbered[:channels]), numbered[channels]
    there = [file.name for file in wanted if file.is_file()]
    if path not in wanted or beyond.is_file() or len(there) == 1:
        return stem, (path,)
    if len(there) < channels:
        raise InputError(
            f"{match[1]} has {', '.join(there)} only; the model takes {channels} channels.",
            found=there,
            expected=[file.name for file in wanted],
            hint="Put the files of all channels into one folder.",
        )
    return match[1], wanted


def read(paths: Sequence[Path]) -> Volume:
    """One image from the files of its channels, in the geometry of the first; the channels are the last axis.

    Args:
        paths: At least one; a single one is read as it is.

    Raises:
        InputError: As `files.read`.
        GeometryMismatch: The files lie on different grids.
    """
    first, *others = [files.read(path) for path in paths]
    if not others:
        return first
    for path, other in zip(paths[1:], others, strict=True):
        first.geometry.require_same_grid(other.geometry, f"{path.name} lies on another grid than {paths[0].name}")
    arrays = [part.array if part.array.ndim == 4 else part.array[..., None] for part in (first, *others)]
    return replace(first, array=np.concatenate(arrays, axis=-1))
