"""Pictures without patient space (1 mm, identity): PNG, JPEG and BMP through Pillow, TIFF through tifffile."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from segloop.errors import InputError
from segloop.volume import Geometry, Volume

_PNG_BIT_DEPTH = 24
"""Offset of the bit depth in a PNG file: 8 bytes of signature, 8 of chunk header, width and height."""

# tifffile's letters: pages of one kind or another become z, samples and channels the last axis.
_TIFF_AXES = {
    "YX": "YX",
    "YXS": "YXS",
    "SYX": "SYX",
    "ZYX": "ZYX",
    "QYX": "ZYX",
    "IYX": "ZYX",
    "ZYXS": "ZYXS",
    "QYXS": "ZYXS",
    "IYXS": "ZYXS",
    "CYX": "SYX",
}


def read(path: Path) -> Volume:
    """A PNG, JPEG or BMP picture: grey 8 and 16 bit, RGB 8 and 16 bit, black and white (0 and 1), palette (as RGB).

    The orientation tag of a photograph is not applied, because masks drawn on the pixels do not carry it.
    """
    return _volume(_pixels(path, indices=False))


def read_indices(path: Path) -> Volume:
    """As `read`, but a palette picture gives its indices, as a label map needs them."""
    return _volume(_pixels(path, indices=True))


def read_tiff(path: Path) -> Volume:
    """A TIFF picture; several pages of one size become slices along z."""
    import tifffile

    with _complaints("tifffile") as complaints, tifffile.TiffFile(path) as tiff:
        if len(tiff.series) != 1:
            raise InputError(
                f"{path.name} holds {len(tiff.series)} pictures of different size; the pages must be slices of one.",
                found=len(tiff.series),
                expected=1,
            )
        series = tiff.series[0]
        axes = _TIFF_AXES.get(series.axes)
        if axes is None:
            raise InputError(
                f"{path.name} has axes {series.axes} of size {series.shape}; pictures and stacks of pages can be read.",
                found=series.axes,
                expected=sorted(_TIFF_AXES),
            )
        for page in series.pages:
            _complete(page, path)
        if any("invalid page offset" in complaint for complaint in complaints):
            raise InputError(f"{path.name} is truncated: pages are missing at its end.", found=len(series.pages))
        try:
            array: Shaped[np.ndarray, "*axes"] = np.asarray(series.asarray())
        except ValueError as fault:
            # tifffile decodes LZW and JPEG only with a further package; libtiff inside SimpleITK knows them.
            if "imagecodecs" not in str(fault):
                raise
            array, axes = _through_itk(path), series.axes if len(series.axes) < 4 else "ZYXS"
            axes = _TIFF_AXES.get(axes, axes)
            axes = "YXS" if axes == "SYX" else axes
    if array.dtype == bool:
        array = array.astype(np.uint8)
    if array.dtype.kind not in "uif":
        raise InputError(f"{path.name} holds {array.dtype} values; real numbers are needed.", found=str(array.dtype))
    if axes == "SYX":
        array, axes = np.moveaxis(array, 0, -1), "YXS"
    if axes[0] != "Z":
        array = array[np.newaxis]
    return _volume(_opaque(array, path) if axes[-1] == "S" and array.shape[-1] in (2, 4) else array)


def encode_png(volume: Volume) -> bytes:
    """The bytes of a PNG: one slice, 8 or 16 bit grey or 8 bit RGB."""
    from PIL import Image

    array = volume.array
    grey = array.ndim == 3 and array.dtype in (np.uint8, np.uint16)
    colour = array.ndim == 4 and array.shape[3] == 3 and array.dtype == np.uint8
    if array.shape[0] != 1 or not (grey or colour):
        raise InputError(
            f"A PNG holds one slice of 8 or 16 bit grey or 8 bit RGB; found {array.shape} {array.dtype}.",
            code="usage",
            found=f"{array.shape} {array.dtype}",
            hint="Choose .nii.gz or .nrrd.",
        )
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array[0])).save(stream, "PNG")
    return stream.getvalue()


def encode_tiff(volume: Volume) -> bytes:
    """The bytes of a TIFF, one page per slice, deflated."""
    import tifffile

    stream = io.BytesIO()
    array = volume.array
    colour = array.ndim == 4 and array.shape[3] == 3
    if array.ndim == 4 and not colour:
        raise InputError(f"A TIFF holds grey or RGB; found {array.shape[3]} channels.", code="usage")
    photometric = "rgb" if colour else "minisblack"
    pages = array if array.shape[0] > 1 else array[0]
    tifffile.imwrite(stream, pages, photometric=photometric, compression="zlib", metadata=None)
    return stream.getvalue()


def _pixels(path: Path, *, indices: bool) -> Shaped[np.ndarray, "1 y x ..."]:
    from PIL import Image

    if path.suffix.lower() == ".png" and _is_deep_colour(path):
        return _deep_colour(path)
    with Image.open(path) as stored:
        stored.load()
        picture: Image.Image = stored
        if stored.mode == "P" and not indices:
            picture = stored.convert("RGBA" if "transparency" in stored.info else "RGB")
        if picture.mode not in ("1", "L", "I;16", "I;16B", "I;16L", "I", "F", "P", "RGB", "RGBA", "LA"):
            raise InputError(
                f"{path.name} has the colour space {picture.mode}; grey, RGB and palette pictures can be read.",
                found=picture.mode,
                expected="grey, RGB or palette",
            )
        array: Shaped[np.ndarray, "*axes"] = np.asarray(picture)
        mode = picture.mode
    if mode == "1":
        array = array.astype(np.uint8)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)[np.newaxis]
    return _opaque(array, path) if mode in ("RGBA", "LA") else array


def _is_deep_colour(path: Path) -> bool:
    with path.open("rb") as stream:
        head = stream.read(_PNG_BIT_DEPTH + 2)
    return len(head) == _PNG_BIT_DEPTH + 2 and head[_PNG_BIT_DEPTH] == 16 and head[_PNG_BIT_DEPTH + 1] in (2, 4, 6)


def _deep_colour(path: Path) -> Shaped[np.ndarray, "1 y x c"]:
    """16-bit colour, which Pillow would cut to 8 without a word."""
    array = _through_itk(path)[np.newaxis]
    return _opaque(array, path) if array.shape[-1] in (2, 4) else array


def _through_itk(path: Path) -> Shaped[np.ndarray, "*axes"]:
    import SimpleITK as sitk  # noqa: N813

    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    image: Any = sitk.ReadImage(str(path))
    array: Shaped[np.ndarray, "*axes"] = sitk.GetArrayFromImage(image)
    return array


def _opaque(array: Shaped[np.ndarray, "z y x c"], path: Path) -> Shaped[np.ndarray, "z y x ..."]:
    """The array without its alpha channel, the last one."""
    full = np.iinfo(array.dtype).max if array.dtype.kind == "u" else 1
    if not (array[..., -1] == full).all():
        raise InputError(
            f"{path.name} is partly transparent, so its colours are not settled.",
            found="transparency",
            expected="an opaque picture",
            hint="Save it without transparency.",
        )
    kept = array[..., :-1]
    return kept[..., 0] if kept.shape[-1] == 1 else kept


@contextmanager
def _complaints(library: str) -> Iterator[list[str]]:
    """What a library logs instead of raising."""
    logger, heard = logging.getLogger(library), list[str]()
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    before = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield heard
    finally:
        logger.removeHandler(handler)
        logger.propagate = before


def _complete(page: Any, path: Path) -> None:
    """Refuse a page whose data lie beyond the end of the file, which tifffile would fill with zeros."""
    size = path.stat().st_size
    ends = [offset + count for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)]
    if max(ends, default=0) > size:
        raise InputError(
            f"{path.name} is truncated: its pixels end at byte {max(ends):,}, the file at {size:,}.",
            found=size,
            expected=max(ends),
            hint="Copy or export the file again.",
        )


def _volume(array: Shaped[np.ndarray, "z y x ..."]) -> Volume:
    z, y, x = array.shape[:3]
    return Volume(array, Geometry((z, y, x)))
