"""NIfTI-1 and NIfTI-2. RAS exists only in this module."""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from segloop.errors import InputError
from segloop.volume import Geometry, Volume

_LPS_OF_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_GZIP = b"\x1f\x8b"
_MM_PER_UNIT = {"unknown": 1.0, "mm": 1.0, "meter": 1000.0, "micron": 1e-3}
# NIfTI data types that both nibabel and ITK know.
_STORABLE = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")


def read(path: Path) -> Volume:
    """The image of a NIfTI file, in LPS.

    The sform counts where its code is set, else the qform. Dimensions of size 1 behind the third are dropped, another
    one becomes the channels.

    Raises:
        InputError: `geometry.invalid` when neither code is set, or when sform and qform place a corner more than half
            a voxel apart.
    """
    image = _parsed(path.read_bytes(), path)
    array = _values(image)
    while array.ndim < 3:
        array = array[..., np.newaxis]
    extra = [n for n in array.shape[3:] if n != 1]
    if len(extra) > 1:
        raise InputError(
            f"{path.name} has {array.ndim} dimensions {array.shape}; an image has three and its channels.",
            found=list(array.shape),
            expected="(x, y, z) or (x, y, z, channel)",
        )
    array = array.reshape(*array.shape[:3], *extra)
    affine = _affine(image, path, array.shape[:3])
    geometry = Geometry.from_affine(affine[:, [2, 1, 0, 3]], array.shape[2::-1])
    axes = (2, 1, 0, *range(3, array.ndim))
    return Volume(np.ascontiguousarray(array.transpose(axes)), geometry)


def _parsed(content: bytes, path: Path) -> Any:
    import nibabel

    if content[:2] == _GZIP:
        # All at once, because only then the checksum at the end is looked at.
        content = gzip.decompress(content)
    kinds = {348: nibabel.Nifti1Image, 540: nibabel.Nifti2Image}
    sizes = {int.from_bytes(content[:4], "little"), int.from_bytes(content[:4], "big")} & set(kinds)
    if not sizes:
        raise InputError(
            f"{path.name} cannot be read: it does not begin like a NIfTI file.",
            found=content[:4].hex(" "),
            expected="a header of 348 or 540 bytes",
        )
    return kinds[sizes.pop()].from_bytes(content)


def encode(volume: Volume) -> bytes:
    """The bytes of an uncompressed NIfTI-1 file; channels become the fourth dimension.

    qform and sform both carry code 1 (scanner), so that readers that prefer one or the other agree. A grid whose axes
    are perpendicular only within rounding keeps its exact affine in the sform; the qform is the nearest rotation.
    """
    import nibabel

    array = volume.array
    if array.dtype.name not in _STORABLE:
        array = array.astype(np.float32) if array.dtype.kind == "f" else _narrowed(array)
    axes = (2, 1, 0, *range(3, array.ndim))
    affine = _LPS_OF_RAS @ volume.geometry.affine[:, [2, 1, 0, 3]]
    image = nibabel.Nifti1Image(array.transpose(axes), affine, dtype=array.dtype)
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    image.header.set_xyzt_units("mm")
    content: bytes = image.to_bytes()
    return content


def encode_compressed(volume: Volume) -> bytes:
    """As `encode`, gzipped; no clock time goes into the bytes."""
    return gzip.compress(encode(volume), compresslevel=4, mtime=0)


def _narrowed(array: Shaped[np.ndarray, "*axes"]) -> Shaped[np.ndarray, "*axes"]:
    small = np.int32 if array.min() < 0 else np.uint32
    if array.min() < np.iinfo(small).min or array.max() > np.iinfo(small).max:
        raise InputError("Values beyond 32 bit cannot be written to NIfTI.", code="usage", found=str(array.dtype))
    return array.astype(small)


def _values(image: Any) -> Shaped[np.ndarray, "x y z ..."]:
    """Stored values with the file's slope and intercept; whole numbers stay whole, and native byte order."""
    slope, intercept = image.dataobj.slope, image.dataobj.inter
    raw: Shaped[np.ndarray, "*axes"] = np.asanyarray(image.dataobj.get_unscaled())
    if raw.dtype.names:
        # RGB24 is stored as a record of three bytes.
        return np.stack([raw[name] for name in raw.dtype.names[:3]], axis=-1)
    if raw.dtype.kind not in "uif":
        raise InputError(f"The file holds {raw.dtype} values; real numbers are needed.", found=str(raw.dtype))
    raw = raw.astype(raw.dtype.newbyteorder("="), copy=False)
    if slope == 1 and intercept == 0:
        return raw
    if raw.dtype.kind != "f" and slope == 1 and float(intercept).is_integer() and raw.dtype.itemsize < 4:
        return _smallest(raw.astype(np.int64) + int(intercept))
    exact = np.float32 if raw.dtype.itemsize <= 2 or raw.dtype == np.float32 else np.float64
    scaled: Shaped[np.ndarray, "*axes"] = raw.astype(np.float64) * slope + intercept
    return scaled.astype(exact)


def _smallest(array: Shaped[np.ndarray, "*axes"]) -> Shaped[np.ndarray, "*axes"]:
    low, high = int(array.min()), int(array.max())
    kinds = (np.uint8, np.int16, np.uint16, np.int32, np.int64)
    return array.astype(next(k for k in kinds if np.iinfo(k).min <= low and high <= np.iinfo(k).max))


def _affine(image: Any, path: Path, shape: tuple[int, ...]) -> Float[np.ndarray, "4 4"]:
    """Index (i, j, k, 1) to LPS mm."""
    header = image.header
    sform, qform = (m if code > 0 else None for m, code in (image.get_sform(coded=True), image.get_qform(coded=True)))
    if sform is None and qform is None:
        raise InputError(
            f"{path.name} does not say how it lies in the patient: qform_code and sform_code are both 0.",
            code="geometry.invalid",
            found="qform_code 0, sform_code 0",
            expected="at least one code above 0",
            hint="Set the affine when converting the image, with code 1; segloop does not guess left and right.",
        )
    if sform is not None and qform is not None:
        corners = np.array([(*c, 1) for c in itertools.product(*[(0, n - 1) for n in shape])], float)
        apart = float(np.abs(corners @ (sform - qform)[:3].T).max())
        voxel = float(np.linalg.norm(qform[:3, :3], axis=0).min())
        if not apart <= 0.5 * voxel:
            raise InputError(
                f"{path.name} states two places in space: its sform and its qform put a corner {apart:.2f} mm apart.",
                code="geometry.invalid",
                found=f"{apart:.2f} mm apart",
                expected=f"at most half a voxel, {0.5 * voxel:.2f} mm",
                hint="Keep the right one of the two and set the other's code to 0.",
            )
    affine = np.asarray(sform if sform is not None else qform, float)
    scale = _MM_PER_UNIT[header.get_xyzt_units()[0]]
    lps: Float[np.ndarray, "4 4"] = _LPS_OF_RAS @ np.diag([scale, scale, scale, 1.0]) @ affine
    return lps
