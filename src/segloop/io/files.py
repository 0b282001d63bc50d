"""NIfTI, NRRD, MetaImage, PNG, JPEG, BMP and TIFF to `Volume` and back, chosen by the file's suffix.

| suffix | read | written | geometry |
|---|---|---|---|
| .nii .nii.gz | yes | yes | RAS in the file, LPS as soon as it is read |
| .nrrd .mha | yes | yes | LPS in the file as here |
| .mhd .nhdr | yes | no | as above |
| .png .tif .tiff | yes | yes | none: 1 mm, identity; the pages of a TIFF are slices |
| .jpg .jpeg .bmp | yes | no | none: 1 mm, identity |

What a file says is kept: whole numbers stay whole, and a file that does not say how it lies in the patient is refused
where that matters (NIfTI and NRRD) instead of guessed. A damaged file is an `InputError` that names it.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Integer, Shaped

from segloop.errors import InputError, SegloopError, ServiceError
from segloop.io import itk, nifti, raster
from segloop.volume import Labels, Volume

__all__ = ["SUFFIXES", "is_image_file", "read", "read_labels", "stem", "write"]

_READERS: dict[str, Callable[[Path], Volume]] = {
    ".nii.gz": nifti.read,
    ".nii": nifti.read,
    ".nrrd": itk.read,
    ".nhdr": itk.read,
    ".mha": itk.read,
    ".mhd": itk.read,
    ".png": raster.read,
    ".jpg": raster.read,
    ".jpeg": raster.read,
    ".bmp": raster.read,
    ".tif": raster.read_tiff,
    ".tiff": raster.read_tiff,
}
_ENCODERS: dict[str, Callable[[Volume], bytes]] = {
    ".nii.gz": nifti.encode_compressed,
    ".nii": nifti.encode,
    ".nrrd": itk.encode_nrrd,
    ".mha": itk.encode_mha,
    ".png": raster.encode_png,
    ".tif": raster.encode_tiff,
    ".tiff": raster.encode_tiff,
}
SUFFIXES: tuple[str, ...] = tuple(_READERS)
"""What `read` understands, lower case."""

_LARGEST_LABEL = 65535


def is_image_file(path: Path) -> bool:
    """True when the name ends as an image file that `read` understands, case ignored; the file is not opened."""
    return _suffix(path) is not None


def stem(path: Path) -> str:
    """The file's name without its image suffix.

    >>> stem(Path("imagesTr/case_07.nii.gz"))
    'case_07'
    """
    suffix = _suffix(path)
    return path.name[: -len(suffix)] if suffix else path.stem


def read(path: Path) -> Volume:
    """The image in a file, in LPS.

    Channels come last; a colour picture has three. 2-D files give one slice along z. A palette is resolved to RGB, an
    opaque alpha channel dropped. Rescaling that the file itself states (NIfTI `scl_slope`) is applied.

    Raises:
        InputError: `input.unreadable` naming the file and the reason; `geometry.invalid` when the file does not say, or
            says twice and differently, how it lies in the patient.
    """
    suffix = _suffix(path)
    if suffix is None:
        raise InputError(
            f"{path.name} is not a file format segloop reads.",
            found=path.suffix or path.name,
            expected=list(SUFFIXES),
            hint=f"Give one of {', '.join(SUFFIXES)}, or a DICOM folder.",
        )
    if not path.is_file():
        raise InputError(f"{path.name} cannot be read: there is no such file.", found=str(path.name))
    return _guarded(path, _READERS[suffix])


def read_labels(path: Path, names: Mapping[int, str]) -> Labels:
    """The label map in a file, as the smallest of uint8 and uint16 that holds it.

    Numbers stay as they are (a 0/255 mask keeps 255). Floating point on disk is accepted where every value is whole.
    A palette picture gives its palette indices, a grey picture stored as RGB its grey values.

    Args:
        path: An image file.
        names: Name of each label number, taken over into the result unchecked.

    Raises:
        InputError: As `read`; `labels.mismatch` when values are not whole, negative or above 65535, or when the file
            holds colours or several channels.
    """
    image = _guarded(path, raster.read_indices) if _suffix(path) in (".png", ".bmp") and path.is_file() else read(path)
    return Labels(_whole(_single(image.array, path), path), image.geometry, names)


def write(image: Volume | Labels, path: Path) -> None:
    """Write an image, whole or not at all, in the format the suffix says.

    The same image gives the same bytes. NIfTI carries qform and sform, both with code 1, in mm.

    Args:
        image: Labels are stored as unsigned 8 or 16 bit; PNG and TIFF hold no geometry.
        path: The folder must exist; a file there is replaced in one move.

    Raises:
        InputError: `usage` when the format cannot hold the image.
        ServiceError: `disk.full`.
    """
    encode = _ENCODERS.get(_suffix(path) or "")
    if encode is None:
        raise InputError(
            f"{path.name} cannot be written: segloop does not write this format.",
            code="usage",
            found=path.suffix,
            expected=list(_ENCODERS),
            hint=f"Choose one of {', '.join(_ENCODERS)}.",
        )
    volume = Volume(_whole(image.array, path), image.geometry) if isinstance(image, Labels) else image
    if volume.array.dtype.kind not in "uif":
        volume = replace(volume, array=_numbers(volume.array, path))
    _replace(path, encode(volume))


def _numbers(array: Shaped[np.ndarray, "*axes"], path: Path) -> Shaped[np.ndarray, "*axes"]:
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    raise InputError(f"{path.name} cannot be written: {array.dtype} is no kind of number a file holds.", code="usage")


def _suffix(path: Path) -> str | None:
    name = path.name.lower()
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix)), None)


def _guarded(path: Path, reader: Callable[[Path], Volume]) -> Volume:
    try:
        return reader(path)
    except SegloopError:
        raise
    # The libraries below answer damage with a dozen unrelated exception types; the file is at fault each time.
    except Exception as fault:
        reason = _reason(fault, path)
        raise InputError(
            f"{path.name} cannot be read: it is truncated, damaged or not what its name says ({reason}).",
            found=reason,
            hint="Copy or export the file again.",
        ) from fault


def _reason(fault: Exception, path: Path) -> str:
    """What a library said, without the places in its own source and without the folder, which may tell too much."""
    lines = [line.strip() for line in str(fault).splitlines()]
    telling = [line for line in lines if line and not line.endswith(":") and "SimpleITK" not in line]
    text = " ".join(telling).replace(str(path), path.name).replace(f"{path.parent}/", "")
    return text[:300] or type(fault).__name__


def _single(array: Shaped[np.ndarray, "z y x ..."], path: Path) -> Shaped[np.ndarray, "z y x"]:
    if array.ndim == 3:
        return array
    if (array == array[..., :1]).all():
        return array[..., 0]
    raise InputError(
        f"{path.name} holds {array.shape[3]} differing channels; a label map has one number per voxel.",
        code="labels.mismatch",
        found=list(array.shape),
        expected="one channel",
    )


def _whole(array: Shaped[np.ndarray, "z y x"], path: Path) -> Integer[np.ndarray, "z y x"]:
    if array.dtype.kind == "f" and not (np.isfinite(array).all() and (array == np.rint(array)).all()):
        raise InputError(
            f"{path.name} holds values that are not whole numbers; a label map has one label number per voxel.",
            code="labels.mismatch",
            found=f"{array.dtype} with fractions",
            expected="whole numbers",
            hint="Was an image given as label map, or a label map resampled with interpolation?",
        )
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    if low < 0 or high > _LARGEST_LABEL:
        raise InputError(
            f"{path.name} holds label numbers from {low} to {high}; 0 to {_LARGEST_LABEL} are possible.",
            code="labels.mismatch",
            found=[low, high],
            expected=[0, _LARGEST_LABEL],
        )
    return array.astype(np.uint8 if high <= 255 else np.uint16)


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{secrets.token_hex(6)}.tmp")
    try:
        with temporary.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as fault:
        temporary.unlink(missing_ok=True)
        if fault.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ServiceError(
                f"No space is left to write {path.name} ({len(content):,} bytes).",
                code="disk.full",
                hint="Free some space and try again; nothing was left behind.",
            ) from fault
        raise InputError(
            f"{path.name} cannot be written: {fault.strerror}.", code="usage", found=str(path.parent)
        ) from fault
